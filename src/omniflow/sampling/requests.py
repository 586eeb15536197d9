"""What a person asks for, brought into the shape of a batch, or refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from omniflow.errors import ConfigError, UsageError
from omniflow.interfaces import Audio, Backbone, Sample
from omniflow.sampling.settings import SamplingSettings
from omniflow.tasks import Task

#: Name of the argument that brings each modality.
ARGUMENTS = {"text": "prompt", "image": "image", "audio": "audio"}


def check_modalities(task: Task, backbone: Backbone) -> None:
    """Refuse a task with a modality that the backbone cannot encode and decode.

    Raises:
        UsageError: If there is one.
    """
    for name in (*task.given, *task.made):
        if name not in backbone.modalities:
            raise UsageError(
                f"task {task} needs {name}, which this backbone cannot encode and decode",
                where="task",
                expected=f"tasks of {', '.join(backbone.modalities)}",
            )


def read_samples(
    task: Task, values: Mapping[str, Any], *, count: int | None, seeds: Sequence[int] | None
) -> list[Sample]:
    """One record a sample from single values or lists.

    Single values stand for every sample. Lists, of inputs or of seeds, say how many there are.

    Args:
        task: What must be there.
        values: What was given by modality, None for nothing.
        count: How many samples of single inputs; one, or as many as seeds, when None.
        seeds: Seeds of the samples.

    Raises:
        UsageError: If an input is missing, superfluous or of another type, or lengths differ.
    """
    _check_presence(task, values)
    given = {name: _listed(name, value) for name, value in values.items() if value is not None}
    many = {ARGUMENTS[name]: len(value) for name, value in given.items() if len(value) != 1}
    if seeds is not None:
        many["seeds"] = len(seeds)
    if count is not None:
        many["count"] = _checked_count(count)
    sizes = set(many.values())
    if len(sizes) > 1:
        told = ", ".join(f"{name} {size}" for name, size in many.items())
        raise UsageError(
            f"different numbers of samples: {told}",
            where="generate",
            expected="lists of one length, and single values for all of them",
        )
    batch = sizes.pop() if sizes else 1
    if batch == 0:
        raise UsageError("there is no sample to make", where="generate", expected="at least one")
    columns = {name: value * batch if len(value) == 1 else value for name, value in given.items()}
    return [
        Sample(id=str(index), **{name: column[index] for name, column in columns.items()})
        for index in range(batch)
    ]


def read_negatives(
    task: Task,
    negative_prompt: str | Sequence[str] | None,
    batch: int,
    settings: SamplingSettings,
    *,
    guidance_mode: str | None,
) -> tuple[list[str] | None, SamplingSettings]:
    """Negative prompts, and settings whose guidance heeds them.

    Args:
        task: What is given.
        negative_prompt: One for all samples, or one a sample.
        batch: Number of samples.
        settings: Settings of the run.
        guidance_mode: The mode as a person gave it; mode `old` is taken when they gave none.

    Raises:
        ConfigError: If nothing would come of them, or there are too many or too few.
        UsageError: If one is no text.
    """
    if negative_prompt is None:
        return None, settings
    negatives = _listed("text", negative_prompt, argument="negative_prompt")
    expected = None
    if "text" not in task.given or "text" in task.made:
        expected = f"none: task {task} has no use for it, unlike t2i"
    elif guidance_mode == "new":
        expected = "guidance_mode old: new compares with noise and never reads it"
    elif settings.guidance == 1.0:
        expected = "guidance above 1: at 1 nothing is compared with it"
    elif len(negatives) not in (1, batch):
        expected = f"one, or {batch}, not {len(negatives)}"
    if expected is not None:
        raise ConfigError("negative_prompt", negative_prompt, expected=expected)
    negatives = negatives * batch if len(negatives) == 1 else negatives
    return negatives, replace(settings, guidance_mode="old")


def read_seeds(seed: int, seeds: Sequence[int] | None, batch: int) -> list[int]:
    """A seed a sample: those given, else counted upwards from `seed`.

    Raises:
        ConfigError: If one is not a whole number.
    """
    listed = [seed + index for index in range(batch)] if seeds is None else list(seeds)
    for value in listed:
        if not isinstance(value, int) or isinstance(value, bool):
            raise ConfigError("seeds", value, expected="whole numbers")
    return listed


def _check_presence(task: Task, values: Mapping[str, Any]) -> None:
    for name in task.given:
        if values[name] is None:
            raise UsageError(
                f"task {task} needs {name}, and none is given",
                where=ARGUMENTS[name],
                expected=f"{ARGUMENTS[name]}=...",
            )
    for name, value in values.items():
        if name not in task.given and value is not None:
            raise UsageError(
                f"task {task} has no use for {name}",
                where=ARGUMENTS[name],
                expected=f"a task that is given {name}, or no {ARGUMENTS[name]}",
            )


def _listed(name: str, value: Any, *, argument: str | None = None) -> list[Any]:
    from PIL.Image import Image

    kind, told = {
        "text": (str, "a text"),
        "image": (Image, "a picture of Pillow"),
        "audio": (Audio, "an omniflow Audio"),
    }[name]
    listed = list(value) if isinstance(value, list | tuple) else [value]
    for item in listed:
        if not isinstance(item, kind):
            raise UsageError(
                f"it is a {type(item).__name__}",
                where=argument or ARGUMENTS[name],
                expected=f"{told}, or a list of them",
            )
        if isinstance(item, str):
            _check_text(item, argument or ARGUMENTS[name])
    return listed


def _check_text(text: str, argument: str) -> None:
    """Refuse half of a surrogate pair, as bytes that are not UTF-8 leave on a command line."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"character {error.start + 1} of the text is {text[error.start]!a}, half of a pair",
            where=argument,
            expected="a text that can be written as UTF-8",
        ) from error


def _checked_count(count: int) -> int:
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ConfigError("count", count, expected="a whole number >= 1")
    return count
