"""What is generated and how, settled and checked before the first record is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omniflow.errors import ConfigError, UsageError
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.sampling.requests import check_modalities
from omniflow.sampling.settings import SamplingSettings, resolve_settings
from omniflow.tasks import Task

if TYPE_CHECKING:
    from omniflow.interfaces import Backbone


@dataclass(frozen=True, kw_only=True)
class GenerationPlan:
    """Everything that shapes what is made of a record, beside the model and the record.

    Args:
        task: What is given and what is made.
        settings: How latents are sampled.
        decoding: How texts are decoded.
        seed: Start of what is random about every record.
        max_length: Longest reference in tokens that is scored, end included.
    """

    task: Task
    settings: SamplingSettings
    decoding: TextDecoding
    seed: int = 0
    max_length: int = 256

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "task": str(self.task),
            "seed": self.seed,
            "max_length": self.max_length,
            "sampling": dataclasses.asdict(self.settings),
            "decoding": dataclasses.asdict(self.decoding),
        }


def plan_generation(
    backbone: Backbone,
    task: Task,
    *,
    noise_level: float = 0.0,
    steps: int | None = None,
    seed: int = 0,
    max_length: int = 256,
    decoding: TextDecoding | None = None,
    settings: Mapping[str, Any] | None = None,
) -> GenerationPlan:
    """Settle what a person said.

    Args:
        backbone: The backbone, with what it suggests.
        task: What is given and what is made.
        noise_level: Where a text that is given and made starts from: 0 its clean latents, 1 pure
            noise.
        steps: Denoising steps; the backbone's own number when None. A text at level 0 takes one
            prediction.
        seed: Start of what is random about every record.
        max_length: Longest reference in tokens that is scored.
        decoding: How texts are decoded; greedily when None.
        settings: Further fields of `SamplingSettings`.

    Raises:
        UsageError: If a number is out of range, or the backbone cannot serve the task.
    """
    if not 0.0 <= noise_level <= 1.0:
        raise ConfigError("noise_level", noise_level, expected="a number in [0, 1]")
    said = dict(settings or {})
    decoding = decoding or TextDecoding(**_said_length(said))
    check_modalities(task, backbone)
    if "text" not in task.made and not decoding.is_greedy:
        raise UsageError(
            f"task {task} makes no text", where="decoding", expected="no setting of its decoding"
        )
    resolved = resolve_settings(
        task,
        backbone.sampling_defaults,
        {
            **said, "steps": steps, "noise_level": noise_level,
            "max_new_tokens": decoding.max_new_tokens,
        },
    )  # fmt: skip
    if "image" in task.made and "image" not in task.given:
        backbone.latent_shape("image", height=resolved.height, width=resolved.width)
    return GenerationPlan(
        task=task, settings=resolved, decoding=decoding, seed=seed, max_length=max_length
    )


def _said_length(settings: Mapping[str, Any]) -> dict[str, int]:
    length = settings.get("max_new_tokens")
    return {} if length is None else {"max_new_tokens": length}
