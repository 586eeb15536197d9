"""LanguageBind encoder: the projected embedding of a sound."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omniflow.checkpoints import read_json
from omniflow.errors import CheckpointError
from omniflow.interfaces.encoder import Encoder
from omniflow.models.languagebind_pixels import RATE_HZ, PixelConfig, sound_pixels
from omniflow.pretrained import PretrainedSource

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Audio, Sample

_MODEL_TYPE = "LanguageBindAudio"


class LanguageBindEncoder(Encoder):
    """The audio tower of LanguageBind with its projection; the embedding is not normalised.

    The whole sound is heard, its first channel: short ones are repeated, of long ones the
    beginning, the middle and the end are looked at.

    Args:
        path: A local folder, or a Hub id.
        revision: Branch, tag or commit on the Hub; its main branch when null.

    Raises:
        CheckpointError: If a file of a local folder is missing or damaged, or the model is of a
            variant that is not supported.
        UsageError: If the Hub cannot be reached or does not have the model.
        ConfigError: If a folder comes with a revision.
    """

    modalities = ("audio",)

    def __init__(
        self, *, path: str = "LanguageBind/LanguageBind_Audio_FT", revision: str | None = None
    ) -> None:
        super().__init__()
        self._source = PretrainedSource(path, revision=revision)
        self._config, self.pixels = _read_config(self._source)
        self._source.check_weights()

    @property
    def width(self) -> int:
        """Size of one embedding."""
        width: int = self._config.projection_dim
        return width

    def load_weights(self) -> None:
        """Read the tower that the constructor only looked up."""
        from omniflow.models.languagebind import LanguageBindAudioTower

        self.tower: nn.Module = self._source.read_model(LanguageBindAudioTower, self._config)

    @torch.no_grad()
    def encode(self, samples: Sequence[Sample], modality: str) -> Tensor:
        """Embed the sound of every sample: [batch, width]."""
        return self.embed([sample.audio for sample in samples if sample.audio is not None])

    @torch.no_grad()
    def embed(self, sounds: Sequence[Audio]) -> Tensor:
        """Embed sounds of any rate, channel count and length: [batch, width].

        Raises:
            DataError: If a sound cannot be used.
        """
        device = next(self.tower.parameters()).device
        pictures = torch.stack([sound_pixels(sound, self.pixels) for sound in sounds])
        embeddings: Tensor = self.tower(pictures.to(device)).image_embeds
        return embeddings


def _read_config(source: PretrainedSource) -> tuple[Any, PixelConfig]:
    """Sizes of the tower and of its picture; the defaults are those of LanguageBind's classes."""
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
