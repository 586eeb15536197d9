"""Every choice of a sampling run, and where its value comes from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omniflow.errors import ConfigError, UnknownNameError, closest
from omniflow.models.flow_scheduler import SAMPLING_SHIFT
from omniflow.tasks import LETTERS, Task

#: Guidance that the authors use; i2a and the tasks of several inputs or outputs are our guess.
AUTHORS_GUIDANCE = {"t2i": 7.0, "a2i": 7.0, "t2a": 4.0, "a2t": 4.0, "i2t": 2.0}
OTHER_GUIDANCE = 4.0

_CHOICES = {
    "guidance_mode": ("new", "old"),
    "solver": ("euler", "heun", "ab2"),
    "absent": ("noise", "drop"),
    "absent_text": ("noise", "empty"),
    "pooled_from": (None, *LETTERS.values()),
}
#: Least and most of whole numbers; what is beyond takes more memory or time than there is.
_WHOLE = {"steps": (1, 100_000), "t5_tokens": (0, 4096), "max_new_tokens": (1, 100_000)}
_SIZES = ("height", "width")
_FLAGS = ("standardise", "drop_pool", "split_cond", "sample_posterior", "offload")


@dataclass(frozen=True)
class SamplingSettings:
    """How samples are made.

    Args:
        steps: Steps from noise to data.
        guidance: A number is classifier-free guidance, all inputs against none; 1 switches it off
            and costs no second row. A mapping from given modalities to weights is the paper's rule
            for several inputs: each counts on its own, and those left out weigh 1.
        guidance_mode: What the rows that do not see an input get for it. `new`: noise at timestep
            1000 (or no stream, see `absent`) and a zero pooled condition, as training had it.
            `old`: an encoded nothing at timestep 0: the negative prompt, a grey picture, silence.
        solver: `euler`, or of second order `heun` (two evaluations a step) or `ab2`
            (Adams-Bashforth, one evaluation a step).
        shift: Moves the steps towards noise, see `sigmas_from`.
        height: Height of made pictures in pixels; the backbone's own when None.
        width: Width of made pictures, likewise.
        absent: An absent modality is a stream of noise at timestep 1000 (`noise`, as in the paper)
            or no stream at all (`drop`, cheaper).
        noise_level: Level in [0, 1] that a modality which is both given and made starts from.
            Text alone may be at 0: it is clean, and one prediction is made.
        clip_tokens: Whether given text is [CLIP; VAE] rows or VAE rows alone. None: with CLIP when
            some modality is absent; training never showed CLIP rows beside two other modalities.
        standardise: Bring every CLIP (and T5) token to mean 0 and deviation 1, as in training.
        t5_tokens: Length of a T5 sequence that follows the CLIP rows; 0 for none. As in the
            original, CLIP rows wider than T5's are cut to its width.
        drop_pool: Zero pooled condition in all rows.
        pooled_from: The given modality that fills the pooled slot; the first given of text, image,
            audio when None.
        split_cond: Condition each stream on its own timestep only.
        sample_posterior: Encode given pictures and sounds to a sample of the posterior, as the
            original does, instead of its mean.
        absent_text: What an absent text stream holds with `absent: noise`: noise, or `empty`, the
            clean latents of the empty text at timestep 1000, as the original has it.
        max_new_tokens: Longest text in tokens.
        offload: Move the encoders to the CPU once everything is encoded.

    Raises:
        ConfigError: If a value is out of its range.
    """

    steps: int = 28
    guidance: float | Mapping[str, float] = 1.0
    guidance_mode: str = "new"
    solver: str = "euler"
    shift: float = SAMPLING_SHIFT
    height: int | None = None
    width: int | None = None
    absent: str = "noise"
    noise_level: float = 1.0
    clip_tokens: bool | None = None
    standardise: bool = True
    t5_tokens: int = 0
    drop_pool: bool = False
    pooled_from: str | None = None
    split_cond: bool = False
    sample_posterior: bool = False
    absent_text: str = "noise"
    max_new_tokens: int = 223
    offload: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            self._check_choice(name, choices)
        for name, (least, most) in _WHOLE.items():
            self._check_whole(name, least, most)
        for name in _SIZES:
            if getattr(self, name) is not None:
                self._check_whole(name, 1)
        for name in _FLAGS:
            self._check_choice(name, (True, False))
        self._check_choice("clip_tokens", (True, False, None))
        if not _is_number(self.shift) or not 0 < self.shift < math.inf:
            raise ConfigError("shift", self.shift, expected="a number above 0")
        if not _is_number(self.noise_level) or not 0.0 <= self.noise_level <= 1.0:
            raise ConfigError("noise_level", self.noise_level, expected="a number in [0, 1]")
        self._check_guidance()

    def _check_choice(self, name: str, choices: tuple[object, ...]) -> None:
        value = getattr(self, name)
        if not any(value is choice or value == choice for choice in choices):
            words = [str(choice) for choice in choices if choice is not None]
            raise ConfigError(
                name, value, expected=" or ".join(words), nearest=closest(str(value), words)
            )

    def _check_whole(self, name: str, least: int, most: int | None = None) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(name, value, expected=f"a whole number >= {least}")
        if most is not None and value > most:
            raise ConfigError(name, value, expected=f"a whole number <= {most}")

    def _check_guidance(self) -> None:
        guidance = self.guidance
        named = guidance if isinstance(guidance, Mapping) else {"": guidance}
        for name, weight in named.items():
            if not _is_number(weight) or not math.isfinite(weight):
                raise ConfigError(
                    f"guidance.{name}" if name else "guidance", weight, expected="a number"
                )


def resolve_settings(
    task: Task, defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> SamplingSettings:
    """Settings of one run: what is given, else the backbone's for the task, else for all tasks.

    A value of None counts as not given.

    Args:
        task: What is given and what is made.
        defaults: `sampling_defaults` of a backbone.
        given: Settings by name.

    Raises:
        UnknownNameError: If a name is not a setting.
        ConfigError: If a value is out of its range or means nothing for the task.
    """
    known = [field.name for field in dataclasses.fields(SamplingSettings)]
    for name in given:
        if name not in known:
            raise UnknownNameError("sampling setting", name, known)
    own = {"guidance": AUTHORS_GUIDANCE.get(str(task), OTHER_GUIDANCE)}
    if set(task.given) & set(task.made):
        # Heads learn to denoise a text from its own stream, without stand-ins for the others.
        own["absent"] = "drop"  # type: ignore[assignment]
    common = {name: value for name, value in defaults.items() if name != "tasks"}
    special = defaults.get("tasks", {}).get(str(task), {})
    said = {name: value for name, value in given.items() if value is not None}
    inputs = [name for name in task.given if name not in task.made]
    if not inputs:
        if said.get("guidance", 1) not in (1, {}):
            raise ConfigError(
                "guidance", said["guidance"], expected=f"1: {task} has no input to be guided by"
            )
        said["guidance"] = 1.0
    settings = SamplingSettings(**{**own, **common, **special, **said})
    _check_inputs(task, inputs, settings)
    return settings


def _check_inputs(task: Task, inputs: list[str], settings: SamplingSettings) -> None:
    """Refuse settings that name a modality which the task does not give."""
    expected = f"given by {task}: {', '.join(inputs) or 'nothing is'}"
    if isinstance(settings.guidance, Mapping):
        for name, weight in settings.guidance.items():
            if name not in inputs:
                raise ConfigError(
                    f"guidance.{name}", weight, expected=expected, nearest=closest(name, inputs)
                )
    varied = set(task.given) & set(task.made)
    if settings.noise_level == 0.0 and varied and task.made != ("text",):
        raise ConfigError("noise_level", 0.0, expected="above 0: only text can start clean")
    if settings.pooled_from is not None and settings.pooled_from not in inputs:
        raise ConfigError("pooled_from", settings.pooled_from, expected=expected)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
