"""What every backbone in the layout of the published OmniFlow models has in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.backbones.fresh import fresh_config
from omniflow.backbones.image_grid import find_image_grid
from omniflow.backbones.joint_call import call_transformer
from omniflow.backbones.layout import find_published, read_config
from omniflow.backbones.parts import Parts
from omniflow.backbones.t5_source import find_t5
from omniflow.backbones.weights import FoundWeights, fill, find_weights
from omniflow.backbones.work_identity import parts_identity, text_latents_identity
from omniflow.errors import CheckpointError, ConfigError, UsageError
from omniflow.interfaces.backbone import (
    Backbone,
    JointPrediction,
    Streams,
    TextCondition,
    TextFeatures,
    TokenBatch,
)
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.models.decode_rows import decode_rows
from omniflow.models.joint_initialisation import initialise
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.text_vae import TextVAE, TextVAEConfig

if TYPE_CHECKING:
    from PIL.Image import Image
    from transformers import PreTrainedTokenizerBase

    from omniflow.interfaces import Audio

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class PublishedBackbone(Backbone):
    """A frozen OmniFlow model in the published layout, from a folder or the Hub.

    It stays in evaluation mode whatever `train` is told, so that one text has one encoding. What
    stands around the transformer and the text VAE is read when a task first needs it; of a model
    without `vae/` there is text alone. Latents and features go in and out in the caller's
    precision. Random weights are drawn from torch's global generator.

    Args:
        path: A folder in the published layout, or OWNER/NAME on the Hub.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        dtype: Precision of the weights in memory; auto keeps that of the file.
        ema: Whether to read the averaged weights of `ema_transformer.pt`.
        t5: A folder or Hub id of the T5 to take; when null, that of `text_encoder_3/` and
            `tokenizer_3/` if the model has one of the right width, else google/flan-t5-large.
        clip: The same for the CLIP model that embeds texts and pictures; when null, that of
            `text_encoder/`, else laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K.
        audio_encoder: The same for LanguageBind's audio tower; when null, that of
            `audio_encoder/`, else LanguageBind/LanguageBind_Audio_FT.
        audio_vae: The same for the audio VAE; when null, that of `audio_vae/`, else the one of
            cvssp/audioldm2.
        vocoder: The same for the vocoder; when null, that of `vocoder/`, else the one of
            cvssp/audioldm2.
        image_size: Side of given pictures and, unless said otherwise, of made ones, in pixels; when
            null, the `sample_size` of the image VAE, at most 512.
        transformer_config: Contents of a transformer's config.json: start from random weights of
            these sizes instead of reading the model's own; null reads them.

    Raises:
        UsageError: If there is no such folder or Hub id, or its T5 cannot be read.
        CheckpointError: If a part is missing or unreadable.
        ConfigError: If a configuration is impossible, or `dtype` is not one of the three.
    """

    transformer: JointTransformer

    def __init__(
        self,
        *,
        path: str,
        revision: str | None = None,
        dtype: Literal["auto", "fp32", "bf16"] = "fp32",
        ema: bool = False,
        t5: str | None = None,
        clip: str | None = None,
        audio_encoder: str | None = None,
        audio_vae: str | None = None,
        vocoder: str | None = None,
        image_size: int | None = None,
        transformer_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if dtype not in ("auto", *_DTYPES):
            raise ConfigError("dtype", dtype, expected="auto, fp32 or bf16")
        self._dtype = _DTYPES.get(dtype)
        self._is_averaged = ema
        self._is_fresh = transformer_config is not None
        if ema and self._is_fresh:
            raise ConfigError("ema", ema, expected="false beside transformer_config")
        self._folder = find_published(path, revision=revision)
        self._id = path
        with _said_in(self._folder.transformer_config):
            config = JointTransformerConfig.from_dict(read_config(self._folder.transformer_config))
        if transformer_config is not None:
            config = fresh_config(transformer_config, config)
        with _said_in(self._folder.text_vae_config):
            vae_config = TextVAEConfig.from_dict(read_config(self._folder.text_vae_config))
        self._t5 = find_t5(self._folder, vae_config.prompt_size, path=t5)
        self._prompt_tokenizer = _load_tokenizer(self._t5.tokenizer_folder)
        self._text_tokenizer = _load_tokenizer(self._folder.text_tokenizer)
        self._text_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        with torch.device("meta"), _said_in(self._folder.root):
            self.transformer = JointTransformer(config, text_output_dim=vae_config.vae_dim)
            self.text_vae = TextVAE(vae_config, self._t5.config)
        if vae_config.vae_dim > config.joint_attention_dim:
            raise ConfigError(
                "vae_config.vae_dim",
                vae_config.vae_dim,
                expected=f"at most joint_attention_dim, {config.joint_attention_dim}",
                where=str(self._folder.text_vae_config),
            )
        # [PAD] may come after the last row of the decoder's table; the text VAE has to know.
        self.text_vae.pad_token_id = self._text_tokenizer.pad_token_id
        self.latent_dim = vae_config.vae_dim
        self.latent_tokens = vae_config.n_tokens
        self.pooled_dim = config.pooled_projection_dim
        self.feature_dims = {"hidden": config.joint_attention_dim, "x0": vae_config.vae_dim}
        self.text_projection = self.transformer.text_output
        self._parts = Parts(
            self._folder,
            self._place,
            clip=clip,
            audio_encoder=audio_encoder,
            audio_vae=audio_vae,
            vocoder=vocoder,
        )
        self._image_grid = find_image_grid(self._parts.image_vae, config, image_size)
        self.modalities = self._parts.modalities(config.audio_shape)
        self.requires_grad_(False)
        self.train(False)

    def load_weights(self, *, device: torch.device | None = None) -> None:
        """Read the weights that the constructor only looked up, one tensor at a time.

        Args:
            device: Where they go; the CPU when None.

        Raises:
            CheckpointError: If a file is damaged, a tensor has another shape, or some are missing.
            UsageError: If a file is on the Hub and cannot be fetched.
        """
        device = torch.device("cpu") if device is None else device
        dtype = self._dtype or self.stored_weights.dtype
        fill(self.stored_weights, self.transformer, self.text_vae, dtype=dtype, device=device)
        if self._is_fresh:
            self.transformer.to_empty(device="cpu")
            initialise(self.transformer)
            self.transformer.to(dtype)
        # What no file holds, such as rotary frequencies, was made on the CPU.
        self.to(device)

    def identity(self) -> dict[str, str]:
        """What a saved model needs to find this backbone again: id, revision, content hash."""
        files = {**self._t5.files(), **self.stored_weights.files}
        return {
            "id": self._id,
            "revision": self._folder.source.revision,
            "hash": self._folder.content_hash(files),
        }

    def work_identity(self, work: str) -> Mapping[str, str] | None:
        """What shapes a frozen value; None while the text VAE is being trained."""
        if work == "text_latents":
            return text_latents_identity(self.text_vae)
        details = {"size": str(self._image_grid.size)} if work == "image_latents" else {}
        if work.endswith(("_pooled", "_states")):
            details = {"dtype": str(self._place().dtype), "width": str(self.pooled_dim)}
        return {**details, **parts_identity(self._parts, work)}

    @cached_property
    def stored_weights(self) -> FoundWeights:
        """Where every tensor lies; nothing but the headers of the files is read.

        Raises:
            CheckpointError: If a file is damaged, a tensor has another shape, or some are missing.
            UsageError: If a file is on the Hub and cannot be fetched.
        """
        return find_weights(
            self._folder,
            self._t5,
            None if self._is_fresh else self.transformer,
            self.text_vae,
            is_averaged=self._is_averaged,
        )

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: dropout would give one text another encoding each time."""
        return super().train(False)

    def tokenise(self, texts: Sequence[str], *, max_length: int) -> TokenBatch:
        """Texts to ids, on the CPU; touches no weight, so that a data worker can do it.

        The text decoder reads BOS, the text and EOS; of a text that is cut, the first `max_length`
        of these, without EOS. T5 reads exactly `max_prompt_tokens`, padding included. A text that
        is too long for either counts as cut.
        """
        t5, llama = self._prompt_tokenizer, self._text_tokenizer
        limit = self.text_vae.config.max_prompt_tokens
        bos, eos = self.text_vae.bos_token_id, self.text_vae.eos_token_ids[0]
        prompts = _ids(t5, texts)
        rows = [[bos, *row, eos] for row in _ids(llama, [_without_end(text) for text in texts])]
        input_ids = _padded([row[:max_length] for row in rows], cast(int, llama.pad_token_id))
        lengths = torch.tensor([min(len(row), max_length) for row in rows])
        is_padding = torch.arange(input_ids.shape[1]) >= lengths[:, None]
        return TokenBatch(
            prompt_ids=_ended(t5, prompts, limit),
            is_empty=torch.tensor([text == "" for text in texts]),
            input_ids=input_ids,
            labels=input_ids.masked_fill(is_padding, -100),
            cut=sum(
                len(row) > max_length or len(prompt) > limit - 1
                for row, prompt in zip(rows, prompts, strict=True)
            ),
        )

    def encode_text(self, prompt_ids: Tensor, is_empty: Tensor) -> Tensor:
        """Clean text latents [batch, latent_tokens, latent_dim], float32 (mean path)."""
        return self.text_vae.encode(prompt_ids, is_empty).float()

    def text_features(
        self, text_latents: Tensor, timesteps: Tensor, pooled: Tensor | None = None
    ) -> TextFeatures:
        """Run the joint transformer on a text stream alone; arguments as in `Backbone`."""
        if pooled is None:
            pooled = text_latents.new_zeros(len(text_latents), self.pooled_dim)
        streams, levels = Streams(text=text_latents), Streams(text=timesteps)
        return cast(TextFeatures, self.predict(streams, levels, pooled).text)

    def predict(
        self,
        streams: Streams,
        timesteps: Streams,
        pooled: Tensor,
        *,
        split_cond: bool = False,
        predict_text: bool = True,
    ) -> JointPrediction:
        """Run the joint transformer on the streams that are passed; arguments as in `Backbone`."""
        return call_transformer(
            self.transformer,
            streams,
            timesteps,
            pooled,
            split_cond=split_cond,
            predict_text=predict_text,
        )

    def latent_shape(
        self, modality: str, *, height: int | None = None, width: int | None = None
    ) -> tuple[int, ...]:
        """Shape of one sample's latents; arguments as in `Backbone`."""
        if modality == "text":
            return self.latent_tokens, self.latent_dim
        if modality == "audio":
            return self.transformer.config.audio_shape
        rows, columns = self._image_grid.latent_size(height, width)
        return self.transformer.config.in_channels, rows, columns

    def encode_image(self, images: Sequence[Image], *, noise: Tensor | None = None) -> Tensor:
        """Clean image latents; of each picture the middle square, brought to `image_size`."""
        autoencoder = self._parts.image_autoencoder
        return autoencoder.encode(autoencoder.pixels(images, self._image_grid.size), noise)

    def decode_image(self, latents: Tensor) -> list[Image]:
        """Pictures from scaled latents [batch, channels, height, width]."""
        return self._parts.image_autoencoder.decode(latents)

    def encode_audio(self, sounds: Sequence[Audio], *, noise: Tensor | None = None) -> Tensor:
        """Clean audio latents; of a sound longer than a segment its beginning."""
        autoencoder = self._parts.audio_autoencoder
        return autoencoder.encode(autoencoder.log_mel(sounds), noise)

    def decode_audio(self, latents: Tensor) -> list[Audio]:
        """Sounds, one channel each, from scaled latents [batch, channels, time, mel]."""
        decoder = self._parts.audio_decoder
        return decoder.synthesise(decoder.decode(latents))

    def condition_text(self, texts: Sequence[str]) -> TextCondition:
        """Token states and embeddings of both CLIP text encoders, side by side, float32.

        Texts are padded or cut to as many tokens as CLIP has positions, with a warning that quotes
        what is cut.
        """
        small, big = self._parts.clip_text, self._parts.clip_big_text
        small.warn_of_cuts(texts)
        outputs = small(texts), big(texts)
        states, pooled = (torch.cat(part, dim=-1).float() for part in zip(*outputs, strict=True))
        return TextCondition(states, self._filled(pooled))

    def pool_image(self, images: Sequence[Image]) -> Tensor:
        """Pooled condition [batch, pooled_dim] of pictures: CLIP's embedding, then zeros."""
        return self._filled(self._parts.clip_vision(images).float())

    def pool_audio(self, sounds: Sequence[Audio]) -> Tensor:
        """Pooled condition [batch, pooled_dim] of sounds: LanguageBind's embedding, then zeros."""
        return self._filled(self._parts.audio_tower(sounds).float())

    @torch.no_grad()
    def t5_states(self, texts: Sequence[str], *, max_tokens: int) -> Tensor:
        """Last states of the T5 encoder [batch, max_tokens, width]; padding is attended to."""
        tokenizer = self._prompt_tokenizer
        ids = _ended(tokenizer, _ids(tokenizer, texts), max_tokens).to(
            self.text_projection.weight.device
        )
        encoder = cast(nn.Module, self.text_vae.encoder)
        states: Tensor = encoder(input_ids=ids).last_hidden_state
        return states.float()

    def null_condition(self, modality: str, batch: int) -> tuple[Tensor, Tensor]:
        """A mid-grey picture with a zero embedding, or a log-mel of zeros with the embedding of a
        sound picture of zeros; all alike over the batch.
        """
        if modality == "image":
            size = self._image_grid.size
            latents = self._parts.image_autoencoder.encode(torch.zeros(1, 3, size, size))
            pooled = latents.new_zeros(1, self.pooled_dim)
        else:
            autoencoder = self._parts.audio_autoencoder
            config = autoencoder.config
            latents = autoencoder.encode(torch.zeros(1, 1, config.frames, config.mel_bins))
            pooled = self._filled(self._parts.audio_tower.embed_nothing().float())
        return latents.repeat(batch, 1, 1, 1), pooled.repeat(batch, 1)

    def prepare_decoders(self, modalities: Sequence[str]) -> None:
        """Read the autoencoders, and the vocoder for sounds.

        Raises:
            UsageError: If one is missing.
            CheckpointError: If one is damaged.
        """
        if "image" in modalities:
            _ = self._parts.image_autoencoder
        if "audio" in modalities:
            _ = self._parts.audio_decoder

    def parts_read(self) -> Mapping[str, nn.Module]:
        """Autoencoders and encoders of conditions, as far as they have been read."""
        return self._parts.read()

    def offload_encoders(self) -> None:
        """Bring the CLIP and LanguageBind towers to the CPU; they come back when needed."""
        self._parts.offload()

    def decode_logits(self, text_latents: Tensor, input_ids: Tensor) -> Tensor:
        """Teacher-forced logits [batch, tokens, vocabulary]; position j predicts token j + 1."""
        return self.text_vae.logits(text_latents, input_ids)

    def token_costs(
        self, text_latents: Tensor, input_ids: Tensor, positions: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Costs of single tokens, without the logits of others; arguments as in `Backbone`."""
        return self.text_vae.token_costs(text_latents, input_ids, positions, targets)

    def generate_text(self, text_latents: Tensor, *, max_new_tokens: int) -> list[str]:
        """Greedy decoding of latents to texts, special tokens removed."""
        return self.decode_text(text_latents, TextDecoding(max_new_tokens=max_new_tokens), seeds=[])

    def decode_text(
        self, text_latents: Tensor, decoding: TextDecoding, *, seeds: Sequence[int]
    ) -> list[str]:
        """Latents to texts, special tokens removed; arguments as in `Backbone`."""
        ids = decode_rows(self.text_vae, text_latents, decoding, seeds)
        texts = self._text_tokenizer.batch_decode(ids, skip_special_tokens=True)
        return cast("list[str]", texts)

    def _place(self) -> Tensor:
        """A tensor that lies where the backbone lies, in its precision."""
        return self.text_projection.weight

    def _filled(self, embeddings: Tensor) -> Tensor:
        """Embeddings at the front of the pooled slot, zeros behind them.

        Raises:
            UsageError: If they are wider than the slot.
        """
        room = self.pooled_dim - embeddings.shape[-1]
        if room < 0:
            raise UsageError(
                f"its embedding is {embeddings.shape[-1]} wide",
                where=self._folder.source.path,
                expected=f"at most pooled_projection_dim, {self.pooled_dim}",
            )
        return F.pad(embeddings, (0, room))


def _load_tokenizer(source: Path | str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    try:
        return cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(source))
    # The reader of tokenizer.json raises plain Exception.
    except Exception as error:
        raise CheckpointError(f"not a readable tokenizer ({error})", where=str(source)) from error


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False,
        return_token_type_ids=False, verbose=False,
    )  # fmt: skip
    return cast("list[list[int]]", encoded["input_ids"])


def _ended(tokenizer: PreTrainedTokenizerBase, rows: Sequence[list[int]], width: int) -> Tensor:
    """Ids with their end, cut or padded to one width."""
    eos, pad = cast(int, tokenizer.eos_token_id), cast(int, tokenizer.pad_token_id)
    return _padded([[*row[: width - 1], eos] for row in rows], pad, width=width)


def _without_end(text: str) -> str:
    """A text may bring the mark of its end along; it gets one and not two."""
    return text.removesuffix("</s>")


def _padded(rows: Sequence[Sequence[int]], pad: int, *, width: int | None = None) -> Tensor:
    width = max((len(row) for row in rows), default=0) if width is None else width
    filled = [[*row, *[pad] * (width - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.long).view(len(rows), width)


@contextmanager
def _said_in(path: Path) -> Iterator[None]:
    """Tell a mistake in a configuration with the file that says it."""
    try:
        yield
    except UsageError as error:
        error.where = error.where or str(path)
        raise
