"""A batch of records: latents, then texts, pictures and sounds, and how likely the truth was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from omniflow.errors import OmniFlowError
from omniflow.generation.rate import rate_texts
from omniflow.generation.slots import in_slots, slots_of
from omniflow.interfaces import Audio, Sample, TokenScores
from omniflow.sampling.noise import SeededNoise
from omniflow.sampling.sampler import sample_latents
from omniflow.seeds import mixed_seed

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.generation.plan import GenerationPlan
    from omniflow.model import OmniFlowModel


#: Keeps the draws of tokens apart from those of noise.
_TOKENS = 1


@dataclass(frozen=True)
class Made:
    """What was made of one record; what the task does not make is None.

    Args:
        sample: The record.
        text: A text.
        image: A picture.
        audio: A sound.
        tokens: How the text decoder rates the record's own text.
    """

    sample: Sample
    text: str | None = None
    image: Image | None = None
    audio: Audio | None = None
    tokens: TokenScores | None = None


@dataclass(frozen=True)
class _Row:
    """What is made in a computation of fixed shape."""

    text_latents: Tensor | None
    image: Image | None
    audio: Audio | None


@torch.no_grad()
def make_batch(
    model: OmniFlowModel, plan: GenerationPlan, samples: Mapping[int, Sample]
) -> dict[int, Made]:
    """What the model makes of some records.

    What becomes of a record depends on the record, its number, the model and the plan. On the CPU
    not even the last digit depends on the others; on other devices sizes of batches may show in it.

    Args:
        model: The model, in evaluation mode.
        plan: What is made, and how.
        samples: Records by their number in the dataset, with all that the plan needs of them.

    Raises:
        OmniFlowError: If what is made is not finite.
    """
    numbers, listed = list(samples), list(samples.values())
    slots = slots_of(model.device.type)

    def compute(positions: Sequence[int]) -> list[_Row]:
        return _rows(
            model,
            plan,
            [listed[position] for position in positions],
            [mixed_seed(plan.seed, numbers[position]) for position in positions],
        )

    rows = in_slots(numbers, compute, slots=slots)
    texts: Sequence[str | None] = [None] * len(rows)
    scores: Sequence[TokenScores | None] = [None] * len(rows)
    if "text" in plan.task.made:
        latents = torch.stack([cast(Tensor, row.text_latents) for row in rows])
        seeds = [mixed_seed(mixed_seed(plan.seed, number), _TOKENS) for number in numbers]
        texts = model.backbone.decode_text(latents, plan.decoding, seeds=seeds)
        scores = rate_texts(model.backbone, latents, samples, plan.max_length, slots=slots)
    return {
        number: Made(sample, text, row.image, row.audio, rated)
        for number, sample, text, row, rated in zip(
            numbers, listed, texts, rows, scores, strict=True
        )
    }


def _rows(
    model: OmniFlowModel, plan: GenerationPlan, samples: Sequence[Sample], seeds: Sequence[int]
) -> list[_Row]:
    noise = SeededNoise(seeds, model.device)
    latents = sample_latents(model, plan.task, samples, plan.settings, noise)
    for name, values in latents.items():
        if not values.isfinite().all():
            raise OmniFlowError(
                f"the latents of {name} are not finite numbers",
                where=f"records {samples[0].id} to {samples[-1].id}",
                notes=["guidance may be too high, or the weights of the model damaged"],
            )
    backbone, nothing = model.backbone, [None] * len(samples)
    images = backbone.decode_image(latents["image"]) if "image" in latents else nothing
    sounds = backbone.decode_audio(latents["audio"]) if "audio" in latents else nothing
    texts = latents.get("text", nothing)
    return [_Row(*row) for row in zip(texts, images, sounds, strict=True)]
