"""Sizes of the published models, as far as they are known without their files.

The numbers are those that the original's debug configuration and its code give away; a published
`config.json` decides where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The joint transformer's `config.json`.
TRANSFORMER: Mapping[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "attention_head_dim": 64,
    "num_attention_heads": 24,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "audio_input_dim": 8,
    "pos_embed_max_size": 192,
    "qk_norm": "layer_norm",
}

#: The text VAE's `config.json`: TinyLlama, and what stands around it.
TEXT_VAE: Mapping[str, Any] = {
    "vocab_size": 32001,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 22,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
    "vae_config": {
        "prompt_size": 1024,
        "vae_dim": 64,
        "vae_hidden_size": 1536,
        "n_tokens": 32,
        "pre_norm": False,
        "norm_type": "layer_norm",
        "vae_scale": 1.0,
    },
}

#: The encoder of flan-t5-large.
T5: Mapping[str, Any] = {
    "vocab_size": 32128,
    "d_model": 1024,
    "d_kv": 64,
    "d_ff": 2816,
    "num_layers": 24,
    "num_heads": 16,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "feed_forward_proj": "gated-gelu",
    "dropout_rate": 0.1,
    "is_encoder_decoder": False,
    "use_cache": False,
}

#: Side of a picture in pixels, and pixels a latent.
IMAGE_SIZE, IMAGE_FACTOR = 512, 8

#: Tokens of a text that both CLIP encoders read, and their widths side by side.
CLIP_TOKENS, CLIP_WIDTH = 77, 2048
