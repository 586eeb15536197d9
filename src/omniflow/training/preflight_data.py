"""Looking at the data before a run: every split of every dataset, and some records of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from omniflow.errors import DataError, OmniFlowError, UsageError
from omniflow.inspection.reading import NEEDED, Failure, open_split, read_some, size_of
from omniflow.interfaces import Dataset
from omniflow.mixing import labels_of, weights_of
from omniflow.training.serving import ServingDataset
from omniflow.training.splits import tasks_of

if TYPE_CHECKING:
    from omniflow.interfaces import Objective
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry

#: Records of a split that are read, spread evenly over it.
RECORDS = 8


@dataclass(frozen=True)
class SplitCheck:
    """What some records of a split were like.

    Args:
        dataset: The dataset's label, else its name.
        split: The split.
        share: Share of the samples that are drawn from it, among those of all datasets; None where
            nobody knows.
        size: Its records; 0 if it could not be opened, None for a stream.
        read: How many were read.
        failed: How many of these could not be used.
        brought: Modality -> how many of them brought it.
    """

    dataset: str
    split: str
    share: float | None = None
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
    tasks = objective.task_weights()
    for place, (label, choice) in enumerate(
        zip(labels_of(recipe.dataset), recipe.dataset, strict=True)
    ):
        for split in Dataset.splits:
            if weights_of(recipe.dataset, split)[place] == 0:
                continue
            check = SplitCheck(label, split)
            problem: OmniFlowError | None
            try:
                own = tasks_of(choice, label, tasks)
                dataset = open_split(choice, split, registry, objective.modalities)
                check, problem = _check_split(check, dataset, objective)
                ServingDataset(dataset, label, tasks if own is None else own).require_use()
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
    shared = tuple(replace(check, share=_share(check, checks, recipe)) for check in checks)
    return DataReport(shared, _told_once(findings), tuple(notes))


def _share(check: SplitCheck, checks: Sequence[SplitCheck], recipe: Recipe) -> float | None:
    """By weight, or by size where there are none."""
    weights = zip(labels_of(recipe.dataset), weights_of(recipe.dataset, check.split), strict=True)
    sizes = {each.dataset: each.size for each in checks if each.split == check.split}
    drawn = {
        label: sizes[label] if weight is None else weight
        for label, weight in weights
        if label in sizes
    }
    known = [amount for amount in drawn.values() if amount is not None]
    amount = drawn[check.dataset]
    if amount is None or len(known) < len(drawn) or not sum(known):
        return None
    return amount / sum(known)


class SkippableError(DataError):
    """Some of the records that were looked at cannot be read, and a run would skip them."""


def _check_split(
    check: SplitCheck, dataset: Dataset, objective: Objective
) -> tuple[SplitCheck, DataError | None]:
    """What records of a split are like, and what is wrong with them, if anything is."""
    where = f"dataset {check.dataset}, split {check.split}"
    size = size_of(dataset)
    brought = dict.fromkeys(sorted(objective.modalities), 0)
    problems: list[Failure] = []
    read = 0
    for _, found in read_some(dataset, RECORDS):
        read += 1
        if isinstance(found, Failure):
            problems.append(found)
            continue
        for name in brought:
            brought[name] += getattr(found, name) is not None
    if not read:
        return check, DataError("it is empty", where=where, expected="at least one record")
    check = replace(check, size=size, read=read, failed=len(problems), brought=brought)
    if not problems:
        return check, None
    told = f"{len(problems)} of {read} records that were looked at cannot be read"
    is_skippable = all(each.is_skippable for each in problems) and len(problems) < read
    kind = SkippableError if is_skippable else DataError
    return check, kind(told, where=where, notes=[str(each) for each in problems])


def _told_once(findings: list[OmniFlowError]) -> tuple[OmniFlowError, ...]:
    """Without repetitions: a file that is missing is missing for every split."""
    return tuple({str(finding): finding for finding in findings}.values())
