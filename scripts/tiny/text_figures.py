"""How good the text part of `tiny` is, alone and through the joint transformer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer

from omniflow.models.flow_scheduler import (
    SAMPLING_SHIFT,
    euler_step,
    sigmas_from,
    velocity_from_x0,
)
from omniflow.models.joint_transformer import JointTransformer
from omniflow.models.text_vae import TextVAE

from .text import (
    CAPTION_TOKENS,
    TEXT_VAE_CONFIG,
    as_ids,
    captions,
    encode_all,
    prose,
    readable,
)


@torch.no_grad()
def speak(vae: TextVAE, latents: Tensor, folder: Path) -> list[str]:
    """Latents to texts."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "vae_tokenizer")
    ids = vae.generate(latents, max_new_tokens=CAPTION_TOKENS)
    return tokenizer.batch_decode(ids, skip_special_tokens=True)


def ngrams(text: str, n: int = 4) -> list[tuple[str, ...]]:
    """Runs of `n` words, with a mark at either end."""
    words = ["<", *text.split(), ">"]
    return [tuple(words[start : start + n]) for start in range(max(1, len(words) - n + 1))]


_SEEN: set[tuple[str, ...]] = set()


def fluent_share(texts: Sequence[str]) -> float:
    """Share of the texts whose every run of four words occurs in training captions."""
    if not _SEEN:
        _SEEN.update(gram for text in captions("train", 60_000) for gram in ngrams(text))
    return sum(all(gram in _SEEN for gram in ngrams(text)) for text in texts) / len(texts)


def bleu(texts: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 between 0 and 1."""
    from sacrebleu import corpus_bleu

    return corpus_bleu(list(texts), [list(references)], force=True).score / 100


@torch.no_grad()
def measure_text(vae: TextVAE, transformer: JointTransformer, folder: Path) -> dict[str, float]:
    """The figures of the model card, on test captions that share no scene with the training."""
    torch.manual_seed(0)
    texts = captions("test", 500)
    latents = encode_all(vae, as_ids(texts, folder)).float()
    noisy = latents + 0.3 * torch.randn_like(latents)
    rebuilt, from_noisy = speak(vae, latents, folder), speak(vae, noisy, folder)
    predicted = speak(vae, predict(transformer, latents, torch.zeros(len(latents))), folder)
    made = speak(vae, generate_latents(transformer, 500, steps=28, seed=0), folder)
    english = [text for text in prose(300, seed=7) if text]
    spoken = speak(vae, encode_all(vae, as_ids(english, folder)).float(), folder)
    fitting = readable(english, folder)
    return {
        "captions rebuilt exactly": exact(rebuilt, texts),
        "BLEU-4 of rebuilt captions": bleu(rebuilt, texts),
        "captions rebuilt exactly, noise 0.3 on the latents": exact(from_noisy, texts),
        "captions rebuilt exactly through the transformer at timestep 0": exact(predicted, texts),
        "BLEU-4 through the transformer at timestep 0": bleu(predicted, texts),
        "fluent among 500 captions from pure noise, 28 steps": fluent_share(made),
        "different ones among them": len(set(made)) / len(made),
        "pieces of English rebuilt exactly": exact(spoken, fitting),
        "BLEU-4 of rebuilt English": bleu(spoken, fitting),
    }


def exact(texts: Sequence[str], references: Sequence[str]) -> float:
    """Share of the texts that equal their reference."""
    return sum(a == b for a, b in zip(texts, references, strict=True)) / len(texts)


def predict(transformer: JointTransformer, latents: Tensor, levels: Tensor) -> Tensor:
    """The clean latents that the transformer sees in noisy ones, text alone, nothing pooled."""
    width = transformer.config.joint_attention_dim - latents.shape[-1]
    padded = F.pad(latents, (0, width))
    pooled = latents.new_zeros(len(latents), transformer.config.pooled_projection_dim)
    out = transformer(text=padded, pooled=pooled, timestep_text=1000 * levels)
    assert out.text is not None
    return out.text


@torch.no_grad()
def generate_latents(transformer: JointTransformer, count: int, *, steps: int, seed: int) -> Tensor:
    """Text latents out of pure noise."""
    config = TEXT_VAE_CONFIG["vae_config"]
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, config["n_tokens"], config["vae_dim"], generator=generator)
    for level, following in pairwise(sigmas_from(1.0, steps, SAMPLING_SHIFT).tolist()):
        clean = predict(transformer, latents, torch.full((count,), level))
        latents = euler_step(latents, velocity_from_x0(latents, clean, level), level, following)
    return latents
