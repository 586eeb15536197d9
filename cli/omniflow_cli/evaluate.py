"""`omniflow evaluate`: figures of a prediction file; needs no torch for texts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omniflow.errors import ConfigError
from omniflow.plugins import installed_plugins
from omniflow_cli import render
from omniflow_cli.flags import (
    AsJson,
    Verbose,
    check_writable,
    checked_flags,
    key_and_value,
    naming_flags,
    text,
)

if TYPE_CHECKING:
    from omniflow.evaluation.predictions import PredictionFile
    from omniflow.evaluation.results import Evaluation, Figure
    from omniflow.recipe import Choice

#: Text that is rated, in tokens, with a checkpoint: more than any that `tiny` was trained on.
MAX_LENGTH = 256

SCORES = "Token scores of a checkpoint"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Numbers of an evaluation; see the help of the flags."""

    resamples: int = 1000
    seed: int = 0
    noise_level: float = 0.0
    batch_size: int = 32
    device: str = "auto"

    def __post_init__(self) -> None:
        from omniflow.evaluation.bootstrap import check_settings

        check_settings(self.resamples, self.seed)
        if self.batch_size < 1:
            raise ConfigError("batch_size", self.batch_size, expected="a whole number >= 1")
        if not 0.0 <= self.noise_level <= 1.0:
            raise ConfigError("noise_level", self.noise_level, expected="a number in [0, 1]")


def evaluate(
    predictions: Annotated[
        str,
        typer.Argument(
            help="What `omniflow generate` wrote: a file, or a folder of pictures or sounds.",
            metavar="PREDICTIONS",
        ),
    ],
    metrics: Annotated[
        str | None,
        text(
            "Names separated by commas, hf:NAME for those of Hugging Face evaluate; bleu, rouge "
            "and meteor unless said otherwise, and accuracy and perplexity where there are token "
            "scores.",
            "NAME,NAME",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Option of a metric, repeatable: bleu.tokenizer=zh.",
            metavar="METRIC.OPTION=VALUE",
            show_default=False,
        ),
    ] = None,
    output_json: Annotated[str | None, text("Where to write the results too.", "FILE")] = None,
    records: Annotated[
        bool,
        typer.Option(
            "--records/--no-records", help="Whether results hold the figures of single records."
        ),
    ] = True,
    resamples: Annotated[
        str | None, text("Draws for an interval; 1000, and 0 for no intervals.", "N")
    ] = None,
    seed: Annotated[str | None, text("Start of the draws; 0.", "N")] = None,
    checkpoint: Annotated[
        str | None,
        text("A run or saved model that rates the references (task t2t).", "RUN|FOLDER", SCORES),
    ] = None,
    noise_level: Annotated[
        str | None, text("Noise in the text that it is given, 0 to 1; 0.", "X", SCORES)
    ] = None,
    batch_size: Annotated[str | None, text("Records at a time; 32.", "N", SCORES)] = None,
    device: Annotated[
        str | None, text("auto, cpu, cuda, cuda:1 or mps; auto.", "NAME", SCORES)
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Score predictions against their references."""
    from omniflow.evaluation.choices import choose_metrics, construct_metrics, fitting_metrics
    from omniflow.evaluation.predictions import prediction_path, read_predictions
    from omniflow.evaluation.results import write_results
    from omniflow.evaluation.scoring import evaluate_predictions

    numbers = {
        "resamples": resamples, "seed": seed, "noise_level": noise_level,
        "batch_size": batch_size, "device": device,
    }  # fmt: skip
    options = checked_flags(EvaluationOptions, numbers, owner="evaluate")
    registry = installed_plugins().registry
    settings = [
        key_and_value(one, example="METRIC.OPTION=VALUE, such as bleu.tokenizer=zh")
        for one in setting or []
    ]

    def chosen(names: list[str]) -> dict[str, Choice]:
        return choose_metrics(names, registry, settings=settings, where="--metrics")

    # What was named is looked up before anything is read.
    choices = None if metrics is None else chosen(_names(metrics))
    made = None if choices is None else construct_metrics(choices, registry)
    if output_json is not None:
        check_writable(Path(output_json), flag="--output-json")
    file = read_predictions(predictions)
    if checkpoint is not None:
        file = _rated(file, Path(checkpoint), options)
    if choices is None or made is None:
        choices = chosen([*fitting_metrics(file.records)])
        made = construct_metrics(choices, registry)
    evaluation = evaluate_predictions(
        file, made, choices=choices, resamples=options.resamples, seed=options.seed,
        path=prediction_path(predictions),
    )  # fmt: skip
    if output_json is not None:
        write_results(output_json, evaluation, with_records=records)
    if as_json:
        render.as_json(evaluation.to_dict(with_records=records))
    else:
        _show(evaluation, predictions, output_json)


def _names(metrics: str) -> list[str]:
    """The names in the order given, each once."""
    names = (name.strip() for name in metrics.split(","))
    return list(dict.fromkeys(name for name in names if name))


def _rated(file: PredictionFile, place: Path, options: EvaluationOptions) -> PredictionFile:
    """The predictions with token scores of a checkpoint."""
    from omniflow.assembly import load
    from omniflow.checkpoints import checkpoint_folder
    from omniflow.generation.token_scoring import check_tasks, with_token_scores
    from omniflow.training.device import choose_device
    from omniflow_cli.progress import counting

    check_tasks(file.records)
    folder = checkpoint_folder(place)
    with naming_flags({"training.device": "--device"}):
        device = choose_device(options.device)
    model = load(folder, registry=installed_plugins().registry).to(device)
    with counting("rating references") as progress:
        rated = with_token_scores(
            model,
            file.records,
            noise_level=options.noise_level,
            batch_size=options.batch_size,
            seed=options.seed,
            max_length=MAX_LENGTH,
            progress=progress,
        )
    return replace(file, records=tuple(rated))


def _show(evaluation: Evaluation, predictions: str, output_json: str | None) -> None:
    if render.is_terminal():
        of = f" of {evaluation.model}" if evaluation.model else ""
        task = f", {evaluation.task}" if evaluation.task else ""
        render.line(f"{evaluation.samples} predictions{of}{task}: {predictions}")
    render.table(
        ("metric", "value", "95 % interval"),
        [
            (name, f"{figure.value:.4f}", _interval(figure))
            for name, figure in evaluation.figures.items()
        ],
        right=(1,),
    )
    for name, figure in evaluation.figures.items():
        for sentence in figure.notes:
            render.note(f"note: {name}: {sentence}")
    if output_json is not None:
        render.note(f"results written to {output_json}")


def _interval(figure: Figure) -> str:
    if figure.interval is None:
        return ""
    return f"{figure.interval.low:.4f} to {figure.interval.high:.4f}"
