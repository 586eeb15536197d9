"""What every backbone in the layout of the published OmniFlow models has in common."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.backbones.layout import PublishedFolder, find_published, read_config, stored_tensors
from omniflow.errors import CheckpointError, ConfigError, UsageError
from omniflow.interfaces.backbone import Backbone, TextFeatures, TokenBatch
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.text_vae import TextVAE, TextVAEConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

#: T5 of the published models, for folders that do not bring their own.
T5_ID = "google/flan-t5-large"

#: Prefix of the text VAE, T5 included, in the transformer's file.
TEXT_VAE_PREFIX = "text_decoder."

#: Tables that are computed when a file comes without them.
POSITION_TABLES = frozenset({"pos_embed.pos_embed", "audio_embedder.pos_embed"})

#: Weights that older versions of transformers wrote and nothing reads.
_LEGACY = re.compile(
    r"text_decoder\.qformer\.encoder\.layer\.\d+\.(intermediate|output)\."
    r"|text_decoder\..*rotary_emb\.inv_freq$"
)

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_logger = logging.getLogger(__name__)


class PublishedBackbone(Backbone):
    """A frozen OmniFlow model read from the published layout.

    Text only in this release: the image and audio streams are loaded but nothing feeds them. It
    stays in evaluation mode whatever `train` is told, so that one text has one encoding.

    Args:
        path: A folder in the published layout: `transformer/`, `text_vae/`, `vae_tokenizer/` and,
            for a T5 other than google/flan-t5-large, `tokenizer_3/` and `text_encoder_3/`.
        dtype: Precision of the weights in memory; "auto" keeps that of the file. Latents and
            features go in and out in the caller's precision.

    Raises:
        UsageError: If there is no such folder, or its T5 cannot be read.
        CheckpointError: If a part is missing or unreadable.
        ConfigError: If a configuration is impossible, or `dtype` is not one of the three.
    """

    transformer: JointTransformer

    def __init__(self, *, path: str, dtype: Literal["auto", "fp32", "bf16"] = "fp32") -> None:
        super().__init__()
        if dtype not in ("auto", *_DTYPES):
            raise ConfigError("dtype", dtype, expected="auto, fp32 or bf16")
        self._dtype = _DTYPES.get(dtype)
        self._folder = find_published(path)
        self._id = path
        with _said_in(self._folder.transformer_config):
            config = JointTransformerConfig.from_dict(read_config(self._folder.transformer_config))
        with _said_in(self._folder.text_vae_config):
            vae_config = TextVAEConfig.from_dict(read_config(self._folder.text_vae_config))
        t5_config, self._prompt_tokenizer = _load_t5(self._folder, vae_config.prompt_size)
        self._text_tokenizer = _load_tokenizer(self._folder.text_tokenizer)
        self._text_tokenizer.add_special_tokens({"pad_token": "[PAD]"})
        with torch.device("meta"), _said_in(self._folder.root):
            self.transformer = JointTransformer(config, text_output_dim=vae_config.vae_dim)
            self.text_vae = TextVAE(vae_config, t5_config)
        if vae_config.vae_dim > config.joint_attention_dim:
            raise ConfigError(
                "vae_config.vae_dim",
                vae_config.vae_dim,
                expected=f"at most joint_attention_dim, {config.joint_attention_dim}",
                where=str(self._folder.text_vae_config),
            )
        # [PAD] may come after the last row of the decoder's table; the text VAE has to know.
        self.text_vae.pad_token_id = self._text_tokenizer.pad_token_id
        self.modalities = ("text",)
        self.latent_dim = vae_config.vae_dim
        self.latent_tokens = vae_config.n_tokens
        self.pooled_dim = config.pooled_projection_dim
        self.feature_dims = {"hidden": config.joint_attention_dim, "x0": vae_config.vae_dim}
        self.text_projection = self.transformer.text_output
        self.requires_grad_(False)
        self.train(False)

    def load_weights(self) -> None:
        """Read the weights that the constructor only looked up, one tensor in memory at a time.

        Raises:
            CheckpointError: If a file is damaged, a tensor has another shape, or some are missing.
        """
        wanted = dict(self._places())
        unexpected = []
        for name, tensor in stored_tensors(self._folder.weights):
            if name in wanted:
                self._fill(name, *wanted[name], tensor)
            elif not _LEGACY.search(name):
                unexpected.append(name)
        missing = sorted(
            name for name, (module, key) in wanted.items() if getattr(module, key).is_meta
        )
        self._refuse_missing([name for name in missing if name not in POSITION_TABLES])
        if missing:
            self.transformer.reset_positions()
        if unexpected:
            _logger.warning(
                "%s: %d tensors that this model does not have are left out: %s",
                self._folder.root,
                len(unexpected),
                ", ".join(unexpected[:10]),
            )
        if self._dtype is None:
            self.to(self.text_projection.weight.dtype)

    def identity(self) -> dict[str, str]:
        """What a saved model needs to find this backbone again: id, revision, content hash."""
        return {"id": self._id, "revision": "", "hash": self._folder.content_hash()}

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
            prompt_ids=_padded(
                [[*row[: limit - 1], cast(int, t5.eos_token_id)] for row in prompts],
                cast(int, t5.pad_token_id),
                width=limit,
            ),
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
        weight = self.text_projection.weight
        if pooled is None:
            pooled = text_latents.new_zeros(len(text_latents), self.pooled_dim)
        # The text stream is as wide as the widest thing in it; latents are padded with zeros.
        padding = self.feature_dims["hidden"] - self.latent_dim
        output = self.transformer(
            text=F.pad(text_latents, (0, padding)).to(weight.dtype),
            pooled=pooled.to(weight.dtype),
            timestep_text=timesteps,
        )
        return TextFeatures(
            hidden=output.text_hidden.to(text_latents.dtype),
            x0=output.text.to(text_latents.dtype),
        )

    def decode_logits(self, text_latents: Tensor, input_ids: Tensor) -> Tensor:
        """Teacher-forced logits [batch, tokens, vocabulary]; position j predicts token j + 1."""
        return self.text_vae.logits(text_latents, input_ids)

    def generate_text(self, text_latents: Tensor, *, max_new_tokens: int) -> list[str]:
        """Greedy decoding of latents to texts, special tokens removed."""
        ids = self.text_vae.generate(text_latents, max_new_tokens=max_new_tokens)
        texts = self._text_tokenizer.batch_decode(ids.tolist(), skip_special_tokens=True)
        return cast("list[str]", texts)

    def _places(self) -> Iterator[tuple[str, tuple[nn.Module, str]]]:
        """Name in the file -> the module and attribute that it fills; tied ones have two names."""
        for prefix, part in (("", self.transformer), (TEXT_VAE_PREFIX, self.text_vae)):
            for name in part.state_dict():
                path, _, key = name.rpartition(".")
                yield prefix + name, (part.get_submodule(path), key)

    def _fill(self, name: str, module: nn.Module, key: str, tensor: Tensor) -> None:
        place = getattr(module, key)
        if place.shape != tensor.shape:
            raise CheckpointError(
                f"{name} has shape {list(tensor.shape)}",
                where=str(self._folder.weights[0].parent),
                expected=f"{list(place.shape)}, as the configuration says",
            )
        tensor = tensor.to(self._dtype or tensor.dtype)
        is_parameter = isinstance(place, nn.Parameter)
        setattr(module, key, nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor)

    def _refuse_missing(self, missing: Sequence[str]) -> None:
        if missing:
            more = [f"... and {len(missing) - 10} more"] if len(missing) > 10 else []
            raise CheckpointError(
                f"{len(missing)} tensors are missing",
                where=str(self._folder.weights[0].parent),
                expected="the weights of transformer, text VAE and T5 in one set of files",
                notes=[*(f"missing: {name}" for name in missing[:10]), *more],
            )


def _load_t5(
    folder: PublishedFolder, width: int
) -> tuple[Mapping[str, Any], PreTrainedTokenizerBase]:
    """Configuration and tokenizer of the T5 encoder: the folder's own, else the published one."""
    from transformers import T5Config

    if folder.t5_config is not None and folder.t5_tokenizer is not None:
        config = read_config(folder.t5_config)
        # Folders derived from Stable Diffusion 3 bring another T5, which this model never read.
        if config.get("d_model") == width:
            return config, _load_tokenizer(folder.t5_tokenizer)
    try:
        return T5Config.from_pretrained(T5_ID).to_dict(), _load_tokenizer(T5_ID)
    except (OSError, ValueError, CheckpointError) as error:
        raise UsageError(
            f"the tokenizer and configuration of {T5_ID} cannot be read",
            where=str(folder.root),
            expected=f"a network connection, or tokenizer_3/ and text_encoder_3/ of width {width}",
        ) from error


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
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)
    return cast("list[list[int]]", encoded["input_ids"])


def _without_end(text: str) -> str:
    """A text may bring the mark of its end along; it gets one and not two."""
    return text.removesuffix("</s>")


def _padded(rows: Sequence[Sequence[int]], pad: int, *, width: int | None = None) -> Tensor:
    width = max((len(row) for row in rows), default=0) if width is None else width
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.long)
    return ids


@contextmanager
def _said_in(path: Path) -> Iterator[None]:
    """Tell a mistake in a configuration with the file that says it."""
    try:
        yield
    except UsageError as error:
        error.where = error.where or str(path)
        raise
