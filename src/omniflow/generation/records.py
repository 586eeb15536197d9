"""The records of a dataset in batches: numbered, read, and those left out that cannot be used."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import islice
from typing import Any

from omniflow.errors import DataError, RecordError
from omniflow.interfaces import Dataset, Sample
from omniflow.tasks import Task

#: After so many records, none of which could be used, reading on is in vain.
MOST_IN_VAIN = 100


def numbered_batches(
    dataset: Dataset, batch_size: int, limit: int | None
) -> Iterator[dict[int, Any]]:
    """Undecoded records by number, some at a time, in the order of their source."""
    records = enumerate(islice(dataset.records(), limit))
    while batch := dict(islice(records, batch_size)):
        yield batch


def count_records(dataset: Dataset, limit: int | None) -> int | None:
    """How many records will be read; None where only their end will tell."""
    if dataset.is_streaming:
        return limit
    return len(dataset) if limit is None else min(limit, len(dataset))


def needed_of(task: Task) -> tuple[str, ...]:
    """What a record has to bring: what is given, and a text to compare with where one is made."""
    text = ("text",) if "text" in task.made else ()
    return tuple(dict.fromkeys([*text, *task.given]))


def read_records(
    dataset: Dataset, records: dict[int, Any], task: Task
) -> dict[int, Sample | RecordError]:
    """The samples of numbered records, or what is wrong with each."""
    return {number: _read(dataset, record, needed_of(task)) for number, record in records.items()}


def _read(dataset: Dataset, record: Any, needed: Collection[str]) -> Sample | RecordError:
    try:
        sample = dataset.decode(record)
    except RecordError as error:
        return error
    for name in needed:
        if getattr(sample, name) is None:
            return RecordError(sample.id, f"it has no {name}")
    return sample


class VainReading:
    """Keeps watch over whether records can be used at all."""

    def __init__(self) -> None:
        self._used = 0
        self._wrong: list[RecordError] = []

    def note(self, found: Collection[Sample | RecordError]) -> None:
        """Some records have been read.

        Raises:
            DataError: If none of the first `MOST_IN_VAIN` could be used.
        """
        wrong = [one for one in found if isinstance(one, RecordError)]
        self._used += len(found) - len(wrong)
        if not self._used:
            self._wrong += wrong
            if len(self._wrong) >= MOST_IN_VAIN:
                raise nothing_usable(self._wrong)


def nothing_usable(wrong: Collection[RecordError]) -> DataError:
    """What is to be said where no record could be used."""
    return DataError(
        f"none of the {len(wrong)} records can be used",
        expected="at least one",
        notes=[str(error) for error in islice(wrong, 3)],
    )
