"""`omniflow sample`: texts, pictures and sounds from any of them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniflow.errors import UsageError
from omniflow_cli import render
from omniflow_cli.flags import (
    AsJson,
    Verbose,
    check_writable,
    checked_flags,
    flag_of,
    naming_flags,
    text,
)
from omniflow_cli.models_said import assembled, backbone_recipe, loaded, places_of
from omniflow_cli.sample_options import (
    SampleOptions,
    check_inputs,
    naming_settings,
    sampling_settings,
    split_settings,
)

if TYPE_CHECKING:
    from omniflow.interfaces import Sample
    from omniflow.model import OmniFlowModel
    from omniflow.sampling.generate import Generated
    from omniflow.tasks import Task

BACKBONE = "tiny"


def sample(
    task: Annotated[
        str,
        typer.Option(
            help="Given letters, 2, made letters: t text, i image, a audio.", metavar="TASK"
        ),
    ] = "t2i",
    prompt: Annotated[str | None, text("Given text.", "TEXT", "Inputs")] = None,
    image: Annotated[str | None, text("Given picture.", "FILE", "Inputs")] = None,
    audio: Annotated[str | None, text("Given sound.", "FILE", "Inputs")] = None,
    negative_prompt: Annotated[
        str | None,
        text("What guidance leads away from; takes guidance mode old.", "TEXT", "Inputs"),
    ] = None,
    output: Annotated[
        str | None,
        text(
            ".png, .wav or .txt, .html for anything, or a folder: a name without a suffix. Several "
            "pictures become one grid, several sounds or texts get numbers. Texts alone are "
            "printed when it is left out.",
            "FILE|FOLDER",
        ),
    ] = None,
    backbone: Annotated[
        str | None, text("Backbone by name, folder or Hub id; tiny.", "NAME", "Model")
    ] = None,
    checkpoint: Annotated[
        str | None,
        text(
            "A run, a folder with a saved model, or a Hub id, instead.",
            "RUN|FOLDER|HUB_ID",
            "Model",
        ),
    ] = None,
    device: Annotated[
        str | None, text("auto, cpu, cuda, cuda:1 or mps; auto.", "NAME", "Model")
    ] = None,
    count: Annotated[str | None, text("Samples to make; 1.", "N", "Sampling")] = None,
    seed: Annotated[
        str | None, text("Seed of the first sample, each next one higher; 0.", "N", "Sampling")
    ] = None,
    batch_size: Annotated[
        str | None, text("Samples at a time, which changes no result; 8.", "N", "Sampling")
    ] = None,
    steps: Annotated[str | None, text("Steps from noise to data; 28.", "N", "Sampling")] = None,
    guidance: Annotated[
        list[str] | None,
        text(
            "A number, or a weight for each given modality, repeatable: text=7. By default what "
            "the backbone suggests for the task; 1 is none and costs half.",
            "X|MODALITY=X",
            "Sampling",
        ),
    ] = None,
    guidance_mode: Annotated[
        str | None,
        text("What guidance compares with: new noise, old an encoded nothing.", "MODE", "Sampling"),
    ] = None,
    solver: Annotated[str | None, text("euler, heun or ab2; euler.", "NAME", "Sampling")] = None,
    absent: Annotated[
        str | None,
        text("A modality that has no part: noise, or drop (no stream).", "WAY", "Sampling"),
    ] = None,
    height: Annotated[str | None, text("Height of pictures in pixels.", "N", "Sampling")] = None,
    width: Annotated[str | None, text("Width of pictures in pixels.", "N", "Sampling")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Option of the backbone, or another setting of the sampler, repeatable: "
            "backbone.path=FOLDER, sampling.shift=1.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make texts, pictures or sounds from any of them."""
    from omniflow.tasks import Task

    # Shells leave the ~ of --output=~/o.png alone.
    output = None if output is None else os.path.expanduser(output)
    asked = Task.parse(task, where="--task")
    given = {"text": prompt, "image": image, "audio": audio}
    numbers = {"count": count, "seed": seed, "batch_size": batch_size, "device": device}
    flags = {
        "steps": steps,
        "guidance": guidance or None,
        "guidance_mode": guidance_mode,
        "solver": solver,
        "absent": absent,
        "height": height,
        "width": width,
    }
    check_inputs(asked, given)
    options = checked_flags(SampleOptions, numbers, owner="sample")
    backbone_settings, extra = split_settings(setting or [])
    _check_output(output, asked, options.count)
    settings = sampling_settings(asked, flags, extra)
    inputs = _read_inputs(given)
    started = time.perf_counter()
    model, name = _model(backbone, checkpoint, backbone_settings, options.device)
    told = {name: flag_of(name) for name in ("height", "width", "guidance", "negative_prompt")}
    with naming_settings(told):
        made = _sampled(model, asked, inputs, negative_prompt, options, settings)
    files = _written(output, asked, made, inputs, options)
    summary = {
        "task": str(asked),
        "model": name,
        "count": options.count,
        "seed": options.seed,
        "output": [str(file) for file in files],
        "texts": made.texts,
        "seconds": round(time.perf_counter() - started, 3),
    }
    if as_json:
        render.as_json(summary)
    else:
        _show(summary)


