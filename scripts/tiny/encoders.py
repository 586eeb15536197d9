"""Encoders of `tiny`: CLIP-like towers of text and image, and a LanguageBind-like one of audio."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import (
    CLIPConfig,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from omniflow.checkpoints import read_tensors, write_tensors
from omniflow.files import write_json
from omniflow.models.kaldi_fbank import kaldi_fbank

from .autoencoders import IMAGE_SIZE
from .plumbing import rounded, unshared

WIDTH = 64
CLIP_TOKENS = 40
CLIP_MERGES = 600
START, END = "<|startoftext|>", "<|endoftext|>"
PIXEL_MEAN, PIXEL_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

#: What the audio tower reads, in the names of LanguageBind's configuration.
AUDIO_SETTINGS = {
    "num_mel_bins": 64,
    "target_length": 112,
    "audio_sample_rate": 16_000,
    "audio_mean": -6.0,
    "audio_std": 6.0,
    "num_frames": 1,
    "add_time_attn": False,
}
#: Layers of the two text towers.
TEXT_LAYERS = {"text_encoder": 2, "text_encoder_2": 3}


def make_clip_tokenizer(captions: list[str], folder: Path) -> None:
    """Train CLIP's byte-pair encoding on captions and write `vocab.json` and `merges.txt`."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trainer = trainers.BpeTrainer(
        vocab_size=CLIP_MERGES,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*letters, *(f"{letter}</w>" for letter in letters)]
    tokens += dict.fromkeys("".join(pair) for pair in merges)
    tokens = list(dict.fromkeys([*tokens, START, END]))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END}
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "CLIPTokenizer", "model_max_length": CLIP_TOKENS, **special},
    )
    write_json(folder / "special_tokens_map.json", special)


