"""results.json, results.md and report.html of an experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.evaluation.comparison_table import Table, markdown, markdown_table
from omniflow.evaluation.report.page import write_report
from omniflow.experiments.estimates import Estimate
from omniflow.experiments.tables import (
    at_level,
    best_table,
    contrasts_table,
    failures_table,
    means_table,
    verdicts,
)
from omniflow.files import write_json, write_text

if TYPE_CHECKING:
    from omniflow.experiments.failures import Failure
    from omniflow.experiments.options import ExperimentOptions
    from omniflow.experiments.results import Results

FORMAT = "omniflow.experiment_results/1"

RESULTS, MARKDOWN, REPORT = "results.json", "results.md", "report.html"

TITLE = "Experiment"


def write_all(
    place: Path,
    results: Sequence[Results],
    options: ExperimentOptions,
    failures: Sequence[Failure],
) -> None:
    """Write the three files, each whole or not at all.

    Args:
        place: The experiment's folder.
        results: What the runs that succeeded show, at each noise level.
        options: What was made and measured.
        failures: What failed.
    """
    write_json(place / RESULTS, results_to_json(results, options, failures))
    write_text(place / MARKDOWN, results_to_markdown(results, options, failures))
    write_report(
        place / REPORT,
        results[0].comparison,
        title=TITLE,
        lead=setting(results, options),
        tables=_tables(results, failures),
    )


def _tables(results: Sequence[Results], failures: Sequence[Failure]) -> list[Table]:
    """Those that have rows."""
    makers = (best_table, means_table, contrasts_table)
    every = [make(one) for make in makers for one in results]
    return [table for table in (*every, failures_table(failures)) if table.rows]


def setting(results: Sequence[Results], options: ExperimentOptions) -> str:
    """What was made of what, in a sentence; single runs are those of the first level."""
    of = f"{options.task} of {results[0].records} records of split {options.split}"
    steps = "" if options.steps is None else f", in {options.steps} steps from noise"
    if results[0].level is None:
        return f"{of}{steps}."
    levels = ", ".join(f"{one.level:g}" for one in results)
    shown = "" if len(results) == 1 else f" Single runs below are those of {results[0].level:g}."
    return f"{of} at noise level {levels}{steps}.{shown}"


def results_to_markdown(
    results: Sequence[Results], options: ExperimentOptions, failures: Sequence[Failure]
) -> str:
    """Tables, then those of the single runs."""
    parts = [f"# {TITLE}", setting(results, options)]
    for table in _tables(results, failures):
        parts += [f"## {table.title}", markdown_table(table), table.note]
    for one in results:
        parts += [f"## Single runs{at_level(one)}", markdown(one.comparison).rstrip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def results_to_json(
    results: Sequence[Results], options: ExperimentOptions, failures: Sequence[Failure]
) -> dict[str, Any]:
    """The content of results.json; a number that is not finite is None."""
    return {
        "format": FORMAT,
        "options": options.to_dict(),
        "levels": [_level_to_json(one) for one in results],
        "failed": [failure.to_dict() for failure in failures],
    }


def _level_to_json(results: Results) -> dict[str, Any]:
    return {
        "noise_level": results.level,
        "records": results.records,
        "recipes": [
            {
                "name": recipe.name,
                "seeds": list(recipe.seeds),
                "trainable": recipe.trainable,
                "training_seconds": recipe.training_seconds,
                "ppl": None if recipe.ppl is None else _estimate(recipe.ppl),
                "metrics": {name: _estimate(one) for name, one in recipe.metrics.items()},
            }
            for recipe in results.recipes
        ],
        "differences": [
            {
                "metric": metric,
                "first": contrast.first,
                "second": contrast.second,
                **_estimate(contrast.estimate),
                "p_value": contrast.estimate.p_value,
                "adjusted_p_value": contrast.adjusted_p,
                "is_clear": contrast.is_clear,
            }
            for metric, contrasts in results.contrasts.items()
            for contrast in contrasts
        ],
        "best": {metric: results.best(metric) for metric in results.metrics},
        "verdicts": verdicts(results),
        "runs": results.comparison.to_dict()["runs"],
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {
        "value": _finite(estimate.value),
        "deviation": None if estimate.deviation is None else _finite(estimate.deviation),
        "interval": None if estimate.interval is None else [_finite(x) for x in estimate.interval],
        "seeds": list(estimate.seeds),
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
