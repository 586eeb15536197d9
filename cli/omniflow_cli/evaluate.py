"""`omniflow evaluate`: figures of a prediction file; needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omniflow.plugins import installed_plugins
from omniflow_cli import render
from omniflow_cli.flags import AsJson, Verbose, check_writable, text

if TYPE_CHECKING:
    from omniflow.evaluation.predictions import PredictionFile
    from omniflow.evaluation.scoring import Evaluation
    from omniflow.interfaces.metric import Metric

TEXT_METRICS = ("bleu", "rouge", "meteor")
TOKEN_METRICS = ("accuracy", "perplexity")


def evaluate(
    predictions: Annotated[
        str, typer.Argument(help="What `omniflow generate` wrote.", metavar="PREDICTIONS")
    ],
    metrics: Annotated[
        str | None,
        text(
            "Names separated by commas; bleu, rouge and meteor unless said otherwise, and accuracy "
            "and perplexity when the file holds token scores.",
            "NAME,NAME",
        ),
    ] = None,
    output_json: Annotated[str | None, text("Where to write the results too.", "FILE")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score predictions against their references."""
    from omniflow.evaluation.predictions import read_predictions
    from omniflow.evaluation.scoring import evaluate_predictions, write_results

    named = None if metrics is None else _constructed(_names(metrics))
    if output_json is not None:
        check_writable(Path(output_json), flag="--output-json")
    file = read_predictions(predictions)
    chosen = _constructed(_fitting(file)) if named is None else named
    evaluation = evaluate_predictions(file, chosen)
    if output_json is not None:
        write_results(output_json, evaluation)
    if as_json:
        render.as_json(evaluation.to_dict())
    else:
        _show(evaluation, predictions, output_json)


def _names(metrics: str) -> list[str]:
    """The names in the order given, each once."""
    names = (name.strip() for name in metrics.split(","))
    return list(dict.fromkeys(name for name in names if name))


def _fitting(file: PredictionFile) -> tuple[str, ...]:
    has_tokens = all(record.tokens is not None for record in file.records)
    return TEXT_METRICS + TOKEN_METRICS if has_tokens else TEXT_METRICS


def _constructed(names: list[str] | tuple[str, ...]) -> dict[str, Metric]:
    """The metrics by name, ready to compute."""
    from omniflow.assembly import construct_component
    from omniflow.recipe import Choice

    registry = installed_plugins().registry
    for name in names:
        registry.get("metric", name, where="--metrics")
    return {name: construct_component(registry, "metric", Choice(name)) for name in names}


def _show(evaluation: Evaluation, predictions: str, output_json: str | None) -> None:
    if render.is_terminal():
        of = f" of {evaluation.model}" if evaluation.model else ""
        task = f", {evaluation.task}" if evaluation.task else ""
        render.line(f"{evaluation.samples} predictions{of}{task}: {predictions}")
    render.table(
        ("metric", "value"),
        [(name, f"{score.value:.4f}") for name, score in evaluation.scores.items()],
        right=(1,),
    )
    if output_json is not None:
        render.note(f"results written to {output_json}")
