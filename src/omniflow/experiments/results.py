"""What the runs of an experiment show: means over seeds, and differences between recipes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from omniflow.evaluation.bootstrap import Sums, resampled_sums
from omniflow.evaluation.comparison import Comparison, compare
from omniflow.evaluation.entries import Entry, read_entries
from omniflow.evaluation.paired import metric_of, sums_of
from omniflow.evaluation.results import Evaluation, Figure, read_results
from omniflow.experiments.estimates import (
    Contrast,
    Estimate,
    Measured,
    contrasts_of,
    mean_of,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from omniflow.experiments.options import ExperimentOptions
    from omniflow.experiments.plan import PlannedRun


@dataclass(frozen=True)
class RecipeResult:
    """What a recipe's runs have in common.

    Args:
        name: The recipe.
        seeds: Of the runs that succeeded.
        metrics: Metric -> its mean over them.
        ppl: Lowest perplexity on the validation split, its mean; None where there is none.
        trainable: How many parameters are trained; None where it is not known.
        training_seconds: Mean time of the steps; None where it is not known.
    """

    name: str
    seeds: tuple[int, ...]
    metrics: Mapping[str, Estimate]
    ppl: Estimate | None
    trainable: int | None
    training_seconds: float | None


@dataclass(frozen=True)
class Results:
    """Recipes side by side, by what they made at one noise level.

    Args:
        level: The level of the given text; None where none is given.
        recipes: In the order that they were named.
        contrasts: Metric -> every pair of recipes.
        higher_is_better: Metric -> whether it is; None where a target in between is best.
        records: How many test records all runs have in common.
        comparison: The single runs, for tables and pages.
    """

    level: float | None
    recipes: tuple[RecipeResult, ...]
    contrasts: Mapping[str, Sequence[Contrast]]
    higher_is_better: Mapping[str, bool | None]
    records: int
    comparison: Comparison

    @property
    def metrics(self) -> list[str]:
        """Every metric, in the order of the result files."""
        return list(self.higher_is_better)

    def best(self, metric: str) -> str | None:
        """The recipe with the best mean; None where no side is better, or a mean is not finite."""
        higher = self.higher_is_better[metric]
        means = {
            recipe.name: recipe.metrics[metric].value
            for recipe in self.recipes
            if metric in recipe.metrics
        }
        if higher is None or len(means) < 2 or not all(map(math.isfinite, means.values())):
            return None
        return (max if higher else min)(means, key=lambda name: means[name])

    def contrast(self, metric: str, one: str, other: str) -> Contrast | None:
        """The difference between two recipes, whichever comes first."""
        wanted = {one, other}
        return next((c for c in self.contrasts[metric] if {c.first, c.second} == wanted), None)


def collect(runs: Sequence[PlannedRun], options: ExperimentOptions) -> tuple[Results, ...]:
    """Read what runs have left in their folders, and judge it: one result for each noise level.

    Args:
        runs: Those that succeeded, at least one.
        options: The levels, and how often records are drawn.
    """
    ordered = sorted(runs, key=lambda run: [one.name for one in runs].index(run.name))
    entries = read_entries([r.folder for r in ordered], names=[r.title for r in ordered])
    found = []
    for level in options.levels:
        own = [
            replace(entry, evaluation=read_results(options.results(run.folder, level)))
            for run, entry in zip(ordered, entries, strict=True)
        ]
        found.append(_judged(list(zip(ordered, own, strict=True)), level, options.resamples))
    return tuple(found)


def _judged(
    found: Sequence[tuple[PlannedRun, Entry]], level: float | None, resamples: int
) -> Results:
    evaluations = [entry.evaluation for _, entry in found if entry.evaluation is not None]
    higher = {
        name: figure.higher_is_better
        for evaluation in reversed(evaluations)
        for name, figure in evaluation.figures.items()
    }
    places = _shared_places(evaluations)
    measured = {name: _measured(name, found, places, resamples) for name in higher}
    names = list(dict.fromkeys(run.name for run, _ in found))
    return Results(
        level=level,
        recipes=tuple(_recipe(name, found, measured) for name in names),
        contrasts={metric: contrasts_of(of) for metric, of in measured.items()},
        higher_is_better=higher,
        records=len(places[0]),
        comparison=compare([entry for _, entry in found], resamples=resamples),
    )


def _recipe(
    name: str,
    found: Sequence[tuple[PlannedRun, Entry]],
    measured: Mapping[str, Mapping[str, Measured]],
) -> RecipeResult:
    mine = {run.seed: entry.run for run, entry in found if run.name == name}
    records = {seed: record for seed, record in mine.items() if record is not None}
    best = {seed: point[1] for seed, record in records.items() if (point := record.best("ppl"))}
    seconds = [r.training_seconds for r in records.values() if r.training_seconds is not None]
    return RecipeResult(
        name=name,
        seeds=tuple(mine),
        metrics={metric: mean_of(of[name]) for metric, of in measured.items() if name in of},
        ppl=mean_of(Measured(best, {}, 0)) if best else None,
        trainable=next((record.trainable for record in records.values()), None),
        training_seconds=sum(seconds) / len(seconds) if seconds else None,
    )


def _shared_places(evaluations: Sequence[Evaluation]) -> list[list[int]]:
    """For each evaluation the places of the records that all of them have, in one order."""
    common = set(evaluations[0].ids).intersection(*(each.ids for each in evaluations[1:]))
    order = [identifier for identifier in evaluations[0].ids if identifier in common]
    tables = [{identifier: n for n, identifier in enumerate(each.ids)} for each in evaluations]
    return [[table[identifier] for identifier in order] for table in tables]


def _measured(
    metric: str,
    found: Sequence[tuple[PlannedRun, Entry]],
    places: Sequence[list[int]],
    resamples: int,
) -> dict[str, Measured]:
    """One metric of every recipe, with the same resamples of records for all runs."""
    evaluated = [(run, entry.evaluation) for run, entry in found if entry.evaluation is not None]
    chosen = [
        (run, evaluation.figures[metric], rows)
        for (run, evaluation), rows in zip(evaluated, places, strict=True)
        if metric in evaluation.figures
    ]
    values: dict[str, dict[int, float]] = {}
    draws: dict[str, dict[int, NDArray[np.float64]]] = {}
    for (run, figure, _), drawn in zip(chosen, _drawn(chosen, resamples), strict=True):
        values.setdefault(run.name, {})[run.seed] = figure.value
        if drawn is not None:
            draws.setdefault(run.name, {})[run.seed] = drawn
    return {name: Measured(of, draws.get(name, {}), len(places[0])) for name, of in values.items()}


def _drawn(
    chosen: Sequence[tuple[PlannedRun, Figure, list[int]]], resamples: int
) -> list[NDArray[np.float64] | None]:
    """The figures on resamples of the records, the same ones for all; None where it has none."""
    import numpy as np

    sums: list[Sums | None] = []
    for _, figure, rows in chosen:
        has_rows = figure.values is not None or figure.statistics is not None
        one = sums_of(figure, rows, metric_of(figure)) if has_rows and rows else None
        sums.append(one if one is not None and np.isfinite(one.rows).all() else None)
    tables = [one.rows for one in sums if one is not None]
    totals = iter(resampled_sums(tables, resamples=resamples, seed=0) if tables else [])
    return [
        None if one is None else np.array([one.figure(row) for row in next(totals).tolist()])
        for one in sums
    ]
