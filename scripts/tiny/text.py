"""Text part of `tiny`: two tokenizers and the text VAE.

Two things differ from the published models on purpose, both in how the text VAE is trained:

- Latents get Gaussian noise before they are decoded, so that near-by latents mean the same and the
  decoder bears what a transformer or a head predicts.
- Latents are shuffled along the token axis before they are decoded. The text stream of the joint
  transformer has no positions, and from pure noise no token can know which of them it is: what it
  makes is a set. A decoder that reads sets can read it.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast, T5Config

from omniflow.checkpoints import read_json, read_tensors, write_tensors
from omniflow.datasets.scenes import ScenesDataset
from omniflow.files import write_json
from omniflow.models.text_vae import TextVAE, TextVAEConfig

from .plumbing import Log, batches, parameters, rounded, schedule, set_lr, unshared

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
    _, unexpected = vae.load_state_dict(rounded(stored), strict=False)
    assert not unexpected, unexpected
    return vae.eval().requires_grad_(False)


@torch.no_grad()
def encode_all(vae: TextVAE, texts: Texts) -> Tensor:
    """Latents of all texts [count, tokens, dim], in half precision to save memory."""
    parts = torch.arange(len(texts)).split(512)
    encoded = [vae.encode(texts.prompt_ids[part], texts.is_empty[part]).half() for part in parts]
    return torch.cat(encoded)
