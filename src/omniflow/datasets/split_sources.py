"""Where a split comes from: a file or folder of its own, or a share of one that several have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omniflow.datasets.shares import SplitShares
from omniflow.datasets.splits import require_split
from omniflow.errors import ConfigError


@dataclass(frozen=True)
class SplitSources:
    """The sources of a dataset's splits.

    Args:
        path: What all splits share that have nothing of their own.
        own: Split -> its own file or folder, or None.
        shares: What the splits get of `path`.
    """

    path: str
    own: Mapping[str, str | None]
    shares: SplitShares

    @classmethod
    def said(
        cls,
        path: str,
        *,
        validation_path: str | None,
        test_path: str | None,
        validation_share: float,
        test_share: float,
    ) -> SplitSources:
        """From the options of a dataset; a split of its own gets nothing of `path`.

        Raises:
            ConfigError: If a share is out of range.
        """
        shares = SplitShares(validation_share, test_share)
        if validation_path is not None or test_path is not None:
            shares = SplitShares(
                shares.validation if validation_path is None else 0.0,
                shares.test if test_path is None else 0.0,
            )
        return cls(path, {"validation": validation_path, "test": test_path}, shares)

    def of(self, split: str, splits: Sequence[str]) -> tuple[str, bool]:
        """Path of the source of a split, and whether all of it belongs to the split.

        Raises:
            DataError: If there is no such split.
        """
        own = self.own.get(require_split(split, splits, where=self.path))
        if own is not None:
            return own, True
        return self.path, not self.shares.validation and not self.shares.test and split == "train"


def require_seed(seed: object) -> None:
    """Refuse what is no whole number from 0 on.

    Raises:
        ConfigError: If it isn't.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError("seed", seed, expected="a whole number >= 0")
