"""Samples that are of use to a run: those that serve one of its tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from omniflow.errors import DataError, OmniFlowError, RecordError, UnservedRecordError
from omniflow.interfaces import Dataset, Sample
from omniflow.tasks import LETTERS, Task

#: Records that are looked at before a dataset is said to serve no task.
LOOKED_AT = 1000


class ServingDataset(Dataset):
    """A dataset whose samples serve a task; the others are told as `UnservedRecordError`.

    Args:
        dataset: The dataset.
        label: What it is called; records that cannot be read are told with it.
        tasks: The tasks of the run, or of this dataset, with their weights; those of weight 0 do
            not count. Without any, every sample will do.
        is_own: Whether these are this dataset's alone, and its samples are to say so.
    """

    def __init__(
        self, dataset: Dataset, label: str, tasks: Mapping[Task, float], is_own: bool = False
    ) -> None:
        self.dataset = dataset
        self.label = label
        self.is_streaming = dataset.is_streaming
        self.tasks = {task: weight for task, weight in tasks.items() if weight > 0}
        self.is_own = is_own

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Sample:
        try:
            return self._checked(self.dataset[index])
        except RecordError as error:
            raise error.within(self.label) from error

    def records(self, start: int = 0) -> Iterator[Any]:
        """Those of the dataset."""
        return self.dataset.records(start)

    def decode(self, record: Any) -> Sample:
        """The sample of a record.

        Raises:
            RecordError: If it cannot be read.
            UnservedRecordError: If it serves no task.
        """
        try:
            return self._checked(self._decoded(record))
        except RecordError as error:
            raise error.within(self.label) from error

    def length_of(self, record: Any) -> int | None:
        """The length that the dataset knows."""
        return self.dataset.length_of(record)

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Restrict the dataset to what its tasks read."""
        read = {name for task in self.tasks for name in (*task.given, *task.made)}
        self.dataset.restrict_to(read & set(modalities) if read else modalities)

    def notices(self) -> list[str]:
        """Those of the dataset."""
        return self.dataset.notices()

    def require_use(self) -> None:
        """Look at records until one serves a task.

        Raises:
            DataError: If none of many does, spread over the split where it is read by position.
        """
        found: set[str] = set()
        looked_at = 0
        for record in self._some_records():
            try:
                sample = self._decoded(record)
            except RecordError:
                continue
            if self._serves(sample):
                return
            looked_at += 1
            found |= _brought(sample)
        if looked_at:
            raise DataError(
                f"it serves no task of the run: the {looked_at} records that were looked at bring "
                f"{_listed(found) or 'nothing that is read'}",
                where=f"dataset {self.label}",
                expected=f"records for one of {', '.join(map(str, self.tasks))}",
            )

    def _some_records(self) -> Iterator[Any]:
        if self.is_streaming:
            return islice(self.dataset.records(), LOOKED_AT)
        size = len(self.dataset)
        return iter(dict.fromkeys(n * size // LOOKED_AT for n in range(LOOKED_AT)) if size else ())

    def _decoded(self, record: Any) -> Sample:
        """The sample of a record; a dataset that fails otherwise than it may is named.

        Raises:
            RecordError: If it cannot be read.
            DataError: If it is no sample.
        """
        try:
            sample: object = self.dataset.decode(record)
        except OmniFlowError:
            raise
        except Exception as error:
            error.add_note(f"while dataset {self.label} read record {record!r:.80}")
            raise
        if not isinstance(sample, Sample):
            raise DataError(
                f"record {record!r:.80} is a {type(sample).__name__}",
                where=f"dataset {self.label}",
                expected="a Sample",
            )
        return sample

    def _checked(self, sample: Sample) -> Sample:
        if not self._serves(sample):
            raise UnservedRecordError(
                sample.id,
                f"it brings {_listed(_brought(sample)) or 'nothing'}, which serves none of the "
                f"tasks {', '.join(map(str, self.tasks))}",
            )
        return replace(sample, tasks=self.tasks) if self.is_own else sample

    def _serves(self, sample: Sample) -> bool:
        brought = _brought(sample)
        return not self.tasks or any(task.is_served_by(brought) for task in self.tasks)


def _brought(sample: Sample) -> set[str]:
    return {name for name in LETTERS.values() if getattr(sample, name) is not None}


def _listed(names: Collection[str]) -> str:
    return " and ".join(sorted(names))
