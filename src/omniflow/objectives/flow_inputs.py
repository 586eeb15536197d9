"""What the transformer reads in joint flow training: noisy streams, levels, pooled condition."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from omniflow.cache.key import SampleKeys
from omniflow.draws import Draws
from omniflow.interfaces import Sample
from omniflow.interfaces.backbone import Streams
from omniflow.models.flow_scheduler import add_noise
from omniflow.models.text_vae import normalise_states
from omniflow.objectives.flow_levels import MODALITIES, FlowPlan
from omniflow.objectives.noise_coupling import Coupling, coupled

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.interfaces import Audio
    from omniflow.interfaces.backbone import TextCondition, TokenBatch
    from omniflow.model import OmniFlowModel


def brought_by(sample: Sample) -> frozenset[str]:
    """The modalities that a sample has."""
    return frozenset(name for name in MODALITIES if getattr(sample, name) is not None)


@dataclass(frozen=True)
class FlowInputs:
    """One call of the transformer, and what it should say.

    Args:
        noisy: What goes in; None for a stream that is left out.
        clean: True latents of what is made, [batch, ...].
        noise: The noise in `noisy`, of the shape of `clean`.
        timesteps: Level times 1000 of every stream that goes in, [batch].
        pooled: Pooled condition [batch, pooled_dim].
    """

    noisy: Streams
    clean: Streams
    noise: Streams
    timesteps: Streams
    pooled: Tensor


class EncodedSamples:
    """What the frozen parts make of some samples, computed at first use.

    Args:
        model: Whose backbone and encoders are used.
        samples: Samples, of which each may lack some modality.
        tokens: Their texts as ids, one row a sample; None when no text is read.
    """

    def __init__(
        self, model: OmniFlowModel, samples: Sequence[Sample], tokens: TokenBatch | None
    ) -> None:
        self.model = model
        self.samples = samples
        self.tokens = tokens
        self._keys = SampleKeys(samples)
        self._latents: dict[str, Tensor] = {}
        self._pooled: dict[str, Tensor] = {}
        self._conditions: dict[tuple[str, ...], TextCondition] = {}

    def latents(self, modality: str, positions: Sequence[int]) -> Tensor:
        """Clean latents of one modality of the samples at `positions`, float32."""
        if modality not in self._latents:
            self._latents[modality] = self._encode(modality)
        return self._rows(self._latents[modality], modality, positions)

    def clip_states(self, positions: Sequence[int]) -> Tensor:
        """CLIP states of texts, each token brought to mean 0 and deviation 1."""
        return normalise_states(self._rows(self._states, "text", positions).float())

    def pooled(self, modality: str, positions: Sequence[int]) -> Tensor:
        """Pooled condition of one modality: an encoder's of the recipe, else the backbone's own."""
        if modality not in self._pooled:
            self._pooled[modality] = self._pool(modality)
        return self._rows(self._pooled[modality], modality, positions)

    @cached_property
    def _states(self) -> Tensor:
        return self._ask("text_states", "text", lambda having: self._condition(having).states)

    def _condition(self, samples: Sequence[Sample]) -> TextCondition:
        """States and embeddings at once: whoever asks for the second has been answered."""
        texts = tuple(cast(str, sample.text) for sample in samples)
        if texts not in self._conditions:
            self._conditions[texts] = self.model.backbone.condition_text(texts)
        return self._conditions[texts]

    def _encode(self, modality: str) -> Tensor:
        backbone = self.model.backbone
        if modality == "text":
            tokens = cast("TokenBatch", self.tokens)
            return self.model.frozen.text_latents(tokens, self._positions_with("text"))
        if modality == "image":
            return self._ask(
                "image_latents", "image", lambda having: backbone.encode_image(_images(having))
            )
        return self._ask(
            "audio_latents", "audio", lambda having: backbone.encode_audio(_sounds(having))
        )

    def _pool(self, modality: str) -> Tensor:
        adapted = self.model.pooled(self._having(modality), (modality,))
        if adapted is not None:
            return adapted
        backbone = self.model.backbone
        if modality == "text":
            return self._ask("text_pooled", "text", lambda having: self._condition(having).pooled)
        if modality == "image":
            return self._ask(
                "image_pooled", "image", lambda having: backbone.pool_image(_images(having))
            )
        return self._ask(
            "audio_pooled", "audio", lambda having: backbone.pool_audio(_sounds(having))
        )

    def _ask(
        self, work: str, modality: str, compute: Callable[[Sequence[Sample]], Tensor]
    ) -> Tensor:
        """One frozen value for every sample that has the modality."""
        having = self._positions_with(modality)
        return self.model.frozen.of_backbone(
            work,
            lambda: self._keys.of(modality, having),
            len(having),
            lambda chosen: compute([self.samples[having[i]] for i in chosen]),
        )

    def _having(self, modality: str) -> list[Sample]:
        return [self.samples[position] for position in self._positions_with(modality)]

    def _positions_with(self, modality: str) -> list[int]:
        return [i for i, sample in enumerate(self.samples) if modality in brought_by(sample)]

    def _rows(self, tensor: Tensor, modality: str, positions: Sequence[int]) -> Tensor:
        """Rows of the samples at `positions`, from a tensor with one row a sample that has it."""
        rows = {position: row for row, position in enumerate(self._positions_with(modality))}
        if len(positions) == len(rows):
            return tensor
        return tensor[torch.tensor([rows[p] for p in positions], device=tensor.device)]


def flow_inputs(
    encoded: EncodedSamples,
    positions: Sequence[int],
    plan: FlowPlan,
    draws: Draws,
    *,
    text_jitter: float = 0.0,
    text_coupling: Coupling = "independent",
) -> FlowInputs:
    """Bring what a plan names to its levels.

    Args:
        encoded: The samples.
        positions: Those of them that the plan is for.
        plan: Levels of every stream.
        draws: Of the samples at `positions`.
        text_jitter: Uniform draws in [0, this) are added to text latents, as the original does.
        text_coupling: Which noise meets which token of a text that is made.
    """
    device = encoded.model.device
    noisy: dict[str, Tensor | None] = {}
    clean: dict[str, Tensor | None] = dict.fromkeys(MODALITIES)
    noise: dict[str, Tensor | None] = dict.fromkeys(MODALITIES)
    levels = [None if level is None else level.to(device) for level in plan.levels]
    for name, level in zip(MODALITIES, levels, strict=True):
        if level is None:
            noisy[name] = None
        elif name not in plan.clean:
            shape = encoded.model.backbone.latent_shape(name)
            noisy[name] = draws.normal(f"{name} noise", *shape).to(device)
        else:
            latents = encoded.latents(name, positions)
            if name == "text" and text_jitter:
                jitter = draws.uniform("text jitter", *latents.shape[1:]).to(latents)
                latents = latents + text_jitter * jitter
            if name == "text" and plan.has_clip:
                noisy[name] = _with_clip(encoded, positions, latents, level, draws)
                continue
            is_made_text = name == "text" and name in plan.made
            drawn = draws.normal(f"{name} noise", *latents.shape[1:])
            drawn = coupled(drawn, latents, text_coupling if is_made_text else "independent")
            noisy[name] = add_noise(latents, drawn, level)
            if name in plan.made:
                clean[name], noise[name] = latents, drawn
    return FlowInputs(
        noisy=Streams(**noisy),
        clean=Streams(**clean),
        noise=Streams(**noise),
        timesteps=Streams(*(None if level is None else 1000 * level for level in levels)),
        pooled=_pooled(encoded, positions, plan),
    )


def _with_clip(
    encoded: EncodedSamples,
    positions: Sequence[int],
    latents: Tensor,
    level: Tensor,
    draws: Draws,
) -> Tensor:
    """CLIP rows, then latents, all of them as wide as the text stream, at the given levels."""
    width = encoded.model.backbone.feature_dims["hidden"]
    parts = (encoded.clip_states(positions), latents)
    rows = torch.cat([F.pad(part, (0, width - part.shape[-1])) for part in parts], dim=1)
    noisy = add_noise(rows, draws.normal("clip noise", *rows.shape[1:]).to(rows), level)
    # Noise fills the padding of CLIP rows as well, but never that of the latents.
    noisy[:, -latents.shape[1] :, latents.shape[2] :] = 0
    return noisy


def _pooled(encoded: EncodedSamples, positions: Sequence[int], plan: FlowPlan) -> Tensor:
    model = encoded.model
    if plan.pooled_from is None:
        return torch.zeros(len(positions), model.backbone.pooled_dim, device=model.device)
    kept = plan.pooled_kept.to(model.device)
    pooled = encoded.pooled(plan.pooled_from, positions)
    return pooled.float() * kept[:, None]


def _images(samples: Sequence[Sample]) -> list[Image]:
    return [sample.image for sample in samples if sample.image is not None]


def _sounds(samples: Sequence[Sample]) -> list[Audio]:
    return [sample.audio for sample in samples if sample.audio is not None]
