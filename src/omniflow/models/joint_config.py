"""Sizes and choices of the joint transformer, as its `config.json` names them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omniflow.errors import ConfigError, UnknownNameError, closest

QK_NORMS = ("layer_norm", "rms_norm")

_FLAGS = ("add_audio", "add_clip", "use_audio_mae", "drop_text", "drop_image", "drop_audio")


@dataclass(frozen=True)
class JointTransformerConfig:
    """Configuration of `JointTransformer`; the names are those of the published `config.json`.

    Args:
        sample_size: Side of an image latent; sets the scale of the image positions only.
        patch_size: Side of an image patch.
        in_channels: Channels of an image latent.
        out_channels: Channels of the predicted image velocity; `in_channels` when None.
        num_layers: Number of blocks.
        attention_head_dim: Width of one attention head.
        num_attention_heads: Attention heads; heads times head width is the inner width.
        joint_attention_dim: Width of a text token.
        caption_projection_dim: Must equal the inner width.
        pooled_projection_dim: Width of the pooled condition.
        audio_input_dim: Channels of an audio latent, or width of an audio token.
        pos_embed_max_size: Side of the image position table, in patches.
        dual_attention_layers: Layers with three unused pieces in the image modulation.
        decoder_config: Must be empty; the text decoder is a model of its own.
        add_audio: Must be true; a model without an audio stream cannot predict text.
        add_clip: Must be false; such weights exist but nothing computes with them.
        use_audio_mae: Audio is a token sequence [batch, tokens, audio_input_dim], not a latent map.
        drop_text: Leave the text stream's parts out of the blocks; text must then not be passed.
        drop_image: The same for the image stream.
        drop_audio: The same for the audio stream.
        qk_norm: Norm of queries and keys: `layer_norm` (one pair for all streams), `rms_norm` (one
            pair a stream) or None.
        audio_height: Rows (time) of an audio latent.
        audio_width: Columns (mel) of an audio latent.
        audio_patch_size: Side of an audio patch.
        audio_pos_embed_max_size: Side of the audio position table, in patches.
        audio_sample_size: Sets the scale of the audio positions, as `sample_size` does for images.

    Raises:
        ConfigError: If a value is impossible or belongs to a variant that is not supported.
    """

    sample_size: int = 128
    patch_size: int = 2
    in_channels: int = 16
    out_channels: int | None = 16
    num_layers: int = 18
    attention_head_dim: int = 64
    num_attention_heads: int = 18
    joint_attention_dim: int = 4096
    caption_projection_dim: int = 1152
    pooled_projection_dim: int = 2048
    audio_input_dim: int = 8
    pos_embed_max_size: int = 96
    dual_attention_layers: tuple[int, ...] = ()
    decoder_config: str = ""
    add_audio: bool = True
    add_clip: bool = False
    use_audio_mae: bool = False
    drop_text: bool = False
    drop_image: bool = False
    drop_audio: bool = False
    qk_norm: str | None = "layer_norm"
    audio_height: int = 256
    audio_width: int = 16
    audio_patch_size: int = 2
    audio_pos_embed_max_size: int = 192
    audio_sample_size: int = 256

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if isinstance(field.default, int) and not isinstance(field.default, bool):
                self._check_size(field.name)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(name, getattr(self, name), expected="true or false")
        self._check_layers()
        self._check_supported()
        self._check_widths()
        self._check_grid("sample_size", "patch_size")
        if not self.use_audio_mae:
            self._check_audio()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> JointTransformerConfig:
        """Read the contents of a `config.json`; keys with a leading underscore are passed over.

        Raises:
            UnknownNameError: If a key is not one of this configuration.
            ConfigError: If a value is impossible or not supported.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        given = {name: value for name, value in values.items() if not name.startswith("_")}
        for name in given:
            if name not in known:
                raise UnknownNameError("key of the transformer config", name, known)
        if isinstance(given.get("dual_attention_layers"), list):
            given["dual_attention_layers"] = tuple(given["dual_attention_layers"])
        if given.get("decoder_config", "") is None:
            given["decoder_config"] = ""
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """Every key as plain JSON data; `from_dict` reads it back to an equal configuration."""
        values = dataclasses.asdict(self)
        return {**values, "dual_attention_layers": list(self.dual_attention_layers)}

    @property
    def inner_dim(self) -> int:
        """Width of a token inside the blocks."""
        return self.num_attention_heads * self.attention_head_dim

    @property
    def image_out_channels(self) -> int:
        """Channels of the predicted image velocity."""
        return self.in_channels if self.out_channels is None else self.out_channels

    @property
    def audio_shape(self) -> tuple[int, ...]:
        """Shape of one silent audio: an audio latent, or eight tokens with `use_audio_mae`."""
        if self.use_audio_mae:
            return (8, self.audio_input_dim)
        return (self.audio_input_dim, self.audio_height, self.audio_width)

    def _check_size(self, name: str) -> None:
        value = getattr(self, name)
        if name == "out_channels" and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(name, value, expected="a whole number >= 1")

    def _check_layers(self) -> None:
        layers = self.dual_attention_layers
        whole = isinstance(layers, tuple) and all(type(layer) is int for layer in layers)
        if not whole:
            raise ConfigError("dual_attention_layers", layers, expected="a list of layer numbers")

    def _check_supported(self) -> None:
        if self.qk_norm is not None and self.qk_norm not in QK_NORMS:
            raise ConfigError(
                "qk_norm",
                self.qk_norm,
                expected="layer_norm, rms_norm or null",
                nearest=closest(str(self.qk_norm), QK_NORMS),
            )
        if self.decoder_config:
            raise ConfigError(
                "decoder_config",
                self.decoder_config,
                expected="an empty text: a decoder inside the transformer is not supported",
            )
        if self.add_clip:
            raise ConfigError(
                "add_clip", True, expected="false: CLIP inside the transformer is not supported"
            )
        if not self.add_audio:
            raise ConfigError(
                "add_audio", False, expected="true: a model without an audio stream is unsupported"
            )

    def _check_widths(self) -> None:
        dim = self.inner_dim
        product = f"{self.num_attention_heads} heads x {self.attention_head_dim}"
        if self.caption_projection_dim != dim:
            raise ConfigError(
                "caption_projection_dim",
                self.caption_projection_dim,
                expected=f"{dim}, the inner width ({product})",
            )
        if dim % 4:
            raise ConfigError(
                "attention_head_dim",
                self.attention_head_dim,
                expected=f"an inner width that is a multiple of 4, not {dim} ({product})",
            )

    def _check_grid(self, sample_name: str, patch_name: str) -> None:
        sample, patch = getattr(self, sample_name), getattr(self, patch_name)
        if sample < patch:
            raise ConfigError(sample_name, sample, expected=f"at least {patch_name}, {patch}")

    def _check_audio(self) -> None:
        self._check_grid("audio_sample_size", "audio_patch_size")
        for name in ("audio_height", "audio_width"):
            value, patch = getattr(self, name), self.audio_patch_size
            if value % patch or value // patch > self.audio_pos_embed_max_size:
                raise ConfigError(
                    name,
                    value,
                    expected=f"a multiple of audio_patch_size, {patch}, of at most "
                    f"audio_pos_embed_max_size, {self.audio_pos_embed_max_size}, patches",
                )
