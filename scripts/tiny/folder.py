"""The parts of `tiny` put together in the published layout, with its model card."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch

from omniflow.checkpoints import read_tensors, write_tensors
from omniflow.files import write_json, write_text, writing_folder

from .autoencoders import LOG_MEL
from .plumbing import Log, parameters
from .text import PROMPT_TOKENS, T5_CONFIG, TEXT_VAE_CONFIG, load_text_vae
from .text_figures import measure_text
from .transformer import TRANSFORMER_CONFIG, load_transformer

SCHEDULER_CONFIG = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 3.0,
}

#: Folders that other stages have written as they are shipped.
COPIED = ("vae", "audio_vae", "text_encoder", "text_encoder_2", "tokenizer", "audio_encoder")

CARD = """\
---
license: apache-2.0
library_name: omniflow
tags: [any-to-any, rectified-flow, omniflow]
---

# tiny: the embedded OmniFlow backbone

A complete OmniFlow model in the published layout, small enough to ship ({size:.1f} MB, weights in
bfloat16): a joint transformer of {transformer:,} parameters over image, text and audio; a text VAE
of {text_vae:,} (T5 encoder, Q-Former and Llama decoder; {n_tokens} latents of width {vae_dim}); an
image VAE (pictures of 64 x 64 to [8, 8, 8]) and an audio VAE (log-mels of 1.024 s to [8, 16, 8]) of
0.9 million each; two CLIP-like text towers, an image tower and a LanguageBind-like audio tower. It
has no vocoder network: its log-mels are inverted by a least-squares fit and Griffin-Lim.

It was made by `scripts/make_tiny.py`, from random weights, without a download: pictures, captions
and sounds of the procedural `scenes` dataset (train split) and short pieces of Python's own
language reference (`pydoc_data.topics`, PSF licence). It draws, describes and sounds out coloured
shapes, any of the three from any other, and speaks, less well, short pieces of technical English.

The text decoder is trained on noisy latents in random order, because the text stream of the joint
transformer has no positions: what comes out of pure noise is a set of latents. For the same reason
the transformer was trained with noise that is matched with the latents, token by token: continue
with `text_coupling: matched`, which is the default on `tiny`.

What it writes of a picture or a sound is the plain caption of the scene, one phrasing of the many
that it reads. The transformer was trained in several rounds, each on from the one before: 5,900
steps of 96 samples, 10,600 of 128 and 2,700 of 128, some four hours on two cores. The script's
settings are those of the last round. Its stage `encoders` has since become stricter (scenes of a
batch that are nearly alike, a loss on attributes) than it was when the four towers were trained.

## Measured

How well each task is done: the table in `docs/any-to-any.md`, made by
`scripts/bench/any_to_any.py`. The text part, on 500 captions of the test split, whose scenes do not
occur in training; a caption counts as fluent when each run of four words in it occurs in a training
caption; English is measured on pieces of the text that was also trained on:

| | |
| --- | --- |
{figures}

## Limits

It knows six shapes, eight colours and four backgrounds, some 150 words and the vocabulary of one
manual. Its tokenizers carry any Unicode text through unchanged, but the text VAE rebuilds other
languages poorly, and texts of more than {prompt_tokens} tokens are cut. It is for trying things out
and for tests, not for use.
"""


def write_folder(work: Path, options: argparse.Namespace, log: Log) -> None:
    """Measure the text part and write everything in the published layout."""
    vae, transformer = load_text_vae(work), load_transformer(work)
    figures = measure_text(vae, transformer, work / "folder")
    for name, value in figures.items():
        log(f"{name}: {value:.3f}")
    with writing_folder(options.output) as new:
        for tokenizer in ("tokenizer_3", "vae_tokenizer"):
            shutil.copytree(work / "folder" / tokenizer, new / tokenizer)
        for name in COPIED:
            shutil.copytree(work / name, new / name)
        shutil.copytree(new / "tokenizer", new / "tokenizer_2")
        for name, config in (
            ("text_encoder_3/config.json", T5_CONFIG),
            ("text_vae/config.json", TEXT_VAE_CONFIG),
            ("transformer/config.json", TRANSFORMER_CONFIG),
            ("scheduler/scheduler_config.json", SCHEDULER_CONFIG),
            ("vocoder/config.json", {"model_type": "griffin-lim"}),
            ("audio_vae/preprocessor_config.json", vars(LOG_MEL)),
        ):
            write_json(new / name, config)
        write_joint_weights(work, new)
        size = sum(file.stat().st_size for file in new.rglob("*") if file.is_file())
        card = CARD.format(
            transformer=parameters(transformer),
            text_vae=parameters(vae),
            size=size / 1e6,
            figures="\n".join(f"| {name} | {value:.1%} |" for name, value in figures.items()),
            n_tokens=vae.latent_tokens,
            vae_dim=vae.latent_dim,
            prompt_tokens=PROMPT_TOKENS,
        )
        write_text(new / "README.md", card)
    log(f"{options.output}: {size / 1e6:.1f} MB")


def write_joint_weights(work: Path, new: Path) -> None:
    """Transformer and text VAE in one file, without the position tables, which are computed."""
    stored = read_tensors(work / "transformer.safetensors")
    tensors = {name: tensor for name, tensor in stored.items() if "pos_embed.pos" not in name}
    for name, tensor in read_tensors(work / "text_vae.safetensors").items():
        tensors[f"text_decoder.{name}"] = tensor
    write_tensors(
        new / "transformer" / "diffusion_pytorch_model.safetensors",
        {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()},
    )
