"""Attention over the tokens of the image, text and audio streams together."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.interfaces.backbone import Streams

#: Inside a root, as published; the diffusers models of this family use 1e-6.
QK_NORM_EPS = 1e-5


class JointAttention(nn.Module):
    """Self-attention of all present streams at once, each with its own projections.

    Args:
        dim: Width of a token.
        heads: Number of heads; `dim` is a multiple of it.
        qk_norm: `layer_norm` (one pair of norms for all streams), `rms_norm` (one pair a stream)
            or None.
        updates_text: Whether text gets a result. If not, text still lends its keys and values to
            the other streams, but asks nothing: its query projection is there and is not used.
    """

    def __init__(self, dim: int, heads: int, *, qk_norm: str | None, updates_text: bool) -> None:
        super().__init__()
        self.heads = heads
        self.updates_text = updates_text
        self.has_norm_per_stream = qk_norm == "rms_norm"
        head_dim = dim // heads
        self.norm_q = _head_norm(head_dim, qk_norm)
        self.norm_k = _head_norm(head_dim, qk_norm)
        if self.has_norm_per_stream:
            self.norm_added_q = _head_norm(head_dim, qk_norm)
            self.norm_added_k = _head_norm(head_dim, qk_norm)
            self.norm_aud_q = _head_norm(head_dim, qk_norm)
            self.norm_aud_k = _head_norm(head_dim, qk_norm)
        self.to_q = nn.Linear(dim, dim)
        self.to_k = nn.Linear(dim, dim)
        self.to_v = nn.Linear(dim, dim)
        self.add_k_proj = nn.Linear(dim, dim)
        self.add_v_proj = nn.Linear(dim, dim)
        self.add_q_proj = nn.Linear(dim, dim)
        self.aud_k_proj = nn.Linear(dim, dim)
        self.aud_v_proj = nn.Linear(dim, dim)
        self.aud_q_proj = nn.Linear(dim, dim)
        self.to_aud_out = nn.Linear(dim, dim)
        self.to_out = nn.Sequential(nn.Linear(dim, dim))
        self.to_add_out = nn.Linear(dim, dim) if updates_text else None

    def forward(self, tokens: Streams) -> Streams:
        """Let every token attend to the tokens of all present streams, without a mask.

        Args:
            tokens: Modulated tokens [batch, tokens, dim]; at least one stream that is updated.

        Returns:
            Results of the same shapes; None for an absent stream, and for text unless
            `updates_text`.
        """
        asking = tokens if self.updates_text else tokens._replace(text=None)
        queries = self._per_head(
            asking, (self.to_q, self.add_q_proj, self.aud_q_proj), self._query_norms()
        )
        keys = self._per_head(
            tokens, (self.to_k, self.add_k_proj, self.aud_k_proj), self._key_norms()
        )
        values = self._per_head(tokens, (self.to_v, self.add_v_proj, self.aud_v_proj), None)
        mixed = _attend(queries, keys, values).transpose(1, 2).flatten(2)
        lengths = [part.shape[1] for part in asking.present()]
        results = iter(torch.split(mixed, lengths, dim=1))
        projections = (self.to_out, self.to_add_out, self.to_aud_out)
        return Streams(
            *(
                None if part is None or projection is None else projection(next(results))
                for part, projection in zip(asking, projections, strict=True)
            )
        )

    def _per_head(
        self,
        tokens: Streams,
        projections: Sequence[nn.Module],
        norms: Sequence[nn.Module] | None,
    ) -> Tensor:
        """Project, split into heads, normalise and join the streams: [batch, heads, all, head]."""
        parts: list[Tensor] = []
        for index, part in enumerate(tokens):
            if part is None:
                continue
            split = projections[index](part).unflatten(2, (self.heads, -1))
            parts.append(split if norms is None else norms[index](split))
        joined = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        return joined.transpose(1, 2)

    def _query_norms(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        if self.has_norm_per_stream:
            return self.norm_q, self.norm_added_q, self.norm_aud_q
        return self.norm_q, self.norm_q, self.norm_q

    def _key_norms(self) -> tuple[nn.Module, nn.Module, nn.Module]:
        if self.has_norm_per_stream:
            return self.norm_k, self.norm_added_k, self.norm_aud_k
        return self.norm_k, self.norm_k, self.norm_k


def _attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Scaled dot-product attention; on the CPU never in half precision.

    There, the backward pass of torch's attention is ten times slower in bfloat16 than in float32.
    """
    if queries.device.type != "cpu" or queries.dtype == torch.float64:
        return F.scaled_dot_product_attention(queries, keys, values)
    with torch.autocast("cpu", enabled=False):
        mixed = F.scaled_dot_product_attention(queries.float(), keys.float(), values.float())
    return mixed.to(queries.dtype)


def _head_norm(head_dim: int, qk_norm: str | None) -> nn.Module:
    if qk_norm == "layer_norm":
        return nn.LayerNorm(head_dim, eps=QK_NORM_EPS)
    if qk_norm == "rms_norm":
        return nn.RMSNorm(head_dim, eps=QK_NORM_EPS)
    return nn.Identity()
