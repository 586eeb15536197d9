"""Shares of one source that its splits get, by where its records stand in [0, 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from omniflow.errors import ConfigError, DataError

#: Test, validation and train are three stretches of [0, 1), in this order.
ORDER = ("test", "validation", "train")

#: Shares below this are none.
_LEAST = 1e-9


@dataclass(frozen=True)
class SplitShares:
    """How much of a source is held out; the rest is for training.

    Args:
        validation: Share for validation, in [0, 1].
        test: Share for testing, in [0, 1].

    Raises:
        ConfigError: If a share is out of range, or both come to more than 1.
    """

    validation: float
    test: float

    def __post_init__(self) -> None:
        require_share("validation_share", self.validation)
        require_share("test_share", self.test)
        if self.validation + self.test > 1.0:
            raise ConfigError(
                "test_share",
                self.test,
                expected=f"at most 1 together with validation_share, which is {self.validation}",
            )

    def stretch(
        self, split: str, places: Any, *, where: str, what: str = "record"
    ) -> tuple[float, float, bool]:
        """The part of [0, 1) that belongs to a split, and whether it was moved.

        Args:
            split: One of test, validation and train.
            places: Where the records stand, sorted, each place once; with few of them, bounds are
                moved so that every split has one. None where they are not known.
            where: The source, for messages.
            what: What a record is called there.

        Raises:
            DataError: If the split has no share, or there are fewer places than splits.
        """
        shares = (self.test, self.validation, 1.0 - self.test - self.validation)
        wanted = [share > _LEAST for share in shares]
        at = ORDER.index(split)
        if not wanted[at]:
            raise DataError(
                f"the {split} split is empty: its share is 0",
                where=where,
                expected="other values of validation_share and test_share",
            )
        bounds = [shares[0], shares[0] + shares[1] if wanted[2] else 1.0]
        is_moved = False
        if places is not None:
            if len(places) < sum(wanted):
                raise DataError(
                    f"{len(places)} different {what}s for {sum(wanted)} splits",
                    where=where,
                    expected=f"at least one {what} a split",
                )
            bounds, is_moved = _for_all(places, bounds, wanted)
        edges = [0.0, *bounds, 1.0]
        return edges[at], edges[at + 1], is_moved


def _for_all(places: Any, bounds: list[float], wanted: list[bool]) -> tuple[list[float], bool]:
    """Bounds that leave no split without a record that is to have some."""
    counts = [int(count) for count in np.searchsorted(places, bounds)]
    first = min(max(counts[0], int(wanted[0])), len(places) - wanted[1] - wanted[2])
    second = min(max(counts[1], first + wanted[1]), len(places) - wanted[2])
    if [first, second] == counts:
        return bounds, False
    return [float(places[n]) if n < len(places) else 1.0 for n in (first, second)], True


def require_share(name: str, value: object) -> None:
    """Refuse what is no number in [0, 1].

    Raises:
        ConfigError: If it isn't.
    """
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 <= value <= 1.0:
        raise ConfigError(name, value, expected="a number in [0, 1]")


def number_places(numbers: Any, seed: int) -> Any:
    """Where whole numbers stand in [0, 1), by a hash (SplitMix64), float64.

    Args:
        numbers: The numbers, an array.
        seed: Another seed, other places.
    """
    with np.errstate(over="ignore"):
        mixed = numbers.astype(np.uint64) + np.uint64(seed % 2**64) * np.uint64(0xD1B54A32D192ED03)
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        mixed ^= mixed >> np.uint64(31)
    return (mixed >> np.uint64(11)).astype(np.float64) / 2**53
