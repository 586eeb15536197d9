"""Make the embedded `tiny` backbone: tokenizers, text VAE and joint transformer, from nothing.

    python scripts/make_tiny.py                      # everything, about an hour on two cores
    python scripts/make_tiny.py --stage transformer  # from one stage on, keeping the earlier ones

Nothing is downloaded. The captions come from the `scenes` dataset (train split); the ordinary
English comes from `pydoc_data.topics`, the language reference that ships with Python itself. Each
stage is seeded and leaves its result in `--work`, so that a later stage can be rerun without the
earlier ones; the last one measures the result and writes the folder in the published layout.

Two things differ from the published models on purpose, both in how the text VAE is trained:

- Latents get Gaussian noise before they are decoded, so that near-by latents mean the same and the
  decoder bears what a transformer or a head predicts.
- Latents are shuffled along the token axis before they are decoded. The text stream of the joint
  transformer has no positions, and from pure noise no token can know which of them it is: what it
  makes is a set. A decoder that reads sets can read it.
"""

from __future__ import annotations

import argparse
import math
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Config

from omniflow.checkpoints import read_json, read_tensors, write_tensors
from omniflow.datasets.scenes import ScenesDataset
from omniflow.files import write_json, write_text, writing_folder
from omniflow.models.flow_scheduler import (
    SAMPLING_SHIFT,
    euler_step,
    sigmas_from,
    velocity_from_x0,
)
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.text_vae import TextVAE, TextVAEConfig

VOCABULARY = 1024
PROMPT_TOKENS = 48
CAPTION_TOKENS = 48

T5_CONFIG = {
    "model_type": "t5",
    "architectures": ["T5EncoderModel"],
    "vocab_size": VOCABULARY,
    "d_model": 96,
    "d_kv": 24,
    "d_ff": 192,
    "num_layers": 2,
    "num_heads": 4,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.0,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "decoder_start_token_id": 0,
    "tie_word_embeddings": False,
    "use_cache": False,
}

TEXT_VAE_CONFIG = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "hidden_act": "silu",
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "attention_bias": False,
    "mlp_bias": False,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "vae_config": {
        "prompt_size": 96,
        "vae_dim": 64,
        "vae_hidden_size": 96,
        "n_tokens": 16,
        "pre_norm": False,
        "norm_type": "layer_norm",
        "vae_scale": 1.0,
        "qformer_layers": 3,
        "qformer_heads": 4,
        "qformer_intermediate_size": 288,
        "max_prompt_tokens": PROMPT_TOKENS,
    },
}

TRANSFORMER_CONFIG = {
    "_class_name": "OmniFlowTransformerModel",
    "sample_size": 8,
    "patch_size": 1,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 5,
    "attention_head_dim": 32,
    "num_attention_heads": 4,
    "joint_attention_dim": 128,
    "caption_projection_dim": 128,
    "pooled_projection_dim": 128,
    "audio_input_dim": 8,
    "pos_embed_max_size": 16,
    "dual_attention_layers": [],
    "decoder_config": "",
    "add_audio": True,
    "add_clip": False,
    "use_audio_mae": False,
    "drop_text": False,
    "drop_image": False,
    "drop_audio": False,
    "qk_norm": "layer_norm",
    "audio_height": 32,
    "audio_width": 8,
    "audio_patch_size": 2,
    "audio_pos_embed_max_size": 24,
    "audio_sample_size": 16,
}

SCHEDULER_CONFIG = {
    "_class_name": "FlowMatchEulerDiscreteScheduler",
    "num_train_timesteps": 1000,
    "shift": 3.0,
}


@dataclass(frozen=True)
class Texts:
    """Texts as ids, padded to one length: the data of the text VAE."""

    prompt_ids: Tensor
    is_empty: Tensor
    input_ids: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.input_ids)

    def rows(self, index: Tensor) -> Texts:
        """Some of them, cut to the longest among them."""
        labels = self.labels[index]
        width = int((labels != -100).sum(dim=1).max())
        return Texts(
            self.prompt_ids[index],
            self.is_empty[index],
            self.input_ids[index, :width],
            labels[:, :width],
        )


