"""The flags of `omniflow sample`, read and checked before any weight is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omniflow.errors import ConfigError, MistakesError, UnknownNameError, UsageError
from omniflow_cli.flags import flag_of, key_and_value

if TYPE_CHECKING:
    from omniflow.tasks import Task

#: The flag that brings each modality.
INPUTS = {"text": "--prompt", "image": "--image", "audio": "--audio"}
_EXAMPLES = {"text": "--prompt TEXT", "image": "--image FILE", "audio": "--audio FILE"}

#: Section of `--set` for what has no flag of its own.
SECTION = "sampling"


#: All samples are kept until they are written.
MOST_SAMPLES = 100_000


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """What is no setting of the sampler; see the help of the flags."""

    count: int = 1
    seed: int = 0
    batch_size: int = 8
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("count", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), expected="a whole number >= 1")
        if self.count > MOST_SAMPLES:
            raise ConfigError("count", self.count, expected=f"a whole number <= {MOST_SAMPLES}")
        if not 0 <= self.seed < 2**63:
            raise ConfigError("seed", self.seed, expected="a whole number in [0, 2**63)")


def check_inputs(task: Task, given: Mapping[str, str | None]) -> None:
    """Refuse inputs that a task lacks or has no use for.

    Args:
        task: What is given and what is made.
        given: What was said by modality, None for nothing.

    Raises:
        UsageError: If there are any; all of them together.
    """
    mistakes = [
        UsageError(
            f"task {task} needs {name}, and none is given",
            where=INPUTS[name],
            expected=_EXAMPLES[name],
        )
        for name in task.given
        if given[name] is None
    ]
    mistakes += [
        UsageError(
            f"task {task} has no use for {name}",
            where=INPUTS[name],
            expected=f"a task that is given {name}, or no {INPUTS[name]}",
        )
        for name, value in given.items()
        if name not in task.given and value is not None
    ]
    _refuse(mistakes)


def split_settings(settings: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """`--set` taken apart: options of the backbone by their full name, and sampling settings.

    Raises:
        UsageError: If one is neither.
    """
    backbone: dict[str, str] = {}
    sampling: dict[str, str] = {}
    for setting in settings:
        key, value = key_and_value(setting)
        section, _, name = key.partition(".")
        if section == "backbone":
            backbone[key] = value
        elif section == SECTION and name:
            sampling[name] = value
        else:
            raise UsageError(
                f"{key!r} is neither an option of the backbone nor a setting of the sampler",
                where="--set",
                expected="backbone.NAME=VALUE or sampling.NAME=VALUE",
            )
    return backbone, sampling


def sampling_settings(
    task: Task, flags: Mapping[str, Any], extra: Mapping[str, str]
) -> dict[str, Any]:
    """The settings that were said, as `OmniFlowModel.generate` takes them.

    Args:
        task: What is given and what is made.
        flags: Values of flags by setting, None for a flag that was not given.
        extra: What `--set sampling.NAME=VALUE` said; it is laid over the flags.

    Raises:
        UsageError: If a name is unknown or a value does not fit; it names the flag.
    """
    from omniflow.options import check_options, signature_options
    from omniflow.sampling.settings import SamplingSettings, resolve_settings

    where = {name: flag_of(name) for name, value in flags.items() if value is not None}
    said: dict[str, Any] = {name: flags[name] for name in where}
    if said.get("guidance") is not None:
        said["guidance"] = _guidance(said["guidance"])
    said |= extra
    where |= dict.fromkeys(extra, "--set")
    options = signature_options(SamplingSettings)
    known = [option.name for option in options]
    for name in said:
        if name not in known:
            raise UnknownNameError("sampling setting", name, known, where=where[name])
    fitted, mistakes = check_options(options, said, owner="sampling", where=where.get)
    _refuse(mistakes)
    settings = {name: fitted[name] for name in said}
    with naming_settings(where):
        resolve_settings(task, {}, settings)
    return settings


@contextmanager
def naming_settings(where: Mapping[str, str]) -> Iterator[None]:
    """While entered, a setting that is refused (`steps`, `guidance.text`) is told with its flag."""
    try:
        yield
    except ConfigError as error:
        error.where = error.where or where.get(error.name.partition(".")[0])
        raise


def _guidance(values: Sequence[str]) -> str | dict[str, str]:
    """One number, or weights of given modalities.

    Raises:
        UsageError: If it is neither, or a modality is named twice.
    """
    if len(values) == 1 and "=" not in values[0]:
        return values[0]
    weights: dict[str, str] = {}
    for value in values:
        name, equals, weight = value.partition("=")
        if not equals or name in weights:
            raise UsageError(
                f"guidance is said as {', '.join(values)}",
                where="--guidance",
                expected="one number, or modality=number once for each given modality",
            )
        weights[name.strip()] = weight.strip()
    return weights


def _refuse(mistakes: Sequence[UsageError]) -> None:
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else MistakesError(mistakes)
