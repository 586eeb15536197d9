"""Splits opened, and some of their records read, whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from omniflow.assembly import construct_component
from omniflow.errors import OmniFlowError, RecordError
from omniflow.interfaces import Dataset, Sample
from omniflow.training.splits import tasks_of

if TYPE_CHECKING:
    from omniflow.interfaces import Objective
    from omniflow.recipe import Choice
    from omniflow.registry import Registry
    from omniflow.tasks import Task

#: In the order in which they are told.
MODALITIES = ("text", "image", "audio")

#: Splits that training cannot do without.
NEEDED = ("train", "validation")


@dataclass(frozen=True)
class Failure:
    """A record that could not be read.

    Args:
        position: Where it stands in its split, from 0.
        id: Its id; None where the dataset did not tell.
        reason: What is wrong with it.
        is_skippable: Whether a run would leave it out and go on.
    """

    position: int
    id: str | None
    reason: str
    is_skippable: bool

    def __str__(self) -> str:
        return f"record {self.position}: {self.reason}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def brought_by(sample: Sample) -> tuple[str, ...]:
    """The modalities that a sample has."""
    return tuple(name for name in MODALITIES if getattr(sample, name) is not None)


def tasks_for(objective: Objective, choice: Choice, label: str) -> list[Task]:
    """The tasks that samples of a dataset may serve: its own, else the objective's; [] for any.

    Raises:
        ConfigError: If it has tasks of its own that the objective has not.
    """
    weights = objective.task_weights()
    own = tasks_of(choice, label, weights)
    return [task for task, weight in (weights if own is None else own).items() if weight > 0]


def tasks_served(tasks: Iterable[Task], brought: Collection[str]) -> list[Task]:
    """Those of some tasks whose modalities are all brought."""
    return [task for task in tasks if task.is_served_by(brought)]


def open_split(
    choice: Choice, split: str, registry: Registry, modalities: Collection[str]
) -> Dataset:
    """One split of a dataset, told to bring some modalities and no others.

    Raises:
        UsageError: If it cannot be opened.
    """
    dataset: Dataset = construct_component(registry, "dataset", choice, split=split)
    dataset.restrict_to(modalities)
    return dataset


def size_of(dataset: Dataset) -> int | None:
    """Its records; None for a stream, whose end nobody has seen."""
    return None if dataset.is_streaming else len(dataset)


def read_some(dataset: Dataset, count: int) -> Iterator[tuple[int, Sample | Failure]]:
    """Positions and samples of some records, or what is wrong with them.

    Spread evenly, first and last among them; of a stream the first ones, one held at a time.

    Args:
        dataset: The split.
        count: How many at most.
    """
    for position, record in _some_records(dataset, count):
        yield position, _read(dataset, position, record)


def _some_records(dataset: Dataset, count: int) -> Iterable[tuple[int, Any]]:
    size = size_of(dataset)
    if size is None:
        return enumerate(islice(dataset.records(), count))
    count = min(count, size)
    spread = (number * (size - 1) // max(1, count - 1) for number in range(count))
    return ((position, position) for position in spread)


def _read(dataset: Dataset, position: int, record: Any) -> Sample | Failure:
    try:
        return dataset.decode(record)
    except RecordError as error:
        return Failure(position, error.record, error.reason, is_skippable=True)
    except OmniFlowError as error:
        return Failure(position, None, _on_one_line(str(error)), is_skippable=False)
    # A dataset may be a stranger's; whatever it raises is what is wrong with the record.
    except Exception as error:  # noqa: BLE001
        reason = _on_one_line(f"{type(error).__name__}: {error}")
        return Failure(position, None, reason, is_skippable=False)


def _on_one_line(text: str) -> str:
    return " ".join(text.split())
