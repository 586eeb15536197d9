"""The flags of `omniflow generate`, read and checked before any weight is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import ConfigError, UsageError
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow_cli.flags import check_writable, flag_of, key_and_value, naming_flags

if TYPE_CHECKING:
    from omniflow.tasks import Task

#: Where results go unless said otherwise.
PREDICTIONS, MEDIA = "predictions.json", "generated"


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """Numbers of a generation; see the help of the flags."""

    batch_size: int = 32
    limit: int | None = None
    noise_level: float = 0.0
    steps: int | None = None
    seed: int = 0
    max_new_tokens: int = 223
    temperature: float | None = None
    top_k: int = 0
    top_p: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0
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

    def decoding(self) -> TextDecoding:
        """How texts are decoded: --top-k or --top-p alone mean draws at temperature 1.

        Raises:
            ConfigError: If the settings do not go together; it names a flag.
        """
        values = {field.name: getattr(self, field.name) for field in fields(TextDecoding)}
        if self.temperature is None:
            draws = self.top_k != 0 or self.top_p != 1.0
            values["temperature"] = 1.0 if draws else 0.0
        with naming_flags({name: flag_of(name) for name in values}):
            return TextDecoding(**values)


def check_decoding(options: GenerationOptions, task: Task) -> None:
    """Refuse settings of the text decoder that mean nothing, alone or for a task.

    Raises:
        UsageError: If there are any.
    """
    decoding = options.decoding()
    if "text" not in task.made and not decoding.is_greedy:
        raise UsageError(
            f"task {task} makes no text, and nothing is decoded",
            where=flag_of("num_beams" if decoding.num_beams > 1 else "temperature"),
            expected="no setting of the text decoder",
        )


def split_settings(settings: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """`--set` taken apart: options of the dataset and of a backbone by their full name, and
    settings of the sampler.

    Raises:
        UsageError: If one is none of them.
    """
    components: dict[str, str] = {}
    sampling: dict[str, str] = {}
    for setting in settings:
        key, value = key_and_value(setting)
        section, _, name = key.partition(".")
        if section == "sampling" and name:
            sampling[name] = value
        elif section in ("dataset", "backbone"):
            components[key] = value
        else:
            raise UsageError(
                f"{key} is settled by the checkpoint",
                where="--set",
                expected="an option of the dataset or a setting of the sampler, such as "
                "dataset.path=FILE or sampling.solver=heun",
            )
    return components, sampling


def check_place(output: str | None, task: Task) -> Path:
    """Where the results go, if they can go there.

    Raises:
        UsageError: If they cannot.
    """
    from omniflow.generation.media import MANIFEST, check_media_folder, makes_media

    if not makes_media(task):
        place = Path(output or PREDICTIONS).expanduser()
        check_writable(place, flag="--output")
        return place
    place = Path(output or MEDIA).expanduser()
    check_media_folder(place, where="--output")
    check_writable(place / MANIFEST, flag="--output")
    return place


def said_flags(values: Mapping[str, object]) -> dict[str, str]:
    """The flags that were given, by the name of their setting."""
    return {name: flag_of(name) for name, value in values.items() if value is not None}