# Data ---------------------------------------------------------------------------------------------


def captions(split: str, count: int, seed: int = 0) -> list[str]:
    """The first `count` captions of a split of `scenes`."""
    scenes = ScenesDataset(split=split, size=count, image=False, audio=False, seed=seed)
    return [scenes[index].text or "" for index in range(count)]


def sentences() -> list[str]:
    """The sentences of Python's language reference, unwrapped, without code blocks."""
    from pydoc_data.topics import topics

    found = []
    for topic in sorted(topics):
        for paragraph in re.split(r"\n\s*\n", topics[topic]):
            if re.search(r">>>|::=|^ {6,}", paragraph, re.MULTILINE):
                continue
            for sentence in re.split(r"(?<=[.!?]) +", " ".join(paragraph.split())):
                if 8 <= len(sentence) <= 400 and sentence not in found[-1:]:
                    found.append(sentence)
    return found


def prose(count: int, seed: int) -> list[str]:
    """Pieces of ordinary English: runs of 1 to 30 words of a sentence, and now and then nothing."""
    draw = random.Random(seed)
    whole = sentences()
    pieces = []
    for _ in range(count):
        words = draw.choice(whole).split()
        length = min(len(words), 1 + int(30 * draw.random() ** 1.5))
        start = draw.choice([0, draw.randrange(len(words) - length + 1)])
        pieces.append("" if draw.random() < 0.02 else " ".join(words[start : start + length]))
    return pieces


def as_ids(texts: Sequence[str], folder: Path) -> Texts:
    """Texts to padded ids, the way the backbone does it; texts that are too long are left out."""
    texts = readable(texts, folder)
    t5 = AutoTokenizer.from_pretrained(folder / "tokenizer_3")
    llama = AutoTokenizer.from_pretrained(folder / "vae_tokenizer")
    ids = [[*row, llama.eos_token_id] for row in llama(texts)["input_ids"]]
    prompts = t5(
        texts,
        padding="max_length",
        max_length=PROMPT_TOKENS,
        truncation=True,
        return_tensors="pt",
    )["input_ids"]
    input_ids = torch.full((len(texts), CAPTION_TOKENS), llama.pad_token_id)
    labels = torch.full((len(texts), CAPTION_TOKENS), -100)
    for row, values in enumerate(ids):
        input_ids[row, : len(values)] = torch.tensor(values)
        labels[row, : len(values)] = torch.tensor(values)
    is_empty = torch.tensor([text == "" for text in texts])
    return Texts(prompts, is_empty, input_ids, labels)


