"""Frozen work, done once: latents, token ids and pooled embeddings of many scenes."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from omniflow.checkpoints import read_tensors, write_tensors
from omniflow.datasets.scenes import ScenesDataset
from omniflow.scenes.caption import plain_caption

from .autoencoders import load_autoencoder, log_mels, pictures
from .encoders import Towers, clip_ids, fbank_pictures, load_towers
from .plumbing import Log, in_parts
from .text import as_ids, encode_all, load_text_vae, readable

CAPTIONS = 3
PARTS = ("image", "audio", "text", "pooled")


@dataclass(frozen=True)
class Latents:
    """What the joint transformer is trained on, one row a scene.

    Args:
        image: Image latents, scaled [scenes, 8, 8, 8]; zeros when not read.
        audio: Audio latents, scaled [scenes, 8, 16, 8].
        text: Text latents of three captions each [scenes, captions, 16, 64].
        clip: CLIP ids of the captions [scenes, captions, 40].
        plain: Text latents of the plain caption [scenes, 16, 64].
        input_ids: Its ids as the text decoder reads them [scenes, 48].
        labels: Its ids as targets, -100 where there is none.
        pooled_text: Text embeddings of the captions [scenes, captions, 128].
        pooled_image: Image embeddings, filled up with zeros [scenes, 128].
        pooled_audio: Audio embeddings, likewise.
    """

    image: Tensor
    audio: Tensor
    text: Tensor
    clip: Tensor
    plain: Tensor
    input_ids: Tensor
    labels: Tensor
    pooled_text: Tensor
    pooled_image: Tensor
    pooled_audio: Tensor

    def __len__(self) -> int:
        return len(self.audio)

    @classmethod
    def read(cls, work: Path) -> Latents:
        """Read what `cache_latents` wrote."""
        tensors: dict[str, Tensor] = {}
        for part in PARTS:
            tensors |= read_tensors(work / "latents" / f"{part}.safetensors")
        return cls(**tensors)


def cache_latents(part: str, work: Path, options: argparse.Namespace, log: Log) -> None:
    """Compute and write one of `PARTS`."""
    wants = {"image": part in ("image", "pooled"), "audio": part in ("audio", "pooled")}
    scenes = ScenesDataset(split="train", size=options.scenes, seed=options.seed, **wants)
    with torch.no_grad():
        tensors = _WORK[part](scenes, work)
    write_tensors(work / "latents" / f"{part}.safetensors", tensors)
    log(f"latents of {len(scenes):,} scenes: {part}")


def _image(scenes: ScenesDataset, work: Path) -> dict[str, Tensor]:
    vae = load_autoencoder("image", work)
    return {"image": _encoded(vae, scenes, pictures)}


def _audio(scenes: ScenesDataset, work: Path) -> dict[str, Tensor]:
    vae = load_autoencoder("audio", work)
    return {"audio": _encoded(vae, scenes, log_mels)}


def _encoded(
    vae: torch.nn.Module,
    scenes: ScenesDataset,
    read: Callable[[ScenesDataset, list[int]], Tensor],
) -> Tensor:
    def encode(rows: Tensor) -> Tensor:
        mean = vae.encode(read(scenes, rows.tolist())).latent_dist.mean
        return (mean * vae.config.scaling_factor).half()

    return in_parts(len(scenes), 100, encode)


def _text(scenes: ScenesDataset, work: Path) -> dict[str, Tensor]:
    folder = work / "folder"
    vae, (_, tokenizer) = load_text_vae(work), load_towers(work)
    texts = list(_captions(scenes, folder))
    latents = encode_all(vae, as_ids(texts, folder))
    ids = torch.cat([clip_ids(tokenizer, texts[i : i + 5000]) for i in range(0, len(texts), 5000)])
    plain = as_ids([plain_caption(scenes.scene(i)) for i in range(len(scenes))], folder)
    return {
        "text": latents.view(len(scenes), CAPTIONS, *latents.shape[1:]),
        "clip": ids.view(len(scenes), CAPTIONS, -1).to(torch.int16),
        "plain": encode_all(vae, plain),
        "input_ids": plain.input_ids.to(torch.int16),
        "labels": plain.labels.to(torch.int16),
    }


def _captions(scenes: ScenesDataset, folder: Path) -> Iterator[str]:
    """Three captions of each scene; one that is too long for the text VAE gives way to another."""
    found = [(scenes[i].text, *scenes.paraphrases(i)) for i in range(len(scenes))]
    fitting = set(readable([text for row in found for text in row], folder))
    for row in found:
        kept = [text for text in row if text in fitting] or [min(row, key=len)]
        yield from (kept * CAPTIONS)[:CAPTIONS]


def _pooled(scenes: ScenesDataset, work: Path) -> dict[str, Tensor]:
    towers, _ = load_towers(work)
    ids = read_tensors(work / "latents" / "text.safetensors")["clip"].flatten(0, 1).long()
    texts = in_parts(len(ids), 500, lambda rows: embed_text(towers, ids[rows]))
    images, sounds = [], []
    for start in range(0, len(scenes), 200):
        samples = [scenes[index] for index in range(start, min(start + 200, len(scenes)))]
        pixels = np.stack([np.asarray(sample.image) for sample in samples])
        pixels = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        waves = torch.stack([torch.from_numpy(sample.audio.waveform[0]) for sample in samples])
        images.append(towers.image(pixels).image_embeds.half())
        sounds.append(towers.embed_audio(fbank_pictures(waves)).half())
    fill = (0, texts.shape[-1] - images[0].shape[-1])
    return {
        "pooled_text": texts.view(len(scenes), CAPTIONS, -1),
        "pooled_image": F.pad(torch.cat(images), fill),
        "pooled_audio": F.pad(torch.cat(sounds), fill),
    }


def embed_text(towers: Towers, ids: Tensor) -> Tensor:
    """Embeddings of both text towers side by side [batch, 128], in half precision."""
    both = (towers.text_encoder, towers.text_encoder_2)
    return torch.cat([tower(ids).text_embeds for tower in both], dim=-1).half()


_WORK = {"image": _image, "audio": _audio, "text": _text, "pooled": _pooled}
