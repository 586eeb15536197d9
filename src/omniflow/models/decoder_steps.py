"""A Llama decoder that reads on where it has stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.models.static_cache import StaticCache

if TYPE_CHECKING:
    from transformers.models.llama.modeling_llama import LlamaAttention, LlamaModel


class DecoderSteps:
    """Texts of one length, read side by side.

    The layers are those of transformers; between them there is nothing but their arithmetic, which
    makes a step several times cheaper than the model's own `forward`.

    Args:
        model: The decoder.
        lm_head: States to logits.
        rows: Number of texts.
        capacity: Positions that there is room for.
    """

    def __init__(self, model: LlamaModel, lm_head: nn.Module, *, rows: int, capacity: int) -> None:
        config = model.config
        self._model = model
        self._lm_head = lm_head
        self._attention = [cast("LlamaAttention", layer.self_attn) for layer in model.layers]
        head_dim = self._attention[0].head_dim
        self._cache = StaticCache(
            layers=len(self._attention),
            rows=rows,
            heads=cast(int, config.num_key_value_heads),
            capacity=capacity,
            head_dim=head_dim,
            like=model.embed_tokens.weight,
        )
        # All angles at once: a step takes its own out of the table.
        places = torch.arange(capacity, device=model.embed_tokens.weight.device)
        self._cos, self._sin = model.rotary_emb(model.embed_tokens.weight, places[None])

    def read(self, embeddings: Tensor) -> Tensor:
        """Read further positions; gives float32 logits [rows, vocabulary] after the last one.

        Args:
            embeddings: Inputs of the positions [rows, new, hidden].
        """
        start, new = self._cache.length, embeddings.shape[1]
        places = slice(start, start + new)
        angles = self._cos[:, None, places], self._sin[:, None, places]
        hidden = embeddings
        for index, layer in enumerate(self._model.layers):
            hidden = hidden + self._attended(index, layer.input_layernorm(hidden), angles)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        self._cache.advance(new)
        logits: Tensor = self._lm_head(self._model.norm(hidden[:, -1]))
        return logits.float()

    def read_tokens(self, ids: Tensor) -> Tensor:
        """Read one token of every text [rows]; see `read`."""
        return self.read(self._model.embed_tokens(ids[:, None]))

    def keep(self, rows: Tensor) -> None:
        """Go on with some texts, see `StaticCache.keep`."""
        self._cache.keep(rows)

    def _attended(self, index: int, hidden: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
        attention = self._attention[index]
        rows, new, _ = hidden.shape

        def in_heads(projection: nn.Module) -> Tensor:
            projected: Tensor = projection(hidden)
            return projected.view(rows, new, -1, attention.head_dim).transpose(1, 2)

        queries = _turned(in_heads(attention.q_proj), angles)
        keys, values = self._cache.extend(
            index, _turned(in_heads(attention.k_proj), angles), in_heads(attention.v_proj)
        )
        mixed = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            # The first reading begins at nothing; later ones are of one position, which sees all.
            is_causal=new > 1,
            scale=attention.scaling,
            enable_gqa=queries.shape[1] != keys.shape[1],
        )
        output: Tensor = attention.o_proj(mixed.transpose(1, 2).reshape(rows, new, -1))
        return output


def _turned(heads: Tensor, angles: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions [rows, heads, new, head_dim] (RoFormer, arXiv 2104.09864, in halves)."""
    cos, sin = angles
    first, second = heads.chunk(2, dim=-1)
    return heads * cos + torch.cat([-second, first], dim=-1) * sin
