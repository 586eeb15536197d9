"""Text VAE: a prompt becomes a few continuous latents, and latents become text again.

Encoder: T5 states, normalised per token, gathered by a Q-Former and projected. Decoder: a Llama
language model that reads the projected latents as a prefix. Parameter names and their order are
those of published checkpoints, where the whole module sits under `text_decoder.`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from omniflow.errors import ConfigError
from omniflow.interfaces.recomputing import Recomputing
from omniflow.models.decoder_layers import empty_cache, recomputed
from omniflow.models.qformer import QFormer
from omniflow.models.token_costs import token_costs

if TYPE_CHECKING:
    from transformers import LlamaConfig, T5Config

#: Keys that a `vae_config` has to hold, all of them, when there is one.
VAE_CONFIG_KEYS = (
    "prompt_size",
    "vae_dim",
    "vae_hidden_size",
    "n_tokens",
    "pre_norm",
    "norm_type",
    "vae_scale",
)

#: Latents this wide mark the first published generation, which encodes the empty prompt like any
#: other. Later ones read zeros in its place.
LEGACY_LATENT_DIM = 1536

#: Share of the uniform noise on the sampling path.
SAMPLING_NOISE = 0.001


@dataclass(frozen=True)
class TextVAEConfig:
    """Sizes of the text VAE around a Llama configuration.

    Args:
        llama: The Llama `config.json` as a dictionary, without `vae_config`.
        prompt_size: Width of the T5 states.
        vae_dim: Width of one text latent.
        vae_hidden_size: Width of the Q-Former, a multiple of `qformer_heads`.
        n_tokens: Number of latents of a text.
        pre_norm: Normalise the Q-Former's output instead of the latents.
        norm_type: "rms_norm", or anything else for a layer norm without weights.
        vae_scale: Latents are multiplied by it on the way out and divided by it on the way in.
        qformer_layers: Number of Q-Former blocks.
        qformer_heads: Attention heads of each of them.
        qformer_intermediate_size: Inner width of their feed-forward.
        max_prompt_tokens: Prompts are padded or cut to this many T5 tokens.

    Raises:
        ConfigError: If a size is below 1, the heads do not divide the Q-Former's width, or
            `vae_scale` is zero or not finite.
    """

    llama: Mapping[str, Any]
    prompt_size: int = 1024
    vae_dim: int = LEGACY_LATENT_DIM
    vae_hidden_size: int = 1536
    n_tokens: int = 32
    pre_norm: bool = False
    norm_type: str = "layer_norm"
    vae_scale: float = 1.0
    qformer_layers: int = 6
    qformer_heads: int = 12
    qformer_intermediate_size: int = 3072
    max_prompt_tokens: int = 77

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type == "int" and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"vae_config.{field.name}", value, expected="a whole number >= 1")
        if self.vae_hidden_size % self.qformer_heads:
            raise ConfigError(
                "vae_config.vae_hidden_size",
                self.vae_hidden_size,
                expected=f"a multiple of the {self.qformer_heads} Q-Former heads",
            )
        scale = self.vae_scale
        if not isinstance(scale, int | float) or not math.isfinite(scale) or scale == 0:
            raise ConfigError("vae_config.vae_scale", scale, expected="a number other than 0")

    @classmethod
    def from_dict(cls, llama_config: Mapping[str, Any]) -> Self:
        """Read a Llama configuration with an optional `vae_config` (absent: the defaults above).

        Raises:
            ConfigError: If there is a `vae_config` that lacks one of its seven keys.
        """
        llama = {key: value for key, value in llama_config.items() if key != "vae_config"}
        given = llama_config.get("vae_config")
        if given is None:
            return cls(llama=llama)
        for key in VAE_CONFIG_KEYS:
            if key not in given:
                raise ConfigError(
                    f"vae_config.{key}",
                    None,
                    expected=f"a value: a vae_config holds {', '.join(VAE_CONFIG_KEYS)}",
                )
        known = {field.name for field in fields(cls)} - {"llama"}
        return cls(llama=llama, **{key: given[key] for key in given if key in known})

    def to_dict(self) -> dict[str, Any]:
        """What `text_vae/config.json` holds; options off the published path only if they differ."""
        own = asdict(self)
        llama = own.pop("llama")
        standard = {field.name: field.default for field in fields(self)}
        kept = {
            key: value
            for key, value in own.items()
            if key in VAE_CONFIG_KEYS or value != standard[key]
        }
        return {"model_type": "llama", **llama, "vae_config": kept}


class TextVAE(nn.Module, Recomputing):
    """T5 encoder, Q-Former and Llama decoder in one module.

    Three things differ from the original on purpose. Modes are the usual ones: Q-Former dropout
    acts in training mode only, where the original never left it and encoded one prompt twice to
    two results. `vae_scale` is what the configuration says. Generation runs on any device.

    The module builds on the meta device. Rotary frequencies are computed, not loaded: they stay
    real and float32 through `to_empty` and casts, because bfloat16 positions lose whole tokens.

    `pad_token_id` comes from the Llama configuration. Set the attribute when a tokenizer got its
    [PAD] later: an id beyond the last row of the table is then read as EOS.

    Args:
        config: Sizes, and the Llama configuration.
        t5_config: Configuration of the T5 encoder, or None to leave it out: then `encode` is
            refused and there are no `encoder.*` keys.

    Attributes:
        gradient_checkpointing: Recompute each decoder layer in the backward pass, see
            `Recomputing`.

    Raises:
        ConfigError: If the width of T5 is not `prompt_size`.
    """

    def __init__(
        self, config: TextVAEConfig, t5_config: Mapping[str, Any] | T5Config | None
    ) -> None:
        super().__init__()
        # Importing a transformers model takes seconds; reading a configuration should not.
        from transformers.models.llama.modeling_llama import LlamaForCausalLM

        self.config = config
        self.latent_dim = config.vae_dim
        self.latent_tokens = config.n_tokens
        llama_config = _llama_config(config.llama)
        self.vocab_size: int = llama_config.vocab_size
        eos = llama_config.eos_token_id
        self.bos_token_id: int = (
            1 if llama_config.bos_token_id is None else llama_config.bos_token_id
        )
        self.eos_token_ids: list[int] = (
            [2] if eos is None else [eos] if isinstance(eos, int) else eos
        )
        self.pad_token_id: int | None = config.llama.get("pad_token_id")

        # The order of the following lines is the order of parameters in checkpoints.
        self.query = nn.Parameter(0.02 * torch.randn(1, config.n_tokens, config.vae_hidden_size))
        causal_lm = LlamaForCausalLM(llama_config)
        self.model = causal_lm.model
        self.lm_head = causal_lm.lm_head
        self.q_norm = _latent_norm(config)
        self.qformer = QFormer(
            config.vae_hidden_size,
            config.prompt_size,
            num_layers=config.qformer_layers,
            num_heads=config.qformer_heads,
            intermediate_size=config.qformer_intermediate_size,
        )
        self.vae_proj = nn.Linear(config.vae_hidden_size, 2 * config.vae_dim)
        self.input_proj = (
            nn.Identity()
            if config.vae_dim == llama_config.hidden_size
            else nn.Linear(config.vae_dim, llama_config.hidden_size)
        )
        self.encoder = None if t5_config is None else _t5_encoder(t5_config, config.prompt_size)

        # In a tuple it is no sub-module: its weights are ours already, under the names above.
        self._causal_lm = (causal_lm,)
        if self.query.is_meta:
            with torch.device("cpu"):
                self.model.rotary_emb = type(self.model.rotary_emb)(llama_config)

    def encode(
        self, prompt_ids: Tensor, is_empty: Tensor, *, noise: Tensor | None = None
    ) -> Tensor:
        """Prompts to latents [batch, n_tokens, vae_dim].

        T5 attends to padding as well, as it did when the weights were made: ids of other lengths
        than `max_prompt_tokens` give other latents.

        Args:
            prompt_ids: T5 ids, padded [batch, prompt_tokens].
            is_empty: Whether the prompt is the empty string [batch], bool.
            noise: See `connect`.
        """
        return self.connect(self.prompt_states(prompt_ids, is_empty), noise=noise)

    def prompt_states(self, prompt_ids: Tensor, is_empty: Tensor) -> Tensor:
        """Normalised T5 states [batch, prompt_tokens, prompt_size], as `connect` reads them.

        Those of empty prompts are zero, except with latents 1536 wide, where the T5 states of the
        empty string are kept. Arguments as in `encode`.
        """
        if self.encoder is None:
            raise ConfigError("t5_config", None, expected="a T5 configuration, to encode prompts")
        states: Tensor = self.encoder(input_ids=prompt_ids).last_hidden_state
        states = normalise_states(states)
        if self.latent_dim == LEGACY_LATENT_DIM:
            return states
        return states.masked_fill(is_empty[:, None, None], 0.0)

    def connect(self, states: Tensor, *, noise: Tensor | None = None) -> Tensor:
        """States to latents [batch, n_tokens, vae_dim].

        Args:
            states: Normalised T5 states [batch, prompt_tokens, prompt_size].
            noise: Draws from the uniform distribution on [0, 1) for the sampling path
                [batch, n_tokens, vae_dim]. Uniform is what the weights were trained with; its mean
                shifts latents by 0.0005. None: the mean path, without randomness.
        """
        queries = self.query.expand(states.shape[0], -1, -1)
        gathered = self.qformer(queries, states.to(self.query.dtype))
        if self.config.pre_norm:
            gathered = self.q_norm(gathered)
        # The second half is a log-variance that nothing reads.
        mean: Tensor = self.vae_proj(gathered)[..., : self.latent_dim]
        if not self.config.pre_norm:
            mean = self.q_norm(mean)
        if noise is not None:
            mean = mean + SAMPLING_NOISE * noise.to(mean)
        return mean * self.config.vae_scale

    def decode_hidden(self, latents: Tensor | None, input_ids: Tensor) -> Tensor:
        """Decoder states [batch, tokens, hidden], of the token positions only.

        `lm_head(states).float()` are the logits: a caller with a large vocabulary can compute
        them, and a cross entropy, some positions at a time. Attention is causal, the prefix
        included, so padding on the right changes nothing before it.

        Args:
            latents: Text latents [batch, n, vae_dim]; None runs the plain language model.
            input_ids: Ids [batch, tokens], BOS first; with no tokens the result is empty.
        """
        if input_ids.shape[1] == 0:
            return self.query.new_zeros(input_ids.shape[0], 0, self.lm_head.in_features)
        embeddings = self.model.embed_tokens(self._embeddable(input_ids))
        if latents is not None:
            embeddings = torch.cat([self._prefix(latents), embeddings], dim=1)
        recomputes = self.gradient_checkpointing and torch.is_grad_enabled()
        with recomputed(self.model.layers) if recomputes else nullcontext():
            # transformers 5 looks for packed sequences where there is no cache, and waits for the
            # device to tell; the beginning of a sequence is read without that.
            hidden: Tensor = self.model(
                inputs_embeds=embeddings, past_key_values=empty_cache(), use_cache=True
            ).last_hidden_state
        return hidden[:, -input_ids.shape[1] :]

    def logits(self, latents: Tensor | None, input_ids: Tensor) -> Tensor:
        """Float32 logits [batch, tokens, vocabulary]; position j predicts token j + 1.

        Arguments as in `decode_hidden`.
        """
        scores: Tensor = self.lm_head(self.decode_hidden(latents, input_ids))
        return scores.float()

    def token_costs(
        self, latents: Tensor | None, input_ids: Tensor, positions: Tensor, targets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What some tokens cost, in nats, and whether they are the likeliest: both [targets].

        No logits are made for other positions, nor are all of these held at once.

        Args:
            latents: Text latents [batch, n, vae_dim]; None runs the plain language model.
            input_ids: Ids [batch, tokens], BOS first.
            positions: Where each token is predicted from, in [0, batch * tokens): the position
                before its own.
            targets: The tokens' ids [targets].
        """
        hidden = self.decode_hidden(latents, input_ids).flatten(0, 1)
        return token_costs(hidden[positions], self.lm_head.weight, targets)

    @torch.no_grad()
    def generate(
        self, latents: Tensor, *, max_new_tokens: int, do_sample: bool = False, **options: Any
    ) -> Tensor:
        """Continue [latents, BOS] by transformers' `generate`: the new ids only.

        `decode_rows` is faster and does not depend on the batch; this is what it is compared with.
        Gives [batch, at most max_new_tokens]. A row stops at EOS, which is kept, and is then filled
        with the padding id, or with EOS if there is none in the vocabulary.

        Args:
            latents: Text latents [batch, n, vae_dim].
            max_new_tokens: Upper bound on the new tokens, at least 1.
            do_sample: Draw tokens from torch's global random state instead of taking the likeliest.
            options: Further options of transformers' `generate` (temperature, top_p, num_beams...).
        """
        if latents.shape[0] == 0:
            return torch.empty(0, 0, dtype=torch.long, device=latents.device)
        embeddings = self.decoder_prefix(latents)
        pad = self.pad_token_id
        ids: Tensor = self._causal_lm[0].generate(
            inputs_embeds=embeddings,
            attention_mask=torch.ones(
                embeddings.shape[:2], dtype=torch.long, device=embeddings.device
            ),
            **{
                "max_new_tokens": max_new_tokens,
                "do_sample": do_sample,
                "use_cache": True,
                "eos_token_id": self.eos_token_ids,
                "pad_token_id": self.eos_token_ids[0]
                if pad is None or pad >= self.vocab_size
                else pad,
                **options,
            },
        )
        return ids

    def decoder_prefix(self, latents: Tensor) -> Tensor:
        """What a text follows: [latents, BOS] as decoder inputs [batch, n + 1, hidden]."""
        prefix = self._prefix(latents)
        bos = torch.full((latents.shape[0], 1), self.bos_token_id, device=prefix.device)
        return torch.cat([prefix, self.model.embed_tokens(bos)], dim=1)

    def _prefix(self, latents: Tensor) -> Tensor:
        """Latents [batch, n, vae_dim] to decoder inputs [batch, n, hidden]."""
        unscaled = (latents / self.config.vae_scale).to(self.query.dtype)
        prefix: Tensor = self.input_proj(unscaled)
        return prefix

    def _embeddable(self, input_ids: Tensor) -> Tensor:
        """Replace a padding id that has no row in the embedding table by EOS.

        A [PAD] added to the tokenizer without growing the table gets the id after the last row.
        What the decoder reads at padding is of no consequence. Any other id beyond the table is
        left to fail in the look-up.
        """
        pad = self.pad_token_id
        if pad is None or pad < self.vocab_size:
            return input_ids
        return input_ids.masked_fill(input_ids == pad, self.eos_token_ids[0])

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        rotary = self.model.rotary_emb
        exact = dict(rotary.named_buffers())
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for name, moved in list(rotary.named_buffers()):
            setattr(rotary, name, exact[name].to(moved.device))
        return self


