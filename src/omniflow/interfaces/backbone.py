"""Backbone: a generative OmniFlow model, seen from the heads, objectives and samplers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.errors import UsageError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from omniflow.interfaces.dataset import Audio
    from omniflow.interfaces.text_decoding import TextDecoding


class Streams(NamedTuple):
    """One value a stream, None for a stream that is absent, in the order of concatenation.

    Holds latents, tokens, noise levels or condition vectors of each stream.
    """

    image: Tensor | None = None
    text: Tensor | None = None
    audio: Tensor | None = None

    def present(self) -> list[Tensor]:
        """The tensors that are there, in order."""
        return [tensor for tensor in self if tensor is not None]


@dataclass(frozen=True)
class JointPrediction:
    """What the joint transformer says about each stream; None for a stream that was not passed.

    Args:
        image: Predicted image velocity, noise minus data, of the shape of the image latents.
        text: Features of the text stream, for heads; None without `predict_text`.
        audio: Predicted audio velocity, of the shape of the audio latents.
    """

    image: Tensor | None
    text: TextFeatures | None
    audio: Tensor | None


@dataclass(frozen=True)
class TextCondition:
    """A text as the joint transformer reads it when it is given beside another modality.

    Args:
        states: Token states of the CLIP text encoders side by side [batch, tokens, width].
        pooled: Their projected embeddings side by side [batch, pooled_dim].
    """

    states: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class TextFeatures:
    """What the transformer says about the text stream.

    Args:
        hidden: What the backbone's own last text projection reads
            [batch, tokens, joint_attention_dim].
        x0: What it writes: the predicted clean latents [batch, tokens, latent_dim].
    """

    hidden: Tensor
    x0: Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Texts ready for the text VAE.

    Args:
        prompt_ids: Ids for the T5 encoder [batch, prompt_tokens].
        is_empty: Whether the prompt is the empty string [batch], bool.
        input_ids: Ids for the text decoder [batch, tokens]: BOS, the text, EOS, padding on the
            right.
        labels: `input_ids` with padding replaced by -100 [batch, tokens]; they stay on the CPU,
            where the loss looks for what has to be predicted.
        cut: How many of the texts were longer than `max_length` and have been cut.
    """

    prompt_ids: Tensor
    is_empty: Tensor
    input_ids: Tensor
    labels: Tensor
    cut: int


