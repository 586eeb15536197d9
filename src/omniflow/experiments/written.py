"""results.json, results.md and report.html of an experiment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.evaluation.comparison_table import markdown, markdown_table
from omniflow.evaluation.report.page import write_report
from omniflow.experiments.estimates import Estimate
from omniflow.experiments.tables import contrasts_table, failures_table, means_table, verdicts
from omniflow.files import write_json, write_text

if TYPE_CHECKING:
    from omniflow.experiments.failures import Failure
    from omniflow.experiments.options import ExperimentOptions
    from omniflow.experiments.results import Results

FORMAT = "omniflow.experiment_results/1"

RESULTS, MARKDOWN, REPORT = "results.json", "results.md", "report.html"

TITLE = "Experiment"


def write_all(
    place: Path, results: Results, options: ExperimentOptions, failures: Sequence[Failure]
) -> None:
    """Write the three files, each whole or not at all.

    Args:
        place: The experiment's folder.
        results: What the runs that succeeded show.
        options: What was made and measured.
        failures: What failed.
    """
    write_json(place / RESULTS, results_to_json(results, options, failures))
    write_text(place / MARKDOWN, results_to_markdown(results, options, failures))
    tables = [means_table(results), contrasts_table(results), failures_table(failures)]
    write_report(
        place / REPORT,
        results.comparison,
        title=TITLE,
        lead=" ".join([setting(results, options), *verdicts(results)]),
        tables=[table for table in tables if table.rows],
    )


def setting(results: Results, options: ExperimentOptions) -> str:
    """What was made of what, in a sentence."""
    level = f" at noise level {options.noise_level:g}" if "t" in options.task.split("2")[0] else ""
    steps = "" if options.steps is None else f" in {options.steps} steps"
    return f"{options.task} of {results.records} records of split {options.split}{level}{steps}."


def results_to_markdown(
    results: Results, options: ExperimentOptions, failures: Sequence[Failure]
) -> str:
    """Sentences and tables, then those of the single runs."""
    parts = [f"# {TITLE}", setting(results, options)]
    parts += ["\n".join(f"- {sentence}" for sentence in verdicts(results))]
    for table in (means_table(results), contrasts_table(results), failures_table(failures)):
        if table.rows:
            parts += [f"## {table.title}", markdown_table(table), table.note]
    parts += ["## Single runs", markdown(results.comparison).rstrip()]
    return "\n\n".join(part for part in parts if part) + "\n"


def results_to_json(
    results: Results, options: ExperimentOptions, failures: Sequence[Failure]
) -> dict[str, Any]:
    """The content of results.json; a number that is not finite is None."""
    return {
        "format": FORMAT,
        "options": options.to_dict(),
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
        "failed": [failure.to_dict() for failure in failures],
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
