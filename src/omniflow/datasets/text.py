"""Text: one sample a line or row of a person's own file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from omniflow.datasets.splits import require_split
from omniflow.datasets.text_files import TextFile, read_text_file
from omniflow.errors import ConfigError, DataError
from omniflow.interfaces.dataset import Dataset, Sample

_BAD_SHOWN = 5


class TextDataset(Dataset):
    """Lines of a .txt file, or one column of a .jsonl, .csv or .parquet file.

    Texts are used as they are, blank ones skipped. The split of a text depends on a hash of its
    words and `seed` alone: equal texts never stand in two splits, and adding lines to the file
    moves no other line. Only where that leaves a split of a small file empty does it get the one
    text whose hash lies nearest; `notices` says so.

    Args:
        path: The file: UTF-8, ending in .txt, .jsonl, .csv or .parquet.
        split: One of `splits`.
        column: Column that holds the texts; when not given, the one called text or caption, or
            else the only one that holds text.
        min_chars: Shorter texts are left out, and counted in `notices`.
        max_chars: Longer texts are cut to this length, and counted in `notices`.
        validation_share: Share of the texts held out for validation, in [0, 1].
        test_share: Share of the texts held out for testing, in [0, 1].
        bad_share: Share of records that may be unreadable before the file is refused, in [0, 1].
        seed: Another seed, another split.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If the file cannot be read, or has fewer different texts than splits.
        UnknownNameError: If the file has no such column.
    """

    def __init__(
        self,
        *,
        path: str,
        split: str = "train",
        column: str | None = None,
        min_chars: int = 1,
        max_chars: int = 2000,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        bad_share: float = 0.01,
        seed: int = 0,
    ) -> None:
        _require_whole("min_chars", min_chars, least=1)
        _require_whole("max_chars", max_chars, least=min_chars)
        _require_whole("seed", seed, least=0)
        _require_share("validation_share", validation_share)
        _require_share("test_share", test_share)
        _require_share("bad_share", bad_share)
        if validation_share + test_share > 1.0:
            raise ConfigError(
                "test_share",
                test_share,
                expected=f"at most 1 together with validation_share, which is {validation_share}",
            )
        self.path = Path(path).expanduser()
        self.split = require_split(split, self.splits, where=str(path))
        self._notices: list[str] = []
        file = read_text_file(self.path, column)
        self._judge_bad(file, bad_share)
        records = self._trim(file, min_chars, max_chars)
        shares = (test_share, validation_share, 1.0 - test_share - validation_share)
        self._records = self._select(records, shares, seed)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self._records):
            raise IndexError(f"index {index} is not in [0, {len(self._records)})")
        line, text = self._records[index]
        return Sample(id=f"{self.path.stem}:{line}", text=text, references=(text,))

    def notices(self) -> list[str]:
        """What was skipped, cut or moved, and where."""
        return list(self._notices)

    def _judge_bad(self, file: TextFile, bad_share: float) -> None:
        if not file.bad:
            return
        bad, total = len(file.bad), len(file.bad) + len(file.records)
        shown = [f"line {line}: {why}" for line, why in sorted(file.bad)[:_BAD_SHOWN]]
        if bad > _BAD_SHOWN:
            shown.append(f"and {bad - _BAD_SHOWN} more")
        if bad > bad_share * total:
            raise DataError(
                f"{bad} of {total} records cannot be read",
                where=str(self.path),
                expected=f"at most {bad_share:.4g} of them (bad_share)",
                notes=shown,
            )
        self._notices.append(
            f"{self.path.name}: {bad} of {total} records skipped: {'; '.join(shown)}"
        )

    def _trim(self, file: TextFile, min_chars: int, max_chars: int) -> list[tuple[int, str]]:
        kept = [(line, text) for line, text in file.records if len(text) >= min_chars]
        short = len(file.records) - len(kept)
        if short:
            self._notices.append(
                f"{self.path.name}: {short} texts of less than {min_chars} characters left out"
            )
        cut = [line for line, text in kept if len(text) > max_chars]
        if cut:
            self._notices.append(
                f"{self.path.name}: {len(cut)} texts cut to {max_chars} characters, "
                f"the first one in line {cut[0]}"
            )
        return [(line, text[:max_chars]) for line, text in kept]

    def _select(
        self, records: list[tuple[int, str]], shares: tuple[float, ...], seed: int
    ) -> list[tuple[int, str]]:
        """The records of this split; `shares` are those of test, validation and train."""
        # Test, validation and train are three stretches of [0, 1), in this order.
        hashes = [_hash(text, seed) for _, text in records]
        low, high = self._stretch(sorted(set(hashes)), shares)
        return [
            record for record, place in zip(records, hashes, strict=True) if low <= place < high
        ]

    def _stretch(self, hashes: list[float], shares: tuple[float, ...]) -> tuple[float, float]:
        order = ("test", "validation", "train")
        wanted = [share > 1e-9 for share in shares]
        if not wanted[order.index(self.split)]:
            raise DataError(
                f"the {self.split} split is empty: its share is 0",
                where=str(self.path),
                expected="other values of validation_share and test_share",
            )
        if len(hashes) < sum(wanted):
            raise DataError(
                f"{len(hashes)} different texts for {sum(wanted)} splits",
                where=str(self.path),
                expected="at least one text a split",
            )
        bounds = [shares[0], shares[0] + shares[1] if wanted[2] else 1.0]
        counts = [sum(place < bound for place in hashes) for bound in bounds]
        first = min(max(counts[0], wanted[0]), len(hashes) - wanted[1] - wanted[2])
        second = min(max(counts[1], first + wanted[1]), len(hashes) - wanted[2])
        if [first, second] != counts:
            self._notices.append(
                f"{self.path.name}: only {len(hashes)} different texts, so some were moved "
                "to give every split at least one"
            )
        edges = [0.0, *((*hashes, 1.0)[count] for count in (first, second)), 1.0]
        at = order.index(self.split)
        return edges[at], edges[at + 1]


def _hash(text: str, seed: int) -> float:
    """A number in [0, 1) that is the same for texts that differ in their spaces only."""
    words = f"{seed}\n{' '.join(text.split())}"
    digest = hashlib.blake2b(words.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def _require_whole(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(name, value, expected=f"a whole number >= {least}")


def _require_share(name: str, value: object) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 <= value <= 1.0:
        raise ConfigError(name, value, expected="a number in [0, 1]")