class Backbone(nn.Module, ABC):
    """Base of every backbone: the frozen generative model that heads and refiners are trained on.

    Construction reads configuration only; `load_weights` fills the tensors in, so that everything
    that can be refused is refused before a weight is read.
    """

    #: Partial recipe for this backbone: options that suit its size, below anything a person says.
    recipe_defaults: ClassVar[Mapping[str, Any]] = {}

    #: Settings of sampling that suit this backbone, by name (see `SamplingSettings`), and below
    #: `tasks` those for single tasks: `{"steps": 20, "tasks": {"t2i": {"guidance": 4.0}}}`.
    sampling_defaults: ClassVar[Mapping[str, Any]] = {}

    #: Which streams can be made from raw inputs: those with an autoencoder.
    modalities: tuple[str, ...]
    latent_dim: int
    latent_tokens: int
    pooled_dim: int
    feature_dims: Mapping[str, int]

    #: The network that predicts all streams; what an objective with `trains_backbone` trains.
    transformer: nn.Module

    #: The last text projection, features to latents: weight [latent_dim, joint_attention_dim].
    text_projection: nn.Linear

    @abstractmethod
    def load_weights(self, *, device: torch.device | None = None) -> None:
        """Read the weights that the constructor only looked up.

        Args:
            device: Where they go, without a stop on the CPU if it can be helped; the CPU when
                None.
        """

    @abstractmethod
    def identity(self) -> dict[str, str]:
        """What a saved model needs to find this backbone again: id, revision, content hash."""

    def work_identity(self, work: str) -> Mapping[str, str] | None:
        """What shapes a frozen value beside the content it is made of, for the key of the cache.

        Hashes of the weights, and of every configuration and file that preprocessing reads; the
        component, its distribution, the code and the versions of packages are added to it.

        Args:
            work: text_latents, image_latents, audio_latents; text_states and text_pooled, as
                `condition_text` makes them; image_pooled, audio_pooled. Text latents are keyed by
                what `encode_text` reads, so that its tokenizer need not be named.

        Returns:
            None, the default, for what must not be kept.
        """
        return None

    @abstractmethod
    def tokenise(self, texts: Sequence[str], *, max_length: int) -> TokenBatch:
        """Texts to ids, on the CPU; touches no weight, so that a data worker can do it."""

    @abstractmethod
    def encode_text(self, prompt_ids: Tensor, is_empty: Tensor) -> Tensor:
        """Clean text latents [batch, latent_tokens, latent_dim] (mean path, no sampling)."""

    @abstractmethod
    def text_features(
        self, text_latents: Tensor, timesteps: Tensor, pooled: Tensor | None = None
    ) -> TextFeatures:
        """Run the joint transformer on a text stream alone.

        Args:
            text_latents: Noisy text latents [batch, tokens, latent_dim].
            timesteps: Noise level of the text times 1000, [batch].
            pooled: Pooled condition [batch, pooled_dim]; zeros when None.
        """

    def predict(
        self,
        streams: Streams,
        timesteps: Streams,
        pooled: Tensor,
        *,
        split_cond: bool = False,
        predict_text: bool = True,
    ) -> JointPrediction:
        """Run the joint transformer on the streams that are passed.

        A backbone with a text stream alone need not implement it: `text_features` is used.

        Args:
            streams: Noisy or clean latents, all of one batch size: image [batch, channels, height,
                width], text [batch, tokens, up to joint_attention_dim], audio of the shape of
                `latent_shape("audio")`. Text that is narrower than the text stream is padded with
                zeros on the right.
            timesteps: Noise level times 1000 of each stream, [batch] or [1]. Text that is not
                predicted may come without one: a condition that has no noise level.
            pooled: Pooled condition [batch, pooled_dim].
            split_cond: Condition each stream on its own timestep only.
            predict_text: Whether anything is said about the text stream. What is said about the
                others is the same without.
        """
        if streams.text is None or timesteps.text is None or len(streams.present()) > 1:
            raise self._lacks("image or audio stream")
        if not predict_text:
            return JointPrediction(None, None, None)
        levels = timesteps.text.expand(len(streams.text))
        return JointPrediction(None, self.text_features(streams.text, levels, pooled), None)

    def latent_shape(
        self, modality: str, *, height: int | None = None, width: int | None = None
    ) -> tuple[int, ...]:
        """Shape of one sample's latents: what is denoised when the modality is made.

        Args:
            modality: image, text or audio.
            height: Height of a made picture in pixels; the backbone's own when None.
            width: Width of a made picture in pixels, likewise.

        Raises:
            ConfigError: If a picture cannot have that size.
        """
        raise self._lacks(modality)

    def encode_image(self, images: Sequence[Image], *, noise: Tensor | None = None) -> Tensor:
        """Clean image latents [batch, channels, height, width], float32, scaled.

        Args:
            images: Pictures of any size and mode.
            noise: Gaussian draws of the posterior's sample, of the shape of the result; its mean
                when None.
        """
        raise self._lacks("image")

    def decode_image(self, latents: Tensor) -> list[Image]:
        """Pictures from scaled latents [batch, channels, height, width]."""
        raise self._lacks("image")

    def encode_audio(self, sounds: Sequence[Audio], *, noise: Tensor | None = None) -> Tensor:
        """Clean audio latents [batch, channels, time, mel], float32, scaled.

        Args:
            sounds: Sounds of any rate, channel count and length; see the backbone for what becomes
                of long ones.
            noise: Gaussian draws of the posterior's sample; its mean when None.
        """
        raise self._lacks("audio")

    def decode_audio(self, latents: Tensor) -> list[Audio]:
        """Sounds, one channel each, from scaled latents [batch, channels, time, mel]."""
        raise self._lacks("audio")

    def condition_text(self, texts: Sequence[str]) -> TextCondition:
        """CLIP token states and pooled embeddings of texts."""
        raise self._lacks("text condition")

    def pool_image(self, images: Sequence[Image]) -> Tensor:
        """Pooled condition [batch, pooled_dim] of pictures: the embedding, then zeros."""
        raise self._lacks("image")

    def pool_audio(self, sounds: Sequence[Audio]) -> Tensor:
        """Pooled condition [batch, pooled_dim] of sounds: the embedding, then zeros."""
        raise self._lacks("audio")

    def t5_states(self, texts: Sequence[str], *, max_tokens: int) -> Tensor:
        """Last states of the T5 encoder [batch, max_tokens, width]; padding is attended to.

        Args:
            texts: Texts of any length.
            max_tokens: Tokens that are read, padding included; longer texts are cut.
        """
        raise self._lacks("T5 states")

    def null_condition(self, modality: str, batch: int) -> tuple[Tensor, Tensor]:
        """Clean latents and pooled condition of "nothing": a grey picture, a silent spectrogram.

        Guidance compares with them in the `old` mode of the first published models.

        Args:
            modality: image or audio.
            batch: How many.
        """
        raise self._lacks(modality)

    def prepare_decoders(self, modalities: Sequence[str]) -> None:
        """Read what makes pictures or sounds of latents, where that has been put off.

        Called before sampling, so that what is missing or damaged is found before the work.

        Args:
            modalities: What will be decoded.
        """

    def parts_read(self) -> Mapping[str, nn.Module]:
        """Networks around it that are no modules of it, as far as they have been read, by name."""
        return {}

    def offload_encoders(self) -> None:
        """Move what only encodes conditions to the CPU; it returns to the device when needed."""

    def _lacks(self, what: str) -> UsageError:
        return UsageError(f"{type(self).__name__} has no {what}", expected="another backbone")

    @abstractmethod
    def decode_logits(self, text_latents: Tensor, input_ids: Tensor) -> Tensor:
        """Teacher-forced logits [batch, tokens, vocabulary]; position j predicts token j + 1."""

    def token_costs(
        self, text_latents: Tensor, input_ids: Tensor, positions: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Cost of single tokens in nats, float32 [targets], and whether each is the likeliest.

        Made from `decode_logits`, unless a backbone can do with less than all logits.

        Args:
            text_latents: Text latents [batch, tokens, latent_dim].
            input_ids: The texts as ids [batch, tokens].
            positions: Where each token is predicted from, in [0, batch * tokens): the position
                before its own.
            targets: The tokens' ids [targets].
        """
        logits = self.decode_logits(text_latents, input_ids).flatten(0, 1)[positions].float()
        return F.cross_entropy(logits, targets, reduction="none"), logits.argmax(-1) == targets

    @abstractmethod
    def generate_text(self, text_latents: Tensor, *, max_new_tokens: int) -> list[str]:
        """Greedy decoding of latents to texts, special tokens removed."""

    def decode_text(
        self, text_latents: Tensor, decoding: TextDecoding, *, seeds: Sequence[int]
    ) -> list[str]:
        """Latents to texts, special tokens removed.

        A text is the same whatever else is in the batch. A backbone that only decodes greedily
        need not implement it: `generate_text` is used.

        Args:
            text_latents: Text latents [batch, tokens, latent_dim].
            decoding: How tokens are picked.
            seeds: One a text, for draws.

        Raises:
            UsageError: If the backbone cannot decode so.
        """
        if not decoding.is_greedy:
            raise self._lacks("other decoding than greedy")
        return self.generate_text(text_latents, max_new_tokens=decoding.max_new_tokens)
