"""Checking the data of a recipe: every split of every dataset, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omniflow.assembly import construct_component
from omniflow.errors import ConfigError, DataError, OmniFlowError, UsageError
from omniflow.inspection.contents import Repeats, SplitContents, repeats
from omniflow.inspection.judging import judged
from omniflow.inspection.lengths import TokenCounter
from omniflow.inspection.reading import (
    MODALITIES,
    NEEDED,
    open_split,
    tasks_for,
    tasks_served,
)
from omniflow.inspection.report import DataCheck, SplitReport
from omniflow.inspection.split_reading import SplitReading
from omniflow.interfaces import Dataset
from omniflow.mixing import labels_of, weights_of

if TYPE_CHECKING:
    from omniflow.interfaces import Objective
    from omniflow.recipe import Choice, Recipe
    from omniflow.registry import Registry
    from omniflow.tasks import Task

#: Texts of a split that are read by default, where it isn't a stream.
MOST_TEXTS = 100_000


@dataclass(frozen=True)
class Extent:
    """How much of a split a check reads: all of it, or so many records.

    Args:
        records: Records that are read whole, pictures and sounds decoded.
        texts: Records that are read for their text alone; when None, 100,000, and those that are
            read whole of a stream.

    Raises:
        ConfigError: If a number is below 1.
    """

    records: int = 1000
    texts: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("records", self.records), ("texts", self.texts)):
            if value is not None and value < 1:
                raise ConfigError(name, value, expected="a whole number >= 1")

    def texts_of(self, dataset: Dataset) -> int:
        """How many texts of a split are read."""
        if self.texts is not None:
            return self.texts
        return self.records if dataset.is_streaming else max(self.records, MOST_TEXTS)


def check_data(
    recipe: Recipe,
    registry: Registry,
    *,
    modalities: Collection[str] | None = None,
    extent: Extent | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataCheck:
    """Look at every split of a recipe's datasets; nothing is written.

    Held in memory is about 200 bytes for every text, picture and sound that is read.

    Args:
        recipe: The resolved recipe.
        registry: Where its names are looked up.
        modalities: What is read of the records; when None, what the recipe's objective reads.
        extent: How many records are read.
        progress: Called with (splits done, splits) after every split.
    """
    return _Check(recipe, registry, modalities, extent or Extent()).carry_out(progress)


class _Check:
    """One check; every split adds what it finds."""

    def __init__(
        self,
        recipe: Recipe,
        registry: Registry,
        modalities: Collection[str] | None,
        extent: Extent,
    ) -> None:
        self.recipe = recipe
        self.registry = registry
        self.extent = extent
        self.objective: Objective = construct_component(registry, "objective", recipe.objective)
        self.modalities = modalities
        self.findings: list[OmniFlowError] = []
        self.notes: list[str] = []
        self.reports: list[SplitReport] = []
        self.contents: list[SplitContents] = []
        self.tokens = TokenCounter(recipe, registry)

    def carry_out(self, progress: Callable[[int, int], None] | None) -> DataCheck:
        if not self.recipe.dataset:
            self.findings.append(DataError("the recipe names no dataset", expected="at least one"))
        names = labels_of(self.recipe.dataset)
        choices = self.recipe.dataset
        # One that has no weight in a split is not read there.
        pairs = [
            (name, choice, split)
            for place, (name, choice) in enumerate(zip(names, choices, strict=True))
            for split in Dataset.splits
            if weights_of(choices, split)[place] != 0
        ]
        for done, (name, choice, split) in enumerate(pairs, start=1):
            try:
                self._look_at(name, choice, split)
            except UsageError as error:
                self._find(error, split)
            if progress is not None:
                progress(done, len(pairs))
        if self.tokens.problem is not None:
            self.notes.append(f"tokens were not counted: {self.tokens.problem}")
        found = repeats(self.contents)
        self.notes += [told for each in found if (told := _leak(each))]
        return DataCheck(
            tuple(self.reports),
            tuple(found),
            tuple({str(finding): finding for finding in self.findings}.values()),
            tuple(dict.fromkeys(self.notes)),
        )

    def _find(self, problem: UsageError, split: str) -> None:
        """Take note of what is wrong with a split; only some are needed to train."""
        if split in NEEDED:
            self.findings.append(problem)
        else:
            self.notes.append(f"training does not read this, generating does: {problem}")

    def _look_at(self, name: str, choice: Choice, split: str) -> None:
        tasks = tasks_for(self.objective, choice, name)
        modalities = self._wanted_of(choice)
        dataset = open_split(choice, split, self.registry, modalities)
        whole, texts = self._read(dataset, choice, split, modalities)
        report = SplitReport(
            dataset=name,
            split=split,
            size=_size(whole, texts),
            is_stream=dataset.is_streaming,
            columns=dataset.column_roles(),
            read=whole.read,
            failures=tuple(whole.failures),
            mix=dict(whole.mix),
            tasks=_counted(whole, tasks),
            texts_read=texts.read if texts.texts else 0,
            text_failures=tuple(texts.failures) if texts is not whole else (),
            characters=texts.characters,
            tokens=self.tokens.lengths(texts.texts),
        )
        self.reports.append(report)
        self.contents.append(_contents(report.name, whole, texts))
        self.notes += dataset.notices()
        readings = [whole] if texts is whole else [whole, texts]
        problems, notes = judged(report, readings, tasks, self.recipe.training.bad_records)
        self.notes += notes
        for problem in problems:
            self._find(problem, split)

    def _read(
        self, dataset: Dataset, choice: Choice, split: str, modalities: Collection[str]
    ) -> tuple[SplitReading, SplitReading]:
        """Records read whole, and for their text; the same reading where that is all there is."""
        records, count = self.extent.records, self.extent.texts_of(dataset)
        if set(modalities) == {"text"}:
            only = SplitReading(dataset, max(records, count))
            return only, only
        whole = SplitReading(dataset, records)
        if whole.is_whole or count <= whole.read or "text" not in whole.contents:
            return whole, whole
        return whole, SplitReading(open_split(choice, split, self.registry, {"text"}), count)

    def _wanted_of(self, choice: Choice) -> frozenset[str]:
        """What is read of a dataset's records."""
        read = frozenset(self.modalities or self.objective.modalities)
        own = choice.mixing and choice.mixing.task_weights()
        if own and self.modalities is None:
            read &= {name for task in own if own[task] > 0 for name in task.given + task.made}
        return read


