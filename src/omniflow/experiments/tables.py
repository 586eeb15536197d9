"""What an experiment shows, as sentences and tables of texts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from omniflow.evaluation.comparison_table import NOTHING, Table, interval_text, number, signed
from omniflow.experiments.estimates import Contrast, Estimate
from omniflow.experiments.failures import Failure
from omniflow.experiments.results import RecipeResult, Results


def at_level(results: Results) -> str:
    """At which noise level, for titles; nothing where there is none."""
    return "" if results.level is None else f" at noise level {results.level:g}"


def verdicts(results: Results) -> list[str]:
    """For each metric the recipe with the best mean, and which others are clearly worse."""
    sentences = []
    for metric, best, worse, unclear in _ranked(results):
        parts = [f"{metric}{at_level(results)}: {best} has the best mean"]
        if worse:
            parts.append(f"clearly better than {', '.join(worse)}")
        if unclear:
            parts.append(f"not clearly better than {', '.join(unclear)}")
        sentences.append("; ".join(parts) + ".")
    return sentences


def best_table(results: Results) -> Table:
    """The same as a table."""
    return Table(
        headers=["metric", "best mean", "clearly better than", "not clearly better than"],
        rows=[
            [metric, best, ", ".join(worse) or NOTHING, ", ".join(unclear) or NOTHING]
            for metric, best, worse, unclear in _ranked(results)
        ],
        title=f"Which is best{at_level(results)}",
    )


def _ranked(results: Results) -> Iterator[tuple[str, str, list[str], list[str]]]:
    """Metric, recipe with the best mean, those that are clearly worse, and the others."""
    for metric in results.metrics:
        best = results.best(metric)
        if best is None:
            continue
        worse: list[str] = []
        unclear: list[str] = []
        for recipe in results.recipes:
            if recipe.name != best:
                contrast = results.contrast(metric, best, recipe.name)
                is_clear = contrast is not None and contrast.is_clear
                (worse if is_clear else unclear).append(recipe.name)
        yield metric, best, worse, unclear


def means_table(results: Results) -> Table:
    """Recipes in rows: the mean over seeds, the deviation between them, and the interval."""
    columns: list[tuple[str, list[str]]] = [
        ("seeds", [str(len(recipe.seeds)) for recipe in results.recipes]),
        ("trained", [_count(recipe.trainable) for recipe in results.recipes]),
        ("training s", [_seconds(recipe) for recipe in results.recipes]),
        ("validation PPL", [_estimate(recipe.ppl) for recipe in results.recipes]),
        *(
            (metric, [_estimate(recipe.metrics.get(metric)) for recipe in results.recipes])
            for metric in results.metrics
        ),
    ]
    shown = [(name, cells) for name, cells in columns if set(cells) != {NOTHING}]
    return Table(
        headers=["recipe", *(name for name, _ in shown)],
        rows=[
            [recipe.name, *(cells[place] for _, cells in shown)]
            for place, recipe in enumerate(results.recipes)
        ],
        title=f"Means over seeds{at_level(results)}",
        note=f"{_meaning(results)} Training time is that of a run among others, if several were at "
        "work.",
    )


def _meaning(results: Results) -> str:
    """What stands in a cell of means."""
    of = f"{results.records} records"
    if all(len(recipe.seeds) > 1 for recipe in results.recipes):
        return (
            "Mean ± standard deviation between seeds [95 % interval, for other seeds and other "
            f"records than these {of}]."
        )
    return (
        "Mean [95 % interval]; of a recipe with one seed, for other records than these "
        f"{of} alone: what another seed would change is not known."
    )


def _scope(results: Results) -> str:
    """What differences are judged over."""
    shared = [c.estimate.seeds for contrasts in results.contrasts.values() for c in contrasts]
    if all(len(seeds) > 1 for seeds in shared):
        return "Over seeds and records together"
    return "Of a pair with one seed in common over records alone, so that it is of these two runs"


def contrasts_table(results: Results) -> Table:
    """A row for each metric of each pair of recipes."""
    rows = [
        [
            f"{contrast.second} less {contrast.first}",
            metric,
            signed(contrast.estimate.value),
            _interval(contrast.estimate),
            _p(contrast.estimate.p_value),
            _p(contrast.adjusted_p),
            clearly(contrast, results.higher_is_better[metric]),
        ]
        for metric, contrasts in results.contrasts.items()
        for contrast in contrasts
    ]
    return Table(
        headers=["difference", "metric", "value", "95 % interval", "p", "p, Holm", "clearly"],
        rows=rows,
        title=f"Differences between recipes{at_level(results)}",
        note=f"{_scope(results)}; p-values are two-sided, and adjusted for the number of pairs of "
        "a metric. Clearly: the adjusted one is below 0.05.",
    )


def failures_table(failures: Sequence[Failure]) -> Table:
    """What failed, and why."""
    return Table(
        headers=["failed", "why"],
        rows=[[failure.title, failure.problem] for failure in failures],
        title="Failed",
    )


def clearly(contrast: Contrast, higher_is_better: bool | None) -> str:
    """Whether the second recipe is clearly better or worse than the first one."""
    if not contrast.is_clear or higher_is_better is None:
        return ""
    return "better" if (contrast.estimate.value > 0) == higher_is_better else "worse"


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return NOTHING
    spread = "" if estimate.deviation is None else f" ± {number(estimate.deviation)}"
    interval = _interval(estimate)
    return f"{number(estimate.value)}{spread}" + ("" if interval == NOTHING else f" {interval}")


def _interval(estimate: Estimate) -> str:
    return NOTHING if estimate.interval is None else interval_text(*estimate.interval)


def _p(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _seconds(recipe: RecipeResult) -> str:
    seconds = recipe.training_seconds
    return NOTHING if seconds is None or not math.isfinite(seconds) else f"{seconds:.1f}"
