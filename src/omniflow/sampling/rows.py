"""The batches that go through the network at every step: all rows of all samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from omniflow.interfaces import Backbone
from omniflow.sampling.conditions import Condition
from omniflow.sampling.guidance import Row
from omniflow.sampling.noise import NoiseSource
from omniflow.sampling.settings import SamplingSettings

#: Timesteps of a stream that is given, and of one that is absent.
CLEAN, NOISE = 0.0, 1000.0


class Fixed(NamedTuple):
    """A stream that stays as it is over all steps.

    Args:
        latents: Its latents [batch, ...].
        timestep: Its noise level times 1000.
    """

    latents: Tensor
    timestep: float


@dataclass(frozen=True)
class RowBatch:
    """Rows with the same streams, as one batch: row by row, in each all samples.

    Args:
        weights: Weight of each row.
        fixed: Latents of the streams that are not made [rows * batch, ...].
        timesteps: Their timesteps [rows * batch].
        pooled: Pooled condition [rows * batch, pooled_dim].
    """

    weights: tuple[float, ...]
    fixed: Mapping[str, Tensor]
    timesteps: Mapping[str, Tensor]
    pooled: Tensor


def batch_rows(
    rows: Sequence[Row],
    conditions: Mapping[str, Condition],
    nulls: Mapping[str, Condition],
    absent: Mapping[str, Fixed],
    replaced: Mapping[str, Fixed],
    *,
    pooled_from: str | None,
    unseen_pooled: Tensor,
) -> list[RowBatch]:
    """Lay out the rows; those with the same streams share a batch.

    Args:
        rows: What each row sees.
        conditions: The given modalities.
        nulls: What replaces each in a row that does not see it (guidance mode `old`).
        absent: Streams of absent modalities; those that are dropped are not among them.
        replaced: What replaces each given modality in guidance mode `new`; likewise.
        pooled_from: The given modality that fills the pooled slot.
        unseen_pooled: Pooled condition [batch, pooled_dim] of rows that do not see that modality,
            and of all rows when it is None; in mode `old` what replaces it comes first.
    """
    grouped: dict[tuple[tuple[str, torch.Size], ...], list[int]] = {}
    streams: list[dict[str, Fixed]] = []
    pooled: list[Tensor] = []
    for index, row in enumerate(rows):
        fixed = dict(absent)
        for name, condition in conditions.items():
            if name in row.inputs:
                fixed[name] = Fixed(condition.stream, CLEAN)
            elif name in nulls:
                fixed[name] = Fixed(nulls[name].stream, CLEAN)
            elif name in replaced:
                fixed[name] = replaced[name]
        streams.append(fixed)
        pooled.append(_pooled(row, conditions, nulls, pooled_from, unseen_pooled))
        shapes = sorted((name, part.latents.shape) for name, part in fixed.items())
        grouped.setdefault(tuple(shapes), []).append(index)
    return [
        RowBatch(
            weights=tuple(rows[index].weight for index in members),
            fixed={
                name: torch.cat([streams[index][name].latents for index in members])
                for name in streams[members[0]]
            },
            timesteps={
                name: torch.cat([_timesteps(streams[index][name]) for index in members])
                for name in streams[members[0]]
            },
            pooled=torch.cat([pooled[index] for index in members]),
        )
        for members in grouped.values()
    ]


def replacing_noise(
    backbone: Backbone, conditions: Mapping[str, Condition], noise: NoiseSource
) -> dict[str, Fixed]:
    """Noise in place of every given modality, of the shape of its stream.

    Where text has CLIP rows, these get noise over their whole width, as in the original; rows of
    the text VAE have none beyond the width of its latents.
    """
    replaced = {}
    for name, condition in conditions.items():
        draws = noise.draw(f"null_{name}", condition.stream.shape[1:])
        if name == "text":
            draws[:, -backbone.latent_tokens :, backbone.latent_dim :] = 0.0
        replaced[name] = Fixed(draws, NOISE)
    return replaced


def absent_streams(
    backbone: Backbone,
    names: Sequence[str],
    settings: SamplingSettings,
    noise: NoiseSource,
    empty_texts: Tensor | None,
) -> dict[str, Fixed]:
    """Noise for every absent modality.

    Args:
        backbone: The backbone.
        names: The absent modalities.
        settings: Size of an absent picture.
        noise: Where it comes from.
        empty_texts: Latents that an absent text holds instead of noise.
    """
    absent = {}
    for name in names:
        if name == "text" and empty_texts is not None:
            absent[name] = Fixed(empty_texts, NOISE)
        else:
            shape = backbone.latent_shape(name, **size_of(name, settings))
            absent[name] = Fixed(noise.draw(name, shape), NOISE)
    return absent


def size_of(name: str, settings: SamplingSettings) -> dict[str, int | None]:
    """Height and width for `latent_shape`, which only pictures have."""
    return {"height": settings.height, "width": settings.width} if name == "image" else {}


def _pooled(
    row: Row,
    conditions: Mapping[str, Condition],
    nulls: Mapping[str, Condition],
    pooled_from: str | None,
    unseen_pooled: Tensor,
) -> Tensor:
    if pooled_from is None:
        return unseen_pooled
    source = conditions if pooled_from in row.inputs else nulls
    condition = source.get(pooled_from)
    if condition is None or condition.pooled is None:
        return unseen_pooled
    return condition.pooled.to(unseen_pooled)


def _timesteps(part: Fixed) -> Tensor:
    return torch.full((len(part.latents),), part.timestep, device=part.latents.device)
