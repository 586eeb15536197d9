"""The configuration of LanguageBind's audio tower, as its `config.json` has it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from omniflow.checkpoints import read_json
from omniflow.errors import CheckpointError
from omniflow.models.languagebind_pixels import RATE_HZ, PixelConfig

if TYPE_CHECKING:
    from omniflow.pretrained import PretrainedSource

_MODEL_TYPE = "LanguageBindAudio"


def read_audio_tower_config(source: PretrainedSource) -> tuple[Any, PixelConfig]:
    """Sizes of the tower and of its picture; the defaults are those of LanguageBind's classes.

    Raises:
        CheckpointError: If the file is missing or damaged, or says an unsupported variant.
    """
    from transformers import CLIPVisionConfig

    file = source.require("config.json") / "config.json"
    content = read_json(file)
    found = content.get("model_type") if isinstance(content, dict) else None
    if found != _MODEL_TYPE:
        raise CheckpointError(f"its model_type is {found!r}", where=str(file), expected=_MODEL_TYPE)
    vision = content.get("vision_config")
    if not isinstance(vision, dict):
        raise CheckpointError("it has no vision_config", where=str(file), expected="an object")
    if vision.get("add_time_attn", False):
        raise CheckpointError(
            "add_time_attn is true", where=str(file), expected="false: it is not supported"
        )
    _check_picture(vision, str(file))
    settings = {
        "hidden_act": "quick_gelu",
        **vision,
        "model_type": CLIPVisionConfig.model_type,
        "projection_dim": content.get("projection_dim", vision.get("projection_dim", 512)),
    }
    try:
        config = CLIPVisionConfig.from_dict(settings)
    # Its checks raise errors of its own library's making.
    except Exception as error:
        raise CheckpointError(
            f"its vision_config cannot be used ({' '.join(str(error).split())[:200]})",
            where=str(file),
        ) from error
    return config, PixelConfig(
        mel_bins=vision["num_mel_bins"],
        frames=vision["target_length"],
        mean=vision.get("audio_mean", 0.5),
        std=vision.get("audio_std", 0.5),
    )


def _check_picture(vision: dict[str, Any], where: str) -> None:
    rate = vision.get("audio_sample_rate", RATE_HZ)
    if rate != RATE_HZ:
        raise CheckpointError(f"audio_sample_rate is {rate!r}", where=where, expected=str(RATE_HZ))
    patch = vision.get("patch_size", 32)
    for name in ("num_mel_bins", "target_length"):
        value = vision.get(name, 0)
        if type(value) is not int or type(patch) is not int or not 0 < patch <= value:
            raise CheckpointError(
                f"{name} is {value!r}", where=where, expected=f"at least the patch size, {patch!r}"
            )
    for name in ("audio_mean", "audio_std"):
        value = vision.get(name, 0.5)
        is_number = isinstance(value, int | float) and math.isfinite(value)
        if not is_number or (name == "audio_std" and value == 0):
            raise CheckpointError(f"{name} is {value!r}", where=where, expected="a finite number")