def readable(texts: Sequence[str], folder: Path) -> list[str]:
    """Those of the texts that the model can hold in full."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "vae_tokenizer")
    ids = tokenizer(list(texts), verbose=False)["input_ids"]
    return [text for text, row in zip(texts, ids, strict=True) if len(row) < CAPTION_TOKENS]


def batches(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Rows of one batch after another, in a new order each time round, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count - count % batch_size].split(batch_size)


# Tokenizers ---------------------------------------------------------------------------------------


def make_tokenizers(folder: Path) -> None:
    """Train the two tokenizers: one for the T5 encoder, one for the text decoder.

    Both are byte-level BPE without normalisation, so that any text comes back as it went in.
    """
    corpus = captions("train", 20_000) + sentences() * 2
    for name, special, options in (
        ("tokenizer_3", ["<pad>", "</s>", "<unk>"], {"pad_token": "<pad>"}),
        (
            "vae_tokenizer",
            ["<unk>", "<s>", "</s>", "[PAD]"],
            {"bos_token": "<s>", "pad_token": "[PAD]"},
        ),
    ):
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(corpus, trainer)
        ends = ("</s>", special.index("</s>"))
        if name == "tokenizer_3":
            tokenizer.post_processor = processors.TemplateProcessing(
                single="$A </s>", special_tokens=[ends]
            )
        else:
            tokenizer.post_processor = processors.TemplateProcessing(
                single="<s> $A", special_tokens=[("<s>", special.index("<s>"))]
            )
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            eos_token="</s>",
            unk_token="<unk>",
            clean_up_tokenization_spaces=False,
            split_special_tokens=True,
            model_max_length=PROMPT_TOKENS if name == "tokenizer_3" else 512,
            **options,
        ).save_pretrained(folder / name)
        # The name that every version of transformers knows; what is written is that of version 5.
        settings = folder / name / "tokenizer_config.json"
        written = {key: value for key, value in read_json(settings).items() if key != "backend"}
        write_json(settings, {**written, "tokenizer_class": "PreTrainedTokenizerFast"})


# Text VAE -----------------------------------------------------------------------------------------


def new_text_vae(seed: int) -> TextVAE:
    """An untrained text VAE of the tiny size."""
    torch.manual_seed(seed)
    vae = TextVAE(TextVAEConfig.from_dict(TEXT_VAE_CONFIG), T5Config.from_dict(T5_CONFIG))
    # Equal queries would stay equal: the Q-Former has no positions.
    nn.init.normal_(vae.query)
    return vae


def shuffled(latents: Tensor) -> Tensor:
    """Each sample's latents in an order of their own."""
    order = torch.rand(latents.shape[:2]).argsort(dim=1)
    return latents.gather(1, order[..., None].expand_as(latents))


def text_vae_loss(vae: TextVAE, texts: Texts, noise: float) -> Tensor:
    """Summed cross entropy of the texts, decoded from their noisy and shuffled latents."""
    latents = vae.encode(texts.prompt_ids, texts.is_empty)
    sigma = noise * torch.rand(len(latents), 1, 1)
    latents = shuffled(latents + sigma * torch.randn_like(latents))
    logits = vae.logits(latents, texts.input_ids)[:, :-1]
    return F.cross_entropy(
        logits.flatten(0, 1), texts.labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )


