"""Looking at the data before a run: every split of every dataset, and some records of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from omniflow.assembly import construct_component
from omniflow.errors import DataError, OmniFlowError, RecordError, UsageError
from omniflow.interfaces import Dataset, Sample

if TYPE_CHECKING:
    from omniflow.interfaces import Objective
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry

#: Records of a split that are read, spread evenly over it.
RECORDS = 8

#: Splits that training cannot do without.
NEEDED = ("train", "validation")


@dataclass(frozen=True)
class SplitCheck:
    """What some records of a split were like.

    Args:
        dataset: The dataset's name.
        split: The split.
        size: Its records; 0 if it could not be opened, None for a stream.
        read: How many were read.
        failed: How many of these could not be used.
        brought: Modality -> how many of them brought it.
    """

    dataset: str
    split: str
    size: int | None = 0
    read: int = 0
    failed: int = 0
    brought: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class DataReport:
    """What the data are like.

    Args:
        checks: One a split of a dataset.
        findings: What stands in the way of training.
        notes: What does not, but a person should know.
    """

    checks: tuple[SplitCheck, ...] = ()
    findings: tuple[OmniFlowError, ...] = ()
    notes: tuple[str, ...] = ()


def check_data(recipe: Recipe, objective: Objective, registry: Registry) -> DataReport:
    """Open every split of the recipe's datasets and read some records of each."""
    checks: list[SplitCheck] = []
    findings: list[OmniFlowError] = []
    notes: list[str] = []
    if not recipe.dataset:
        findings.append(DataError("the recipe names no dataset", expected="at least one"))
    for choice in recipe.dataset:
        for split in Dataset.splits:
            check = SplitCheck(choice.name, split)
            problem: OmniFlowError | None
            try:
                dataset: Dataset = construct_component(registry, "dataset", choice, split=split)
                dataset.restrict_to(objective.modalities)
                check, problem = _check_split(check, dataset, objective)
                if isinstance(problem, SkippableError) and recipe.training.bad_records > 0:
                    notes.append(f"{problem}: a run skips them, up to training.bad_records")
                    problem = None
                notes += [note for note in dataset.notices() if note not in notes]
            except UsageError as error:
                problem = error
            checks.append(check)
            if problem is not None and split in NEEDED:
                findings.append(problem)
            elif problem is not None:
                notes.append(f"training does not read this, generating does: {problem}")
    return DataReport(tuple(checks), _told_once(findings), tuple(notes))


class SkippableError(DataError):
    """Some of the records that were looked at cannot be read, and a run would skip them."""


def _check_split(
    check: SplitCheck, dataset: Dataset, objective: Objective
) -> tuple[SplitCheck, DataError | None]:
    """What records of a split are like, and what is wrong with them, if anything is."""
    where = f"dataset {check.dataset}, split {check.split}"
    size = None if dataset.is_streaming else len(dataset)
    if size == 0 or next(dataset.records(), None) is None:
        return check, DataError("it is empty", where=where, expected="at least one record")
    brought = dict.fromkeys(sorted(objective.modalities), 0)
    problems: list[str] = []
    skippable = 0
    looked_at = _looked_at(dataset, size)
    for position, record in looked_at:
        found = _read(dataset, record)
        if not isinstance(found, Sample):
            problems.append(f"record {position}: {found}")
            skippable += isinstance(found, RecordError)
            continue
        for name in brought:
            brought[name] += getattr(found, name) is not None
    check = replace(
        check,
        size=size,
        read=len(looked_at),
        failed=len(problems),
        brought=brought,
    )
    if not problems:
        return check, None
    told = f"{len(problems)} of {len(looked_at)} records that were looked at cannot be read"
    is_skippable = skippable == len(problems) < len(looked_at)
    kind = SkippableError if is_skippable else DataError
    return check, kind(told, where=where, notes=problems)


def _told_once(findings: list[OmniFlowError]) -> tuple[OmniFlowError, ...]:
    """Without repetitions: a file that is missing is missing for every split."""
    return tuple({str(finding): finding for finding in findings}.values())


def _read(dataset: Dataset, record: Any) -> Sample | OmniFlowError | str:
    """A record's sample, or what is wrong with it."""
    try:
        return dataset.decode(record)
    # A dataset may be a stranger's; whatever it raises is what is wrong with the record.
    except Exception as error:  # noqa: BLE001
        return error if isinstance(error, OmniFlowError) else f"{type(error).__name__}: {error}"


def _looked_at(dataset: Dataset, size: int | None) -> list[tuple[int, Any]]:
    """Positions and records spread evenly, first and last among them; the first of a stream."""
    if size is None:
        return list(enumerate(islice(dataset.records(), RECORDS)))
    count = min(RECORDS, size)
    spread = [number * (size - 1) // max(1, count - 1) for number in range(count)]
    return [(position, position) for position in spread]
