"""From a request to texts, pictures and sounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from omniflow.errors import OmniFlowError, UsageError
from omniflow.sampling.noise import NoiseSource, SeededNoise
from omniflow.sampling.requests import (
    check_modalities,
    read_negatives,
    read_samples,
    read_seeds,
)
from omniflow.sampling.sampler import Step, sample_latents
from omniflow.sampling.settings import resolve_settings
from omniflow.tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.interfaces import Audio
    from omniflow.model import OmniFlowModel


@dataclass(frozen=True)
class Generated:
    """What was made, one entry a sample; a modality that was not made has none.

    Args:
        texts: Texts.
        images: RGB pictures of Pillow.
        sounds: Sounds of one channel.
        latents: Clean latents of every made modality [batch, ...].
    """

    texts: list[str]
    images: list[Image]
    sounds: list[Audio]
    latents: Mapping[str, Tensor]


def generate(
    model: OmniFlowModel,
    task: Task,
    values: Mapping[str, Any],
    *,
    negative_prompt: str | Sequence[str] | None,
    seed: int,
    seeds: Sequence[int] | None,
    count: int | None,
    progress: Callable[[int, int], None] | None,
    on_step: Callable[[Step], None] | None,
    noise: NoiseSource | None,
    decode: bool,
    settings: Mapping[str, Any],
) -> Generated:
    """Serve `OmniFlowModel.generate`; its arguments, with the inputs by modality in `values`."""
    backbone = model.backbone
    check_modalities(task, backbone)
    resolved = resolve_settings(task, backbone.sampling_defaults, settings)
    for name in task.made:
        if name not in task.given and name == "image":
            # Refused before anything is encoded.
            backbone.latent_shape(name, height=resolved.height, width=resolved.width)
    if "image" not in task.made and (resolved.height or resolved.width):
        raise UsageError(
            f"task {task} makes no picture", where="height and width", expected="neither of them"
        )
    samples = read_samples(task, values, count=count, seeds=seeds)
    negatives, resolved = read_negatives(
        task, negative_prompt, len(samples), resolved, guidance_mode=settings.get("guidance_mode")
    )
    if decode:
        backbone.prepare_decoders(task.made)
    source = noise or SeededNoise(read_seeds(seed, seeds, len(samples)), model.device)
    latents = sample_latents(
        model,
        task,
        samples,
        resolved,
        source,
        negatives=negatives,
        progress=progress,
        on_step=on_step,
    )
    _require_finite(latents)
    return _decoded(model, latents, resolved.max_new_tokens if decode else None)


def _require_finite(latents: Mapping[str, Tensor]) -> None:
    """Refuse to decode what is no picture, sound or text any more.

    Raises:
        OmniFlowError: If there are numbers that are not finite.
    """
    for name, values in latents.items():
        if not values.isfinite().all():
            raise OmniFlowError(
                f"the latents of {name} are not finite numbers",
                where="generate",
                notes=["guidance may be too high, or the weights of the model damaged"],
            )


def _decoded(
    model: OmniFlowModel, latents: Mapping[str, Tensor], max_new_tokens: int | None
) -> Generated:
    """Texts, pictures and sounds of latents; latents alone without `max_new_tokens`."""
    if max_new_tokens is None:
        return Generated([], [], [], latents)
    backbone = model.backbone
    texts = (
        backbone.generate_text(latents["text"], max_new_tokens=max_new_tokens)
        if "text" in latents
        else []
    )
    images = backbone.decode_image(latents["image"]) if "image" in latents else []
    sounds = backbone.decode_audio(latents["audio"]) if "audio" in latents else []
    return Generated(texts, images, sounds, latents)
