"""From a task and its inputs to the guided model: what is encoded once, before the first step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniflow.interfaces import Sample
from omniflow.sampling.conditions import Condition, encode_condition, encode_null, encode_texts
from omniflow.sampling.guidance import guidance_rows
from omniflow.sampling.guided import GuidedModel
from omniflow.sampling.noise import NoiseSource
from omniflow.sampling.rows import Fixed, absent_streams, batch_rows, replacing_noise
from omniflow.sampling.settings import SamplingSettings
from omniflow.tasks import LETTERS, POOLED_ORDER, Task

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


def guided_model(
    model: OmniFlowModel,
    task: Task,
    samples: Sequence[Sample],
    settings: SamplingSettings,
    noise: NoiseSource,
    negatives: Sequence[str] | None,
) -> GuidedModel:
    """Encode what is given, and lay out the rows; arguments as in `sample_latents`."""
    inputs = [name for name in task.given if name not in task.made]
    absent = [name for name in LETTERS.values() if name not in {*inputs, *task.made}]
    if settings.clip_tokens is None:
        settings = replace(settings, clip_tokens=bool(absent))
    rows = guidance_rows(inputs, settings.guidance)
    unseen = [name for name in inputs if any(name not in row.inputs for row in rows)]
    pooled_from = _pooled_from(model, task, settings)
    conditions = {
        name: encode_condition(model, samples, name, settings, noise, is_pooled=name == pooled_from)
        for name in inputs
    }
    nulls: Mapping[str, Condition] = {}
    replaced: Mapping[str, Fixed] = {}
    if settings.guidance_mode == "old":
        texts = [""] * len(samples) if negatives is None else negatives
        nulls = {
            name: encode_null(
                model, name, settings, noise, negatives=texts, is_pooled=name == pooled_from
            )
            for name in unseen
        }
    elif settings.absent == "noise":
        hidden = {name: conditions[name] for name in unseen}
        replaced = replacing_noise(model.backbone, hidden, noise)
    batches = batch_rows(
        rows,
        conditions,
        nulls,
        _absent(model, absent, len(samples), settings, noise),
        replaced,
        pooled_from=pooled_from,
        unseen_pooled=_unseen_pooled(model, task, samples, pooled_from),
    )
    return GuidedModel(model, batches, split_cond=settings.split_cond)


def _pooled_from(model: OmniFlowModel, task: Task, settings: SamplingSettings) -> str | None:
    """The modality that fills the pooled slot.

    One that is made as well fills it only through an encoder that was chosen for it: the backbone
    never saw the embedding of what it had to make.
    """
    if settings.drop_pool:
        return None
    if settings.pooled_from is not None:
        return settings.pooled_from
    for name in POOLED_ORDER:
        if name in task.given and (name not in task.made or model.has_encoder(name)):
            return name
    return None


def _unseen_pooled(
    model: OmniFlowModel, task: Task, samples: Sequence[Sample], pooled_from: str | None
) -> Tensor:
    """Pooled condition [batch, pooled_dim] of rows that do not see the input it comes from.

    Zeros, as in training; but the embedding of a modality that is made is in every row.
    """
    if pooled_from in task.made:
        embedded = model.embed(samples, pooled_from)
        if embedded is not None:
            return embedded
    return torch.zeros(len(samples), model.backbone.pooled_dim, device=model.device)


def _absent(
    model: OmniFlowModel,
    names: Sequence[str],
    batch: int,
    settings: SamplingSettings,
    noise: NoiseSource,
) -> Mapping[str, Fixed]:
    """Streams of absent modalities; none when they are dropped."""
    if settings.absent == "drop":
        return {}
    empty = None
    if settings.absent_text == "empty" and "text" in names:
        empty = encode_texts(model.backbone, [""] * batch)
    return absent_streams(model.backbone, names, settings, noise, empty)