def _check_output(output: str | None, task: Task, count: int) -> None:
    """Refuse a place that does not fit, before anything is made."""
    from omniflow.generation.outputs import check_output, output_files

    if output is not None:
        check_output(output, task, where="--output")
        for file in output_files(output, task, count):
            check_writable(file, flag="--output")
    elif task.made != ("text",):
        raise UsageError(
            f"task {task} makes {' and '.join(task.made)}, which cannot be printed",
            where="--output",
            expected="a file or folder to write",
        )


def _read_inputs(given: Mapping[str, str | None]) -> Sample:
    from omniflow.interfaces import Sample
    from omniflow.media.audio import read_audio
    from omniflow.media.image import read_image

    picture, sound = given["image"], given["audio"]
    return Sample(
        id="given",
        text=given["text"],
        image=None if picture is None else read_image(picture),
        audio=None if sound is None else read_audio(sound),
    )


def _model(
    backbone: str | None, checkpoint: str | None, settings: Mapping[str, str], device: str
) -> tuple[OmniFlowModel, str]:
    """A trained model, or a backbone with its own text projection; and what it is called.

    Raises:
        UsageError: If both are named, or either cannot be had.
    """
    from omniflow.generation.find_models import find_models
    from omniflow.training.device import choose_device

    if checkpoint is not None and backbone is not None:
        raise UsageError(
            "the backbone is settled by the checkpoint",
            where="--backbone",
            expected="either a checkpoint or a backbone",
        )
    with naming_flags({"training.device": "--device"}):
        place = choose_device(device)
    if checkpoint is not None:
        places = places_of(settings)
        [(name, folder), *others] = find_models(checkpoint, where="--checkpoint")
        if others:
            raise UsageError(
                f"{len(others) + 1} models fit {checkpoint}",
                where="--checkpoint",
                expected="one, such as " + name,
            )
        return loaded(folder, place, places), name
    name = backbone or BACKBONE
    return assembled(backbone_recipe(name, settings), place), name


def _sampled(
    model: OmniFlowModel,
    task: Task,
    inputs: Sample,
    negative_prompt: str | None,
    options: SampleOptions,
    settings: Mapping[str, Any],
) -> Generated:
    """All samples, some at a time; each depends on its own seed alone."""
    from omniflow.sampling.generate import Generated
    from omniflow_cli.progress import counting

    made = Generated([], [], [], {})
    seeds = range(options.seed, options.seed + options.count)
    with counting("sampling") as show:
        for start in range(0, options.count, options.batch_size):
            batch = seeds[start : start + options.batch_size]

            def progress(done: int, total: int, start: int = start, batch: range = batch) -> None:
                show(start * total + len(batch) * done, options.count * total)

            part = model.generate(
                task,
                prompt=inputs.text,
                image=inputs.image,
                audio=inputs.audio,
                negative_prompt=negative_prompt,
                seeds=list(batch),
                progress=progress,
                **settings,
            )
            made.texts.extend(part.texts)
            made.images.extend(part.images)
            made.sounds.extend(part.sounds)
    return made


def _written(
    output: str | None, task: Task, made: Generated, inputs: Sample, options: SampleOptions
) -> Sequence[Path]:
    from omniflow.generation.outputs import write_samples

    if output is None:
        return []
    labels = [f"seed {options.seed + index}" for index in range(options.count)]
    return write_samples(output, task, made, given=[inputs] if task.given else [], labels=labels)


def _show(summary: Mapping[str, Any]) -> None:
    for line in summary["texts"]:
        render.line(line)
    if summary["output"]:
        shown = summary["output"][:3]
        more = len(summary["output"]) - len(shown)
        render.line(
            f"{summary['count']} {summary['task']} by {summary['model']} in "
            f"{summary['seconds']:.1f} s: {', '.join(shown)}{f' and {more} more' if more else ''}"
        )
