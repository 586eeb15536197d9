"""The joint transformer: image velocity, clean text latents and audio velocity in one network."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor, nn

from omniflow.errors import ConfigError, UsageError
from omniflow.interfaces.backbone import Streams
from omniflow.interfaces.recomputing import Recomputing
from omniflow.models.joint_block import FinalModulation, JointBlock
from omniflow.models.joint_config import JointTransformerConfig
from omniflow.models.joint_embeddings import ConditionEmbedding, PatchEmbedding, unpatchify
from omniflow.models.joint_inputs import check_streams, check_timestep
from omniflow.models.recomputation import checkpointed

__all__ = ["JointOutput", "JointTransformer", "JointTransformerConfig"]


@dataclass(frozen=True)
class JointOutput:
    """What the network says about each stream; None for a stream that was not passed.

    Args:
        image: Predicted image velocity [batch, image_out_channels, height, width].
        text: Predicted clean text latents (x0) [batch, tokens, text_output_dim]; None without
            `predict_text`.
        text_hidden: What the last text projection reads [batch, tokens, joint_attention_dim];
            None without `predict_text`.
        text_stream: Text tokens after the blocks [batch, tokens, inner_dim].
        audio: Predicted audio velocity, of the shape of the audio passed in.
    """

    image: Tensor | None = None
    text: Tensor | None = None
    text_hidden: Tensor | None = None
    text_stream: Tensor | None = None
    audio: Tensor | None = None


class JointTransformer(nn.Module, Recomputing):
    """Joint multi-modal diffusion transformer (OmniFlow, arXiv 2412.01169, section 3).

    Three streams attend to one another in every block. Names and order of the parameters are those
    of the published checkpoints, and so are the two misleading ones: `time_text_embed` conditions
    the image, `time_image_embed` the text. The position tables are buffers of the state dict; on
    the meta device they are not computed (see `reset_positions`).

    `ff_context` and the text query of the last block are in the weights and touch no output: they
    get no gradient.

    Args:
        config: Sizes and choices.
        text_output_dim: Width of a predicted text latent.

    Attributes:
        gradient_checkpointing: Recompute each block in the backward pass instead of keeping its
            activations.
    """

    def __init__(self, config: JointTransformerConfig, *, text_output_dim: int) -> None:
        super().__init__()
        if text_output_dim < 1:
            raise ConfigError("text_output_dim", text_output_dim, expected="a whole number >= 1")
        self.config = config
        dim, text_dim, pooled_dim = (
            config.inner_dim,
            config.joint_attention_dim,
            config.pooled_projection_dim,
        )
        # The order of registration is the order of the published EMA list.
        self.pos_embed = PatchEmbedding(
            channels=config.in_channels,
            dim=dim,
            patch_size=config.patch_size,
            table_size=config.pos_embed_max_size,
            base_size=config.sample_size // config.patch_size,
        )
        self.time_text_embed = ConditionEmbedding(dim, pooled_dim)
        self.time_image_embed = ConditionEmbedding(dim, pooled_dim)
        self.audio_embedder = _audio_embedder(config)
        self.time_aud_embed = ConditionEmbedding(dim, pooled_dim)
        self.norm_out_aud = FinalModulation(dim, dim)
        audio_patch = 1 if config.use_audio_mae else config.audio_patch_size
        self.proj_out_aud = nn.Linear(dim, audio_patch**2 * config.audio_input_dim)
        self.context_embedder = nn.Linear(text_dim, dim)
        self.context_decoder = nn.Sequential(OrderedDict(projection=nn.Linear(dim, text_dim)))
        self.text_output = nn.Linear(text_dim, text_output_dim)
        self.transformer_blocks = nn.ModuleList(
            JointBlock(
                dim,
                config.num_attention_heads,
                qk_norm=config.qk_norm,
                is_last=index == config.num_layers - 1,
                has_dual_modulation=index in config.dual_attention_layers,
                has_image=not config.drop_image,
                has_text=not config.drop_text,
                has_audio=not config.drop_audio,
            )
            for index in range(config.num_layers)
        )
        self.norm_out = FinalModulation(dim, dim)
        self.norm_out_text = FinalModulation(text_dim, dim)
        self.proj_out = nn.Linear(dim, config.patch_size**2 * config.image_out_channels)

    def forward(
        self,
        *,
        image: Tensor | None = None,
        text: Tensor | None = None,
        audio: Tensor | None = None,
        pooled: Tensor,
        timestep_image: Tensor | None = None,
        timestep_text: Tensor | None = None,
        timestep_audio: Tensor | None = None,
        split_cond: bool = False,
        predict_text: bool = True,
    ) -> JointOutput:
        """Predict for every stream that is passed; a stream left out is not computed at all.

        Each stream has a condition vector, from its timestep and `pooled`. Without `split_cond` the
        vectors of the present streams are added, and the sum conditions all of them. The original
        fails when the image is left out of that sum; here it is the sum over the streams that are
        present, for an image as for any other.

        With `split_cond` each stream is conditioned on its own vector. Text that comes without a
        timestep has none: it takes the image's, or without an image, where the original fails, the
        audio's.

        A stream left out is not the same as one at timestep 1000, which adds to the condition.
        "No sound", as the original fills in for a missing audio, is zeros at timestep 0.

        Args:
            image: Noisy image latents [batch, in_channels, height, width]; a remainder that fills
                no patch is cut off.
            text: Text tokens [batch, tokens, joint_attention_dim].
            audio: Noisy audio latents [batch, audio_input_dim, audio_height, audio_width], or
                tokens [batch, tokens, audio_input_dim] with `use_audio_mae`.
            pooled: Pooled condition [batch, pooled_projection_dim], or [1, ...] for all alike.
            timestep_image: Noise level times 1000, [batch] or [1], any real or integer dtype.
            timestep_text: The same for text; None, without `predict_text`, for text that is a
                condition and has no noise level.
            timestep_audio: The same for audio.
            split_cond: Condition each stream on its own timestep only.
            predict_text: Predict clean text latents. The other predictions are the same without.

        Raises:
            UsageError: If there is no stream, a timestep is missing, a shape does not fit, or a
                stream is passed whose parts the configuration drops.
        """
        given = Streams(image, text, audio)
        check_streams(self.config, given, pooled)
        timesteps = Streams(timestep_image, timestep_text, timestep_audio)
        has_text_vector = predict_text or timestep_text is not None
        conditions = self._conditions(given, timesteps, pooled, split_cond, has_text_vector)
        tokens = Streams(
            image=None if image is None else self.pos_embed(image),
            text=None if text is None else self.context_embedder(text),
            audio=None if audio is None else self.audio_embedder(audio),
        )
        for block in self.transformer_blocks:
            tokens = self._run(block, tokens, conditions)
        hidden = self._text_hidden(tokens, conditions) if predict_text else None
        return JointOutput(
            image=self._image_velocity(image, tokens, conditions),
            text=None if hidden is None else self.text_output(hidden),
            text_hidden=hidden,
            text_stream=tokens.text,
            audio=self._audio_velocity(tokens, conditions),
        )

    def reset_positions(self) -> None:
        """Compute the position tables anew, where the weights are and in their dtype.

        For a network built on the meta device, when a checkpoint comes without the tables.
        """
        for embedding in (self.pos_embed, self.audio_embedder):
            if isinstance(embedding, PatchEmbedding):
                embedding.reset_positions()

    def _run(self, block: nn.Module, tokens: Streams, conditions: Streams) -> Streams:
        if self.gradient_checkpointing and torch.is_grad_enabled():
            updated: Streams = checkpointed(block, tokens, conditions)
        else:
            updated = block(tokens, conditions)
        return updated

    def _conditions(
        self,
        given: Streams,
        timesteps: Streams,
        pooled: Tensor,
        split_cond: bool,
        has_text_vector: bool,
    ) -> Streams:
        """The condition vector [batch, inner_dim] of every stream."""
        embedders = (self.time_text_embed, self.time_image_embed, self.time_aud_embed)
        own: list[Tensor | None] = [None, None, None]
        for index, (name, part, timestep) in enumerate(
            zip(Streams._fields, given, timesteps, strict=True)
        ):
            if part is None or (name == "text" and not has_text_vector):
                continue
            check_timestep(name, timestep, len(part))
            own[index] = embedders[index](timestep, pooled)
        known = Streams(*own).present()
        if not known:
            raise UsageError(
                "text alone has no timestep to go by",
                where="joint transformer",
                expected="timestep_text, or an image or audio stream beside the text",
            )
        if not split_cond:
            total = reduce(torch.add, known)
            return Streams(total, total, total)
        # Image first: text without a timestep goes by the image if there is one.
        return Streams(*(known[0] if vector is None else vector for vector in own))

    def _image_velocity(
        self, image: Tensor | None, tokens: Streams, conditions: Streams
    ) -> Tensor | None:
        if image is None:
            return None
        patch = self.config.patch_size
        return unpatchify(
            self.proj_out(self.norm_out(tokens.image, conditions.image)),
            height=image.shape[2] // patch,
            width=image.shape[3] // patch,
            patch_size=patch,
        )

    def _text_hidden(self, tokens: Streams, conditions: Streams) -> Tensor | None:
        if tokens.text is None:
            return None
        projected = self.context_decoder(tokens.text)
        hidden: Tensor = self.norm_out_text(projected, conditions.text)
        return hidden

    def _audio_velocity(self, tokens: Streams, conditions: Streams) -> Tensor | None:
        if tokens.audio is None:
            return None
        velocity: Tensor = self.proj_out_aud(self.norm_out_aud(tokens.audio, conditions.audio))
        if self.config.use_audio_mae:
            return velocity
        patch = self.config.audio_patch_size
        return unpatchify(
            velocity,
            height=self.config.audio_height // patch,
            width=self.config.audio_width // patch,
            patch_size=patch,
        )


def _audio_embedder(config: JointTransformerConfig) -> nn.Module:
    if config.use_audio_mae:
        return nn.Linear(config.audio_input_dim, config.inner_dim)
    return PatchEmbedding(
        channels=config.audio_input_dim,
        dim=config.inner_dim,
        patch_size=config.audio_patch_size,
        table_size=config.audio_pos_embed_max_size,
        base_size=config.audio_sample_size // config.audio_patch_size,
    )
