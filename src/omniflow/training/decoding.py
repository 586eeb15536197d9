"""Records to samples, where some records cannot be read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from omniflow.errors import RecordError

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset, Sample


def decode_each(dataset: Dataset, records: Iterable[Any]) -> list[Sample | RecordError]:
    """The sample of every record, or what is wrong with it."""
    return [_decoded(dataset, record) for record in records]


def readable_samples(dataset: Dataset, records: Iterable[Any]) -> list[Sample]:
    """The samples of the records that can be read."""
    found = decode_each(dataset, records)
    return [sample for sample in found if not isinstance(sample, RecordError)]


def _decoded(dataset: Dataset, record: Any) -> Sample | RecordError:
    try:
        return dataset.decode(record)
    except RecordError as error:
        # The facts alone: what it was raised from holds whatever its decoder held.
        return error.within(error.dataset)