def _size(*readings: SplitReading) -> int | None:
    """Records of a split; of a stream, if one of its readings came to the end."""
    ends = [each.read for each in readings if each.is_whole]
    return readings[0].size if readings[0].size is not None else next(iter(ends), None)


def _contents(name: str, whole: SplitReading, texts: SplitReading) -> SplitContents:
    """The contents of a split, to be compared with those of others."""
    of_texts = {"text": texts.contents["text"]} if "text" in texts.contents else {}
    complete = {each for each in MODALITIES if (texts if each == "text" else whole).is_whole}
    return SplitContents(name, {**whole.contents, **of_texts}, frozenset(complete))


def _counted(reading: SplitReading, tasks: Sequence[Task]) -> dict[str, int]:
    """Task -> how many of the records that were read serve it."""
    counts = {str(task): 0 for task in tasks}
    for brought, count in reading.mix.items():
        for task in tasks_served(tasks, brought.split("+")):
            counts[str(task)] += count
    return counts


def _leak(found: Repeats) -> str | None:
    """What to say of contents that stand in two splits."""
    splits = {name.rpartition(" ")[2] for name in (found.first, found.second)}
    if not found.count or len(splits) == 1:
        return None
    one, other = found.compared
    return (
        f"{found.count} {found.modality}s of {found.first} are in {found.second} as well "
        f"({one:,} and {other:,} compared)"
    )