def clip_ids(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Ids [batch, 40], padded with the end mark, as the backbone reads them."""
    return tokenizer(
        texts,
        padding="max_length",
        max_length=CLIP_TOKENS,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def text_config(tokenizer: CLIPTokenizer, layers: int) -> CLIPTextConfig:
    """Sizes of one text tower."""
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=layers,
        num_attention_heads=4,
        max_position_embeddings=CLIP_TOKENS,
        projection_dim=WIDTH,
        hidden_act="gelu",
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def vision_config(patch_size: int) -> CLIPVisionConfig:
    """Sizes of the image tower, and of the audio tower but for its oblong grid."""
    return CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=patch_size,
        projection_dim=WIDTH,
        hidden_act="gelu",
    )


class Towers(nn.Module):
    """The four towers and the temperature of their comparison."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder, self.text_encoder_2 = (
            CLIPTextModelWithProjection(text_config(tokenizer, layers))
            for layers in TEXT_LAYERS.values()
        )
        self.image = CLIPVisionModelWithProjection(vision_config(8))
        # An oblong grid of patches is a square one with fewer: 4 by 7 of 16 by 16 mel values.
        self.audio = CLIPVisionModelWithProjection(vision_config(16))
        self.logit_scale = nn.Parameter(torch.tensor(2.66))
        rows, columns = (AUDIO_SETTINGS[name] // 16 for name in ("num_mel_bins", "target_length"))
        embeddings = self.audio.vision_model.embeddings
        embeddings.position_embedding = nn.Embedding(1 + rows * columns, WIDTH)
        nn.init.normal_(embeddings.position_embedding.weight, std=0.02)

    def embed_audio(self, fbanks: Tensor) -> Tensor:
        """Embeddings [batch, 64] of three-channel fbank pictures [batch, 3, 64, 112]."""
        vision = self.audio.vision_model
        patches = vision.embeddings.patch_embedding(fbanks).flatten(2).transpose(1, 2)
        first = vision.embeddings.class_embedding.expand(len(fbanks), 1, -1)
        hidden = torch.cat([first, patches], dim=1) + vision.embeddings.position_embedding.weight
        hidden = vision.encoder(inputs_embeds=vision.pre_layrnorm(hidden)).last_hidden_state
        return self.audio.visual_projection(vision.post_layernorm(hidden[:, 0]))

    def forward(self, ids: Tensor, pixels: Tensor, fbanks: Tensor) -> dict[str, Tensor]:
        """Embeddings [batch, 64] by tower."""
        return {
            "text_encoder": self.text_encoder(ids).text_embeds,
            "text_encoder_2": self.text_encoder_2(ids).text_embeds,
            "image": self.image(pixels).image_embeds,
            "audio": self.embed_audio(fbanks),
        }


def fbank_pictures(waves: Tensor) -> Tensor:
    """What LanguageBind's processor makes of short sounds [batch, samples]: [batch, 3, 64, 112]."""
    bins, frames = AUDIO_SETTINGS["num_mel_bins"], AUDIO_SETTINGS["target_length"]
    samples = frames * AUDIO_SETTINGS["audio_sample_rate"] // 100
    padded = waves.repeat(1, samples // waves.shape[1])
    padded = F.pad(padded, (0, samples - padded.shape[1]))
    rows = torch.stack([kaldi_fbank(wave, mel_bins=bins) for wave in padded])
    rows = F.pad(rows, (0, 0, 0, frames - rows.shape[1])).transpose(1, 2)
    normalised = (rows - AUDIO_SETTINGS["audio_mean"]) / AUDIO_SETTINGS["audio_std"]
    return normalised[:, None].expand(-1, 3, -1, -1)


def write_towers(towers: Towers, work: Path) -> None:
    """Write `text_encoder` (text and image tower), `text_encoder_2` and `audio_encoder`."""
    clip = CLIPConfig(
        text_config=towers.text_encoder.config.to_dict(),
        vision_config=towers.image.config.to_dict(),
        projection_dim=WIDTH,
    )
    audio = CLIPConfig(
        text_config=towers.text_encoder.config.to_dict(),
        vision_config={**towers.audio.config.to_dict(), **AUDIO_SETTINGS},
        projection_dim=WIDTH,
    )
    folders = {
        "text_encoder": (clip, {**unshared(towers.text_encoder), **unshared(towers.image)}),
        "text_encoder_2": (towers.text_encoder_2.config, unshared(towers.text_encoder_2)),
        "audio_encoder": (audio, unshared(towers.audio)),
    }
    for name, (config, tensors) in folders.items():
        values = config.to_diff_dict() if name == "text_encoder_2" else config.to_dict()
        if name == "audio_encoder":
            values = {**values, "model_type": "LanguageBindAudio"}
        write_json(work / name / "config.json", values)
        write_tensors(
            work / name / "model.safetensors",
            {
                key: tensor.bfloat16()
                for key, tensor in tensors.items()
                if tensor.is_floating_point()
            },
        )
    write_json(
        work / "text_encoder" / "preprocessor_config.json",
        {
            "image_processor_type": "CLIPImageProcessor",
            "size": {"shortest_edge": IMAGE_SIZE},
            "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            "resample": 3,
            "do_convert_rgb": True,
            "do_resize": True,
            "do_center_crop": True,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": PIXEL_MEAN,
            "image_std": PIXEL_STD,
        },
    )


def load_towers(work: Path) -> tuple[Towers, CLIPTokenizer]:
    """The towers that their stage left behind, frozen, as they are shipped."""
    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    towers = Towers(tokenizer)
    for folder, modules in (
        ("text_encoder", (towers.text_encoder, towers.image)),
        ("text_encoder_2", (towers.text_encoder_2,)),
        ("audio_encoder", (towers.audio,)),
    ):
        tensors = rounded(read_tensors(work / folder / "model.safetensors"))
        for module in modules:
            kept = {name: tensors[name] for name in module.state_dict() if name in tensors}
            module.load_state_dict(kept, strict=False)
    return towers.eval().requires_grad_(False), tokenizer