def normalise_states(states: Tensor) -> Tensor:
    """Each token [..., width] to mean 0 and standard deviation 1 (divisor width - 1)."""
    centred = states - states.mean(dim=-1, keepdim=True)
    return centred / (states.std(dim=-1, keepdim=True) + 1e-9)


def _latent_norm(config: TextVAEConfig) -> nn.Module:
    width = config.vae_hidden_size if config.pre_norm else config.vae_dim
    if config.norm_type == "rms_norm":
        return nn.RMSNorm(width, eps=1e-6)
    return nn.LayerNorm(width, eps=1e-5, elementwise_affine=False)


def _llama_config(llama: Mapping[str, Any]) -> LlamaConfig:
    from transformers.models.llama.configuration_llama import LlamaConfig

    values = dict(llama)
    pad = values.get("pad_token_id")
    if pad is not None and pad >= values.get("vocab_size", 32000):
        # The embedding layer refuses a padding row that it does not have; see `_embeddable`.
        del values["pad_token_id"]
    return LlamaConfig.from_dict(values)


def _t5_encoder(t5_config: Mapping[str, Any] | T5Config, prompt_size: int) -> nn.Module:
    from transformers.models.t5.configuration_t5 import T5Config
    from transformers.models.t5.modeling_t5 import T5EncoderModel

    values = t5_config if isinstance(t5_config, Mapping) else t5_config.to_dict()
    config = T5Config.from_dict(dict(values))
    if config.d_model != prompt_size:
        raise ConfigError(
            "vae_config.prompt_size", prompt_size, expected=f"the width of T5, {config.d_model}"
        )
    t5 = T5EncoderModel(config)
    # One module under both names: tied whichever way weights are loaded, `assign=True` included.
    t5.encoder.embed_tokens = t5.shared
    encoder: nn.Module = t5
    return encoder
