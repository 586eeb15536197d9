"""`omniflow generate`: what a model makes of the records of a dataset."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniflow.errors import UsageError
from omniflow_cli import render
from omniflow_cli.exits import OK
from omniflow_cli.flags import AsJson, Verbose, checked_flags, naming_flags, text
from omniflow_cli.generation_data import identity_of, open_datasets
from omniflow_cli.generation_models import ModelSaid, models_said
from omniflow_cli.generation_options import (
    GenerationOptions,
    check_decoding,
    check_place,
    said_flags,
    split_settings,
)
from omniflow_cli.many_processes import launched, process_count
from omniflow_cli.sample_options import naming_settings, sampling_settings

if TYPE_CHECKING:
    from omniflow.generation.generate_file import GeneratedFile
    from omniflow.interfaces import Dataset
    from omniflow.model import OmniFlowModel
    from omniflow.tasks import Task
    from omniflow.training.processes import Processes

#: What is left when it ends early.
GOING_ON = "what is made so far is kept; continue with the same command"

#: Records left out that are told one by one.
SKIPPED_SHOWN = 5


@dataclass(frozen=True)
class Asked:
    """What was said, beside models and data."""

    task: Task
    split: str
    options: GenerationOptions
    sampling: Mapping[str, Any]


def generate(
    context: typer.Context,
    checkpoint: Annotated[
        str | None,
        text(
            "A run, a folder with a saved model, a Hub id, or a pattern such as RUN/best*: each "
            "model that fits gets an output of its own.",
            "RUN|FOLDER|HUB_ID",
            "Model",
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        text("A backbone as it is, by name, folder or Hub id, instead.", "NAME", "Model"),
    ] = None,
    device: Annotated[
        str | None, text("auto, cpu, cuda, cuda:1 or mps; auto.", "NAME", "Model")
    ] = None,
    num_processes: Annotated[
        str | None, text("Processes that share the work on this machine; 1.", "N", "Model")
    ] = None,
    dataset: Annotated[
        list[str] | None,
        text("Dataset by name, repeatable; the run's own unless said otherwise.", "NAME", "Data"),
    ] = None,
    split: Annotated[str, text("Split of the dataset; test.", "NAME", "Data")] = "test",
    limit: Annotated[str | None, text("Stop after so many records.", "N", "Data")] = None,
    task: Annotated[
        str, text("Given letters, 2, made letters: t text, i image, a audio; t2t.", "TASK")
    ] = "t2t",
    output: Annotated[
        str | None,
        text(
            "File of the predictions, predictions.json; for pictures and sounds a folder, "
            "generated.",
            "FILE|FOLDER",
        ),
    ] = None,
    batch_size: Annotated[
        str | None, text("Records at a time, which changes no text; 32.", "N")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Option of the dataset, or a setting of the sampler, repeatable: "
            "dataset.path=FILE, sampling.solver=heun.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    noise_level: Annotated[
        str | None,
        text("Noise in the given text: 0 none (the default), 1 nothing else.", "X", "Sampling"),
    ] = None,
    steps: Annotated[
        str | None, text("Denoising steps when there is noise; 28.", "N", "Sampling")
    ] = None,
    guidance: Annotated[
        list[str] | None,
        text(
            "A number, or a weight for each given modality, repeatable: text=7; as the backbone "
            "suggests.",
            "X|MODALITY=X",
            "Sampling",
        ),
    ] = None,
    seed: Annotated[
        str | None, text("Start of what is random about every record; 0.", "N", "Sampling")
    ] = None,
    max_new_tokens: Annotated[
        str | None, text("Longest text in tokens; 223.", "N", "Decoding of texts")
    ] = None,
    temperature: Annotated[
        str | None,
        text("Draw tokens; 0, the default, takes the likeliest.", "X", "Decoding of texts"),
    ] = None,
    top_k: Annotated[
        str | None, text("Draw from so many likeliest tokens.", "N", "Decoding of texts")
    ] = None,
    top_p: Annotated[
        str | None,
        text("Draw from the likeliest tokens with this share.", "X", "Decoding of texts"),
    ] = None,
    num_beams: Annotated[
        str | None, text("Beam search with so many beams.", "N", "Decoding of texts")
    ] = None,
    length_penalty: Annotated[
        str | None,
        text("Above 0, beam search favours long texts; 1.", "X", "Decoding of texts"),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Make texts, pictures or sounds of a dataset.

    What was ended at any moment goes on where it was with the same command.
    """
    from omniflow.generation.find_models import outputs_of
    from omniflow.tasks import Task

    if (checkpoint is None) == (backbone is None):
        raise _unclear_model(checkpoint)
    given: dict[str, Any] = dict(context.params)
    asked_task = Task.parse(task, where="--task")
    numbers = {name: given[name] for name in GenerationOptions.__dataclass_fields__}
    options = checked_flags(GenerationOptions, numbers, owner="generate")
    check_decoding(options, asked_task)
    place = check_place(output, asked_task)
    components, extra = split_settings(setting or [])
    sampling = sampling_settings(asked_task, {"guidance": guidance or None}, extra)
    count = process_count(num_processes)
    asked = Asked(asked_task, split, options, sampling)
    found = models_said(checkpoint, backbone, components, dataset or [])
    places = outputs_of(place, [Path(model.name) for model in found])

    from omniflow.training.processes import Processes, is_one_of_many

    if count > 1 and not is_one_of_many():
        return launched(context.obj, count, advice=GOING_ON)
    with naming_flags({"training.device": "--device"}):
        processes = Processes.join(options.device)
    told = said_flags({name: given[name] for name in ("guidance", *numbers)})
    with naming_settings(told):
        summaries = [
            _generated(model, asked, output, processes)
            for model, output in zip(found, places, strict=True)
        ]
    processes.leave()
    if processes.is_main:
        _tell_all(summaries, is_blind=_is_blind(asked), as_json=as_json)
    return OK


