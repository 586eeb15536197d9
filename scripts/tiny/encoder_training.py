"""Training of the encoders of `tiny`: a caption, its picture and its sound get similar embeddings.

InfoNCE in both directions, as CLIP, ImageBind and LanguageBind do, on batches of scenes that are
nearly alike; and one linear map that tells from every embedding what the scene shows. The text
towers and the audio tower learn it within minutes; the image tower then goes on alone.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from transformers import CLIPTokenizer

from omniflow.datasets.scenes import ScenesDataset
from omniflow.scenes.caption import write_caption
from omniflow.scenes.picture import draw_picture
from omniflow.scenes.sound import render_sound

from .attributes import CLASSES, attribute_classes, attribute_loss
from .autoencoders import IMAGE_SIZE
from .encoders import WIDTH, Towers, clip_ids, fbank_pictures, make_clip_tokenizer, write_towers
from .muon import Muon
from .plumbing import Log, Means, parameters, schedule, set_lr
from .variations import similar_scenes

#: Scenes of a batch that are variations of one another.
GROUP = 8
ATTRIBUTE_WEIGHT = 10.0
PROJECTIONS = {
    "text_encoder": "text_projection",
    "text_encoder_2": "text_projection",
    "image": "visual_projection",
    "audio": "visual_projection",
}


class TowerBatch(NamedTuple):
    """Ids [batch, 40], pixels [batch, 3, 64, 64], fbanks [batch, 3, 64, 112], classes."""

    ids: Tensor
    pixels: Tensor
    fbanks: Tensor
    classes: Tensor


class TowerBatches(Dataset[TowerBatch]):
    """Batches without end, each drawn by its number; `group` scenes at a time are nearly alike."""

    def __init__(self, tokenizer: CLIPTokenizer, size: int, group: int, seed: int) -> None:
        self.tokenizer, self.size, self.group, self.seed = tokenizer, size, group, seed

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> TowerBatch:
        rng = Random(f"{self.seed}/{index}")
        groups = [similar_scenes(rng, self.group) for _ in range(self.size // self.group)]
        scenes = [scene for group in groups for scene in group]
        ids = clip_ids(self.tokenizer, [write_caption(scene, rng) for scene in scenes])
        pictures = [np.asarray(draw_picture(scene, rng, IMAGE_SIZE)) for scene in scenes]
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        waves = [torch.from_numpy(render_sound(scene).waveform[0]) for scene in scenes]
        return TowerBatch(
            ids, pixels, fbank_pictures(torch.stack(waves)), attribute_classes(scenes)
        )


def train_encoders(work: Path, options: argparse.Namespace, log: Log) -> None:
    """Train the towers together, then the image tower, and write CLIP and LanguageBind folders."""
    scenes = ScenesDataset(
        split="train", size=20_000, seed=options.seed + 17, image=False, audio=False
    )
    make_clip_tokenizer([sample.text for sample in scenes], work / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    torch.manual_seed(options.seed)
    towers, reader = Towers(tokenizer), nn.Linear(WIDTH, sum(CLASSES))
    log(f"encoders: {parameters(towers):,} parameters; {len(tokenizer)} CLIP tokens")
    batches = TowerBatches(tokenizer, options.encoder_batch, GROUP, options.seed)
    _train(towers, towers, reader, batches, options.encoder_steps, options.encoder_lr, log)
    towers.requires_grad_(False)
    alone = TowerBatches(tokenizer, options.encoder_batch, GROUP, options.seed + 1)
    towers.image.requires_grad_(True)
    _train(towers, towers.image, reader, alone, options.image_tower_steps, options.encoder_lr, log)
    with torch.no_grad():
        held_out = TowerBatches(tokenizer, 256, 1, options.seed + 2)[0]
        embedded = towers.eval()(held_out.ids, held_out.pixels, held_out.fbanks)
        _, hits = contrastive(embedded, towers.logit_scale)
        log(f"encoders: the right one of 256 first in {hits:.1%} of pairs of other scenes")
        for name, projection in PROJECTIONS.items():
            # A spread of 1: embeddings are compared by angle, and the transformer reads numbers.
            getattr(getattr(towers, name), projection).weight.data /= embedded[name].std()
    write_towers(towers, work)


def _train(
    towers: Towers,
    trained: nn.Module,
    reader: nn.Linear,
    batches: TowerBatches,
    steps: int,
    lr: float,
    log: Log,
) -> None:
    """Train a part of the towers, and the map that reads their embeddings."""
    named = {**dict(trained.named_parameters()), **dict(reader.named_parameters())}
    matrices = [name for name, value in named.items() if value.ndim == 2 and ".layers." in name]
    others = [value for name, value in named.items() if name not in matrices]
    optimizers = [
        Muon(named[name] for name in matrices),
        torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.98), weight_decay=0.01),
    ]
    means = Means(log, "encoders")
    source = iter(DataLoader(batches, batch_size=None, num_workers=1))
    for step in range(1, steps + 1):
        batch: TowerBatch = next(source)
        embedded = towers(batch.ids, batch.pixels, batch.fbanks)
        loss, hits = contrastive(embedded, towers.logit_scale)
        shapes = {}
        for name, value in embedded.items():
            # As long as its components would be if they had a spread of 1.
            logits = reader(WIDTH**0.5 * F.normalize(value, dim=-1))
            cost, shapes[name] = attribute_loss(logits, batch.classes)
            loss = loss + ATTRIBUTE_WEIGHT * cost
        for value in named.values():
            value.grad = None
        loss.backward()
        nn.utils.clip_grad_norm_(named.values(), 1.0)
        for optimizer in optimizers:
            set_lr(optimizer, lr * schedule(step, steps, warmup=50))
            optimizer.step()
        towers.logit_scale.data.clamp_(max=4.6)
        means.add(first=hits, **shapes)
        means.report(step)


def contrastive(embedded: dict[str, Tensor], scale: Tensor) -> tuple[Tensor, float]:
    """InfoNCE over pairs of towers but the two of text, and how often the right one is first."""
    unit = {name: F.normalize(value, dim=-1) for name, value in embedded.items()}
    pairs = [pair for pair in combinations(unit, 2) if not all("text" in name for name in pair)]
    target = torch.arange(len(next(iter(unit.values()))))
    losses, hits = [], []
    for first, second in pairs:
        logits = scale.exp() * unit[first] @ unit[second].T
        losses += [F.cross_entropy(logits, target), F.cross_entropy(logits.T, target)]
        hits.append((logits.argmax(1) == target).float().mean())
    return torch.stack(losses).mean(), torch.stack(hits).mean().item()
