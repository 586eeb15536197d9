"""Several datasets one after the other, as predictions are made for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from omniflow.errors import DataError, RecordError
from omniflow.interfaces import Dataset, Sample


class JoinedDataset(Dataset):
    """Several datasets one after the other; ids keep apart by the dataset's position.

    Args:
        parts: The datasets, at least one, none of them empty.
        names: What they are called, for records that cannot be read.

    Raises:
        DataError: If one of them is streamed: nobody knows where the next one begins.
    """

    def __init__(self, parts: Sequence[Dataset], names: Sequence[str] = ()) -> None:
        if any(part.is_streaming for part in parts):
            raise DataError(
                f"{len(parts)} datasets, of which one is streamed",
                expected="a streamed dataset alone, or streaming: false for all of them",
            )
        self.parts = parts
        self.names = names

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def __getitem__(self, index: int) -> Sample:
        for position, part in enumerate(self.parts):
            if index < len(part):
                return self._told_apart(position, part, index)
            index -= len(part)
        raise IndexError(index)

    def _told_apart(self, position: int, part: Dataset, index: int) -> Sample:
        try:
            sample = part[index]
        except RecordError as error:
            name = self.names[position] if self.names else None
            record = f"{position}/{error.record}"
            raise RecordError(record, error.reason, dataset=name) from error
        return replace(sample, id=f"{position}/{sample.id}")

    def length_of(self, record: Any) -> int | None:
        """The length that the part knows."""
        for part in self.parts:
            if record < len(part):
                return part.length_of(record)
            record -= len(part)
        raise IndexError(record)

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Restrict every part."""
        for part in self.parts:
            part.restrict_to(modalities)

    def notices(self) -> list[str]:
        """The notices of every part."""
        return [notice for part in self.parts for notice in part.notices()]