def train_text_vae(folder: Path, work: Path, options: argparse.Namespace, log: Log) -> None:
    """Train T5, Q-Former and decoder together, end to end."""
    # Evaluation mode leaves out the Q-Former's dropout: the noise below does that work.
    vae = new_text_vae(options.seed).eval()
    scenes = as_ids(captions("train", options.captions), folder)
    other = as_ids(prose(30_000, options.seed), folder)
    held_out = as_ids(captions("validation", 200), folder)
    log(f"text VAE: {parameters(vae):,} parameters; {len(scenes):,} captions, {len(other):,} prose")
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.01)
    scene_rows = batches(len(scenes), options.text_batch, options.seed)
    other_rows = batches(len(other), max(1, options.text_batch // 6), options.seed + 1)
    started, total, tokens = time.monotonic(), 0.0, 0
    for step in range(1, options.text_vae_steps + 1):
        set_lr(optimizer, options.text_vae_lr * schedule(step, options.text_vae_steps, warmup=200))
        noise = 0.5 * min(1.0, step / (0.3 * options.text_vae_steps))
        parts = [scenes.rows(next(scene_rows)), other.rows(next(other_rows))]
        count = sum(int((part.labels[:, 1:] != -100).sum()) for part in parts)
        optimizer.zero_grad(set_to_none=True)
        for part in parts:
            loss = text_vae_loss(vae, part, noise) / count
            loss.backward()
            total += loss.item() * count
        tokens += count
        nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            pace = (time.monotonic() - started) / step
            log(f"text VAE step {step}: ce {total / tokens:.3f}, {pace:.2f} s a step")
            total, tokens = 0.0, 0
        if step % 500 == 0:
            share = rebuilt_share(vae, held_out)
            log(f"text VAE step {step}: {share:.1%} of held-out captions rebuilt exactly")
            write_tensors(work / "text_vae.safetensors", unshared(vae))
    write_tensors(work / "text_vae.safetensors", unshared(vae))


@torch.no_grad()
def rebuilt_share(vae: TextVAE, texts: Texts, noise: float = 0.0) -> float:
    """Share of the texts that greedy decoding brings back exactly."""
    rebuilt = 0
    for index in torch.arange(len(texts)).split(100):
        part = texts.rows(index)
        latents = vae.encode(part.prompt_ids, part.is_empty)
        latents = latents + noise * torch.randn_like(latents)
        ids = vae.generate(latents, max_new_tokens=CAPTION_TOKENS)
        for row, labels in zip(ids.tolist(), part.labels[:, 1:].tolist(), strict=True):
            target = [label for label in labels if label != -100]
            rebuilt += row[: len(target)] == target
    return rebuilt / len(texts)


def load_text_vae(work: Path) -> TextVAE:
    """The text VAE that the stage before left behind, frozen."""
    vae = new_text_vae(0)
    stored = read_tensors(work / "text_vae.safetensors")
    # Weights are shipped in bfloat16: what follows is trained and measured on those.
    rounded = {name: tensor.bfloat16().float() for name, tensor in stored.items()}
    _, unexpected = vae.load_state_dict(rounded, strict=False)
    assert not unexpected, unexpected
    return vae.eval().requires_grad_(False)


# Joint transformer --------------------------------------------------------------------------------


def new_transformer(seed: int) -> JointTransformer:
    """An untrained joint transformer of the tiny size."""
    torch.manual_seed(seed)
    config = JointTransformerConfig.from_dict(TRANSFORMER_CONFIG)
    latent_dim = TEXT_VAE_CONFIG["vae_config"]["vae_dim"]
    transformer = JointTransformer(config, text_output_dim=latent_dim)
    for name, parameter in transformer.named_parameters():
        if parameter.ndim == 2:
            nn.init.xavier_uniform_(parameter)
        elif name.endswith(".bias"):
            nn.init.zeros_(parameter)
        # Gates at zero: every block starts as the identity.
        if re.search(r"norm1\w*\.linear|norm_out\w*\.linear", name):
            nn.init.zeros_(parameter)
    return transformer


def noise_levels(count: int) -> Tensor:
    """Text levels: logit-normal, with a share at pure noise and one at and near clean text."""
    levels = torch.sigmoid(0.3 + 1.2 * torch.randn(count))
    kind = torch.rand(count)
    levels = torch.where(kind < 0.10, torch.ones(()), levels)
    levels = torch.where((kind >= 0.10) & (kind < 0.15), torch.zeros(()), levels)
    return torch.where((kind >= 0.15) & (kind < 0.20), 0.1 * torch.rand(count), levels)


def predict(transformer: JointTransformer, latents: Tensor, levels: Tensor) -> Tensor:
    """The clean latents that the transformer sees in noisy ones, text alone, nothing pooled."""
    padded = F.pad(latents, (0, TRANSFORMER_CONFIG["joint_attention_dim"] - latents.shape[-1]))
    pooled = latents.new_zeros(len(latents), TRANSFORMER_CONFIG["pooled_projection_dim"])
    out = transformer(text=padded, pooled=pooled, timestep_text=1000 * levels)
    assert out.text is not None
    return out.text


def text_flow_loss(predicted: Tensor, clean: Tensor) -> Tensor:
    """Text loss of the joint training: squared error, plus a tenth of it on unit vectors."""
    directions = F.normalize(predicted, dim=-1, eps=1e-4), F.normalize(clean, dim=-1, eps=1e-4)
    return F.mse_loss(predicted, clean) + 0.1 * F.mse_loss(*directions)


def train_transformer(folder: Path, work: Path, options: argparse.Namespace, log: Log) -> None:
    """Train the text stream of the joint transformer on the latents of the frozen text VAE."""
    vae = load_text_vae(work)
    count = options.flow_captions
    texts = captions("train", count) + prose(count // 50, options.seed + 2)
    latents = encode_all(vae, as_ids(texts, folder))
    transformer = new_transformer(options.seed)
    smoothed = new_transformer(options.seed).requires_grad_(False)
    log(f"transformer: {parameters(transformer):,} parameters; {len(latents):,} latents")
    optimizer = torch.optim.AdamW(
        transformer.parameters(), lr=1.0, betas=(0.9, 0.99), weight_decay=0.01
    )
    rows = batches(len(latents), options.flow_batch, options.seed)
    started, total = time.monotonic(), 0.0
    for step in range(1, options.transformer_steps + 1):
        factor = schedule(step, options.transformer_steps, warmup=300)
        set_lr(optimizer, options.transformer_lr * factor)
        clean = latents[next(rows)].float()
        levels = noise_levels(len(clean))
        sigma = levels[:, None, None]
        noisy = sigma * torch.randn_like(clean) + (1 - sigma) * clean
        loss = text_flow_loss(predict(transformer, noisy, levels), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(transformer.parameters(), 1.0)
        optimizer.step()
        update_average(smoothed, transformer, decay=min(0.999, step / (step + 9)))
        total += loss.item()
        if step % 100 == 0:
            pace = (time.monotonic() - started) / step
            log(f"transformer step {step}: loss {total / 100:.4f}, {pace:.3f} s a step")
            total = 0.0
        if step % 500 == 0:
            made = speak(vae, generate_latents(smoothed, 64, steps=25, seed=1), folder)
            log(f"transformer step {step}: {fluent_share(made):.0%} fluent; {made[:4]}")
            write_tensors(work / "transformer.safetensors", unshared(smoothed))
    write_tensors(work / "transformer.safetensors", unshared(smoothed))


@torch.no_grad()
def encode_all(vae: TextVAE, texts: Texts) -> Tensor:
    """Latents of all texts [count, tokens, dim], in half precision to save memory."""
    parts = torch.arange(len(texts)).split(512)
    encoded = [vae.encode(texts.prompt_ids[part], texts.is_empty[part]).half() for part in parts]
    return torch.cat(encoded)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Exponential moving average of the weights."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)


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


# Measuring ----------------------------------------------------------------------------------------


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
def measure(vae: TextVAE, transformer: JointTransformer, folder: Path) -> dict[str, float]:
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


# Writing ------------------------------------------------------------------------------------------

CARD = """\
---
license: apache-2.0
library_name: omniflow
tags: [any-to-any, rectified-flow, omniflow]
---

# tiny: the embedded OmniFlow backbone

A complete OmniFlow model in the published layout, small enough to ship: joint transformer
{transformer:,} parameters, text VAE {text_vae:,} (T5 encoder, Q-Former and Llama decoder;
{n_tokens} latents of width {vae_dim}). {size:.1f} MB, weights in bfloat16.

It was made by `scripts/make_tiny.py`, from random weights, without a download: captions of the
procedural `scenes` dataset (train split) and short pieces of Python's own language reference
(`pydoc_data.topics`, PSF licence). It speaks about coloured shapes and, less well, in short pieces
of technical English. Only its text stream is trained; the image and audio streams hold their
initial weights.

The decoder is trained on noisy latents in random order, because the text stream of the joint
transformer has no positions: what comes out of pure noise is a set of latents.

## Measured

On 500 captions of the test split, whose scenes do not occur in training. A caption counts as fluent
when each run of four words in it occurs in a training caption. English is measured on pieces of the
text that was also trained on.

| | |
| --- | --- |
{figures}

## Limits

It knows some 150 words of its captions and the vocabulary of one manual. Its tokenizers carry any
Unicode text through unchanged, but the text VAE rebuilds other languages poorly, and texts of more
than {prompt_tokens} tokens are cut. It is for trying things out and for tests, not for use.
"""


def write_folder(folder: Path, work: Path, options: argparse.Namespace, log: Log) -> None:
    """Measure the result and write it in the published layout."""
    vae, transformer = load_text_vae(work), new_transformer(0)
    stored = read_tensors(work / "transformer.safetensors")
    transformer.load_state_dict(
        {name: tensor.bfloat16().float() for name, tensor in stored.items()}, strict=False
    )
    figures = measure(vae, transformer.eval(), folder)
    for name, value in figures.items():
        log(f"{name}: {value:.3f}")
    tensors = {name: tensor for name, tensor in stored.items() if "pos_embed.pos" not in name}
    for name, tensor in read_tensors(work / "text_vae.safetensors").items():
        tensors[f"text_decoder.{name}"] = tensor
    with writing_folder(options.output) as new:
        for tokenizer in ("tokenizer_3", "vae_tokenizer"):
            shutil.copytree(folder / tokenizer, new / tokenizer)
        for name, config in (
            ("text_encoder_3/config.json", T5_CONFIG),
            ("text_vae/config.json", TEXT_VAE_CONFIG),
            ("transformer/config.json", TRANSFORMER_CONFIG),
            ("scheduler/scheduler_config.json", SCHEDULER_CONFIG),
        ):
            write_json(new / name, config)
        write_tensors(
            new / "transformer" / "diffusion_pytorch_model.safetensors",
            {name: tensor.bfloat16() for name, tensor in tensors.items()},
        )
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


# Plumbing -----------------------------------------------------------------------------------------


class Log:
    """Lines on the screen and in a file, with the seconds since the start."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a", encoding="utf-8")
        self.started = time.monotonic()

    def __call__(self, message: str) -> None:
        """Write one line."""
        line = f"{time.monotonic() - self.started:7.1f} s  {message}"
        print(line, flush=True)
        print(line, file=self.file, flush=True)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then cosine to 2 %."""
    if step < warmup:
        return step / warmup
    return 0.02 + 0.49 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def parameters(module: nn.Module) -> int:
    """Number of values that the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def unshared(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with each tensor once: tied weights under their first name."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor
    return kept


STAGES = ("tokenizers", "text-vae", "transformer", "folder")


def main() -> None:
    """Run the stages from the one asked for to the last."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--stage", choices=("all", *STAGES), default="all", help="first stage")
    parser.add_argument("--until", choices=STAGES, default="folder", help="last stage")
    parser.add_argument("--work", type=Path, default=Path("build/tiny"))
    parser.add_argument("--output", type=Path, default=Path("src/omniflow/assets/tiny"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--captions", type=int, default=100_000)
    parser.add_argument("--text-batch", type=int, default=32)
    parser.add_argument("--text-vae-steps", type=int, default=4000)
    parser.add_argument("--text-vae-lr", type=float, default=2e-3)
    parser.add_argument("--flow-captions", type=int, default=100_000)
    parser.add_argument("--flow-batch", type=int, default=96)
    parser.add_argument("--transformer-steps", type=int, default=3000)
    parser.add_argument("--transformer-lr", type=float, default=1.5e-3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folder = options.work / "folder"
    log = Log(options.work / "log.txt")
    first = 0 if options.stage == "all" else STAGES.index(options.stage)
    for stage in STAGES[first : STAGES.index(options.until) + 1]:
        torch.manual_seed(options.seed)
        if stage == "tokenizers":
            make_tokenizers(folder)
        elif stage == "text-vae":
            train_text_vae(folder, options.work, options, log)
        elif stage == "transformer":
            train_transformer(folder, options.work, options, log)
        else:
            write_folder(folder, options.work, options, log)


if __name__ == "__main__":
    main()