def _unclear_model(checkpoint: str | None) -> UsageError:
    if checkpoint is None:
        return UsageError(
            "missing option '--checkpoint'",
            where="omniflow generate",
            expected="--checkpoint RUN, or --backbone NAME for a model that nobody has trained",
            notes=["see: omniflow generate --help"],
        )
    return UsageError(
        "the backbone is settled by the checkpoint",
        where="--backbone",
        expected="either a checkpoint or a backbone",
    )


def _generated(said: ModelSaid, asked: Asked, output: Path, processes: Processes) -> dict[str, Any]:
    """Open the data, then the model, then generate: what can be refused is refused early."""
    from omniflow.training.device import choose_device

    started = time.perf_counter()
    records = open_datasets(said.datasets, asked.split, asked.task)
    with naming_flags({"training.device": "--device"}):
        local_rank = processes.local_rank if processes.count > 1 else None
        device = choose_device(asked.options.device, local_rank)
    made = _written(said, said.read(device), records, asked, output, processes)
    return {
        "output": str(made.path),
        "model": said.name,
        "task": str(asked.task),
        "split": asked.split,
        "records": len(made.records),
        "skipped": len(made.skipped),
        "resumed": made.resumed,
        "seconds": round(time.perf_counter() - started, 3),
        "_made": made,
    }


def _written(
    said: ModelSaid,
    model: OmniFlowModel,
    records: Dataset,
    asked: Asked,
    output: Path,
    processes: Processes,
) -> GeneratedFile:
    from omniflow.generation.generate_file import generate_file, output_file
    from omniflow.generation.partial import partial_path
    from omniflow.generation.plan import plan_generation
    from omniflow.hub.origins import data_name
    from omniflow.training.processes import absence_told
    from omniflow.version import __version__
    from omniflow_cli.progress import counting

    options = asked.options
    plan = plan_generation(
        model.backbone,
        asked.task,
        noise_level=options.noise_level,
        steps=options.steps,
        seed=options.seed,
        max_length=said.max_length,
        decoding=options.decoding(),
        settings=asked.sampling,
    )
    data = identity_of(said.datasets, asked.split)
    work = {
        "version": __version__,
        "model": said.identity() | {"backbone_identity": dict(model.backbone.identity())},
        "data": data,
        **plan.to_dict(),
    }
    about = {
        "model": said.name,
        "task": str(asked.task),
        "dataset": data_name(choice.to_dict() for choice in said.datasets),
        "split": asked.split,
    }
    try:
        lost = absence_told(lambda: "while generating", lambda: GOING_ON, "the others have ended")
        with lost, counting("generating") as progress:
            return generate_file(
                model,
                records,
                plan,
                output,
                about=about,
                work=work,
                batch_size=options.batch_size,
                limit=options.limit,
                processes=processes,
                progress=progress,
            )
    except KeyboardInterrupt:
        if processes.is_main:
            target = output_file(output, plan)
            render.note(f"note: {GOING_ON} ({partial_path(target)})")
        raise


def _is_blind(asked: Asked) -> bool:
    """Whether nothing that a prediction is compared with reaches the model."""
    return asked.task.given == asked.task.made == ("text",) and asked.options.noise_level == 1


def _tell_all(summaries: Sequence[dict[str, Any]], *, is_blind: bool, as_json: bool) -> None:
    made = [summary.pop("_made") for summary in summaries]
    for one in made:
        for left_out in one.skipped[:SKIPPED_SHOWN]:
            render.note(f"skipped: record {left_out['id']}: {left_out['reason']}")
        if len(one.skipped) > SKIPPED_SHOWN:
            render.note(f"skipped: {len(one.skipped)} records, listed in {one.path}")
    if as_json:
        render.as_json(summaries[0] if len(summaries) == 1 else {"outputs": summaries})
        return
    for summary, one in zip(summaries, made, strict=True):
        _show(summary, one.records, is_blind=is_blind)


def _show(
    summary: Mapping[str, Any], records: Sequence[Mapping[str, Any]], *, is_blind: bool
) -> None:
    is_text = "prediction" in records[0] and not {"image", "audio"} & records[0].keys()
    if render.is_terminal() and is_text:
        render.table(
            ("reference", "prediction"),
            [(record["references"][0], record["prediction"]) for record in records[:3]],
        )
    before = f", {summary['resumed']} of them before" if summary["resumed"] else ""
    what = "predictions" if is_text else summary["task"]
    render.line(
        f"{summary['records']} {what} by {summary['model']} in {summary['seconds']:.1f} s{before}: "
        f"{summary['output']}"
    )
    if is_text and is_blind:
        render.line("next: read them; made of noise alone, they have no reference to be scored by")
    elif is_text:
        render.line(f"next: omniflow evaluate {summary['output']}")
