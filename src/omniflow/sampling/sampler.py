"""The sampler: conditions, rows, and steps from noise to data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniflow.interfaces import Sample
from omniflow.models.flow_scheduler import add_noise, sigmas_from
from omniflow.sampling.conditions import encode_latents
from omniflow.sampling.noise import NoiseSource
from omniflow.sampling.plan import guided_model
from omniflow.sampling.rows import size_of
from omniflow.sampling.settings import SamplingSettings
from omniflow.sampling.solvers import SOLVERS, State
from omniflow.tasks import Task

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


@dataclass(frozen=True)
class Step:
    """What stands after one step.

    Args:
        index: Number of the step, from 0.
        latents: Latents of every made modality [batch, ...].
    """

    index: int
    latents: State


@torch.no_grad()
def sample_latents(
    model: OmniFlowModel,
    task: Task,
    samples: Sequence[Sample],
    settings: SamplingSettings,
    noise: NoiseSource,
    *,
    negatives: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    on_step: Callable[[Step], None] | None = None,
) -> dict[str, Tensor]:
    """Make the modalities of a task for a batch of samples.

    Every sample is on its own: its result does not depend on the others in the batch.

    Args:
        model: The model, in evaluation mode.
        task: What is given and what is made; a modality may be both.
        samples: What is given, one record a sample.
        settings: See `SamplingSettings` and `resolve_settings`.
        noise: Where random draws come from.
        negatives: Negative prompts, one a sample, for guidance mode `old`; empty ones when None.
        progress: Called with (steps done, steps) after every step.
        on_step: Sees the latents after every step.

    Returns:
        Clean latents of every made modality [batch, ...], float32.
    """
    state = {
        name: _first_state(model, name, name in task.given, samples, settings, noise)
        for name in task.made
    }
    guided = guided_model(model, task, samples, settings, noise, negatives)
    if settings.offload:
        model.backbone.offload_encoders()
    levels = {name: settings.noise_level if name in task.given else 1.0 for name in task.made}
    if levels == {"text": 0.0}:
        return dict(guided.predict(state, levels))
    sigmas = {
        name: sigmas_from(level, settings.steps, settings.shift).tolist()
        for name, level in levels.items()
    }
    states = SOLVERS[settings.solver](guided.velocity, state, sigmas)
    latents: State = state
    for index, latents in enumerate(states):
        if on_step is not None:
            on_step(Step(index, latents))
        if progress is not None:
            progress(index + 1, settings.steps)
    return dict(latents)


def _first_state(
    model: OmniFlowModel,
    name: str,
    is_given: bool,
    samples: Sequence[Sample],
    settings: SamplingSettings,
    noise: NoiseSource,
) -> Tensor:
    """Pure noise, or for a modality that is given as well, its latents at the noise level."""
    backbone = model.backbone
    if not is_given:
        return noise.draw(name, backbone.latent_shape(name, **size_of(name, settings)))
    clean = encode_latents(backbone, samples, name, settings, noise).float()
    return add_noise(clean, noise.draw(name, clean.shape[1:]), settings.noise_level)
