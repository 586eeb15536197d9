"""`omniflow generate`: predictions for the records of a dataset."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    from omniflow.draft import Draft
    from omniflow.errors import RecordError
    from omniflow.interfaces import Dataset, Prediction
    from omniflow.tasks import Task

#: Longest reference that is scored, in tokens, for a checkpoint that belongs to no run.
MAX_LENGTH = 256

#: Records left out that are told one by one.
SKIPPED_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Numbers of a generation; see the help of the flags."""

    batch_size: int = 32
    limit: int | None = None
    noise_level: float = 0.0
    steps: int = 28
    seed: int = 0
    max_new_tokens: int = 223
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("batch_size", "limit", "steps", "max_new_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(name, value, expected="a whole number >= 1")
        if not 0.0 <= self.noise_level <= 1.0:
            raise ConfigError("noise_level", self.noise_level, expected="a number in [0, 1]")
        if not 0 <= self.seed < 2**63:
            raise ConfigError("seed", self.seed, expected="a whole number in [0, 2**63)")


def generate(
    checkpoint: Annotated[
        str, typer.Option(help="A run, or a folder with a saved model.", metavar="RUN|FOLDER")
    ],
    dataset: Annotated[
        list[str] | None,
        text("Dataset by name, repeatable; the run's own unless said otherwise.", "NAME"),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Option of the dataset, repeatable: dataset.path=FILE.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of the dataset.", metavar="NAME")] = "test",
    task: Annotated[
        str, typer.Option(help="What is given and what is made.", metavar="TASK")
    ] = "t2t",
    output: Annotated[
        str, typer.Option(help="Where to write the predictions.", metavar="FILE")
    ] = "predictions.json",
    batch_size: Annotated[str | None, text("Records at a time; 32.", "N")] = None,
    limit: Annotated[str | None, text("Stop after so many records.", "N")] = None,
    noise_level: Annotated[
        str | None, text("Noise in the given text: 0 none (the default), 1 nothing else.", "X")
    ] = None,
    steps: Annotated[str | None, text("Denoising steps when there is noise; 28.", "N")] = None,
    seed: Annotated[str | None, text("Start of the noise of every record; 0.", "N")] = None,
    max_new_tokens: Annotated[str | None, text("Longest prediction in tokens; 223.", "N")] = None,
    device: Annotated[str | None, text("auto, cpu, cuda, cuda:1 or mps; auto.", "NAME")] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Generate predictions for the records of a dataset."""
    from omniflow.assembly import checkpoint_folder
    from omniflow.evaluation.predictions import PredictionFile, write_predictions
    from omniflow.tasks import Task

    numbers = {
        "batch_size": batch_size,
        "limit": limit,
        "noise_level": noise_level,
        "steps": steps,
        "seed": seed,
        "max_new_tokens": max_new_tokens,
        "device": device,
    }
    asked = Task.parse(task, where="--task")
    options = checked_flags(GenerationOptions, numbers, owner="generate")
    check_writable(Path(output), flag="--output")
    folder = checkpoint_folder(Path(checkpoint))
    run = _recipe_beside(folder)
    draft = _draft(dataset or [], setting or [], run)
    started = time.perf_counter()
    skipped: list[RecordError] = []
    predictions = _predictions(
        folder, draft, asked, skipped,
        split=split, options=options, max_length=_max_length(run),
    )  # fmt: skip
    write_predictions(output, PredictionFile(str(folder), str(asked), tuple(predictions)))
    summary = {
        "output": output,
        "model": str(folder),
        "task": str(asked),
        "split": split,
        "records": len(predictions),
        "skipped": len(skipped),
        "seconds": round(time.perf_counter() - started, 3),
    }
    _tell(skipped)
    if as_json:
        render.as_json(summary)
    else:
        _show(summary, predictions)


def _predictions(
    folder: Path,
    draft: Draft,
    task: Task,
    skipped: list[RecordError],
    *,
    split: str,
    options: GenerationOptions,
    max_length: int,
) -> list[Prediction]:
    """Open the data, then the model, then generate: what can be refused is refused early."""
    from omniflow.resolve import resolve_datasets

    registry = installed_plugins().registry
    choices = resolve_datasets(draft, registry)

    from omniflow.assembly import load
    from omniflow.generation.predict import check_task, generate_predictions
    from omniflow.training.device import choose_device
    from omniflow_cli.progress import counting

    check_task(task)
    with naming_flags({"training.device": "--device"}):
        device = choose_device(options.device)
    records = _opened(choices, split, task)
    model = load(folder, registry=registry).to(device)
    with counting("generating") as progress:
        return generate_predictions(
            model,
            records,
            task=task,
            noise_level=options.noise_level,
            steps=options.steps,
            batch_size=options.batch_size,
            limit=options.limit,
            seed=options.seed,
            max_length=max_length,
            max_new_tokens=options.max_new_tokens,
            progress=progress,
            skipped=skipped.append,
        )


def _tell(skipped: list[RecordError]) -> None:
    """Say which records have been left out."""
    for error in skipped[:SKIPPED_SHOWN]:
        render.note(f"skipped: {error}")
    if len(skipped) > SKIPPED_SHOWN:
        render.note(f"skipped: {len(skipped)} records in all")


def _opened(choices: Any, split: str, task: Task) -> Dataset:
    from omniflow.assembly import construct_component
    from omniflow.training.joined import JoinedDataset

    registry = installed_plugins().registry
    parts: list[Dataset] = [
        construct_component(registry, "dataset", choice, split=split) for choice in choices
    ]
    for part in parts:
        part.restrict_to({*task.given, *task.made})
        for notice in part.notices():
            render.note(f"note: {notice}")
    names = [choice.name for choice in choices]
    return parts[0] if len(parts) == 1 else JoinedDataset(parts, names)


def _draft(datasets: list[str], settings: list[str], run: Draft | None) -> Draft:
    """The datasets that were said, else the run's own, else the default."""
    from omniflow.draft import Draft
    from omniflow.errors import UsageError

    if datasets:
        draft = Draft.from_mapping({"dataset": datasets}, where="--dataset")
    elif run is not None and run.sections.get("dataset"):
        draft = Draft({"dataset": run.sections["dataset"]})
    else:
        draft = Draft.empty()
    for setting in settings:
        key, value = key_and_value(setting)
        if key.partition(".")[0] != "dataset":
            raise UsageError(
                f"{key} is settled by the checkpoint",
                where="--set",
                expected="an option of the dataset, such as dataset.path=FILE",
            )
        draft = draft.with_setting(key, value, where="--set")
    return draft


def _recipe_beside(folder: Path) -> Draft | None:
    """The recipe of the run that a checkpoint belongs to, if it stands in one."""
    from omniflow.draft import Draft

    # RUN/best, RUN/checkpoints/step-N, or the run itself when it was saved so.
    for place in (folder, folder.parent, folder.parent.parent):
        if (place / "recipe.yaml").is_file():
            return Draft.from_file(str(place))
    return None


def _max_length(run: Draft | None) -> int:
    said = run.sections.get("objective", {}).get("max_length") if run is not None else None
    return said.value if said is not None and isinstance(said.value, int) else MAX_LENGTH


def _show(summary: Mapping[str, Any], predictions: list[Prediction]) -> None:
    if render.is_terminal():
        render.table(
            ("reference", "prediction"),
            [(record.references[0], record.prediction) for record in predictions[:3]],
        )
    render.line(
        f"{summary['records']} predictions by {summary['model']} in {summary['seconds']:.1f} s: "
        f"{summary['output']}"
    )
    render.line(f"next: omniflow evaluate {summary['output']}")
