"""One block of the joint transformer: modulation, joint attention, a feed-forward a stream."""

from collections import OrderedDict
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.interfaces.backbone import Streams
from omniflow.models.joint_attention import JointAttention

NORM_EPS = 1e-6


def modulate(tokens: Tensor, *, scale: Tensor, shift: Tensor) -> Tensor:
    """Normalise tokens [batch, tokens, dim] without weights, then scale and shift them.

    `scale` and `shift` are [batch, 1, dim]; a scale of 0 keeps the size of what was normalised.
    """
    return F.layer_norm(tokens, tokens.shape[-1:], eps=NORM_EPS) * (1 + scale) + shift


class StreamUpdate(NamedTuple):
    """What is done to one stream after attention; vectors [batch, 1, dim]."""

    gate_attention: Tensor
    shift_ff: Tensor
    scale_ff: Tensor
    gate_ff: Tensor

    def apply(self, tokens: Tensor, attended: Tensor, feed_forward: nn.Module) -> Tensor:
        """Add the attention result, then the feed-forward's, to tokens [batch, tokens, dim]."""
        tokens = tokens + self.gate_attention * attended
        widened: Tensor = feed_forward(modulate(tokens, scale=self.scale_ff, shift=self.shift_ff))
        return tokens + self.gate_ff * widened


class BlockModulation(nn.Module):
    """Modulation of one stream in a block: before attention, and around what follows it.

    Args:
        dim: Width of the condition and of a token.
        pieces: Vectors that the layer makes; six are used. Nine are made where a second attention
            over the image was planned.
    """

    def __init__(self, dim: int, pieces: int = 6) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, pieces * dim)
        self.pieces = pieces

    def forward(self, tokens: Tensor, condition: Tensor) -> tuple[Tensor, StreamUpdate]:
        """Modulate tokens [batch, tokens, dim] with a condition [batch, dim]."""
        vectors = self.linear(F.silu(condition))[:, None].chunk(self.pieces, dim=2)
        shift, scale, *update = vectors[:6]
        return modulate(tokens, scale=scale, shift=shift), StreamUpdate(*update)


class FinalModulation(nn.Module):
    """Normalisation with scale and shift from the condition, and no gate.

    Args:
        dim: Width of the tokens that are normalised.
        condition_dim: Width of the condition.
    """

    def __init__(self, dim: int, condition_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(condition_dim, 2 * dim)

    def forward(self, tokens: Tensor, condition: Tensor) -> Tensor:
        """Modulate tokens [batch, tokens, dim] with a condition [batch, condition_dim]."""
        # Scale comes first here; in `BlockModulation` the shift does.
        scale, shift = self.linear(F.silu(condition))[:, None].chunk(2, dim=2)
        return modulate(tokens, scale=scale, shift=shift)


class FeedForward(nn.Module):
    """Linear, GELU (tanh approximation), linear, four times as wide inside.

    The layers are numbered as published; number 1 was a dropout that never dropped anything.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        widen = OrderedDict(proj=nn.Linear(dim, 4 * dim), gelu=nn.GELU(approximate="tanh"))
        self.net = nn.Sequential(
            OrderedDict([("0", nn.Sequential(widen)), ("2", nn.Linear(4 * dim, dim))])
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens [batch, tokens, dim] to the same shape."""
        output: Tensor = self.net(tokens)
        return output


class JointBlock(nn.Module):
    """One block over the image, text and audio streams, any of which may be absent.

    In the last block text leaves as it came: it lends its keys and values to the other streams, and
    its own query, attention result and feed-forward (present in the weights) are not computed.

    Args:
        dim: Width of a token.
        heads: Attention heads.
        qk_norm: Norm of queries and keys, see `JointAttention`.
        is_last: Whether this is the last block of the network.
        has_dual_modulation: Whether the image modulation makes three more, unused, vectors.
        has_image: Whether the image stream's modulation and feed-forward exist.
        has_text: The same for text.
        has_audio: The same for audio.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        *,
        qk_norm: str | None,
        is_last: bool = False,
        has_dual_modulation: bool = False,
        has_image: bool = True,
        has_text: bool = True,
        has_audio: bool = True,
    ) -> None:
        super().__init__()
        self.is_last = is_last
        # The order of registration is the order of the published EMA list.
        self.norm1 = BlockModulation(dim, 9 if has_dual_modulation else 6) if has_image else None
        self.norm1_context: BlockModulation | FinalModulation | None = None
        if has_text:
            self.norm1_context = FinalModulation(dim, dim) if is_last else BlockModulation(dim)
        self.attn = JointAttention(dim, heads, qk_norm=qk_norm, updates_text=not is_last)
        self.ff = FeedForward(dim) if has_image else None
        self.ff_context = FeedForward(dim) if has_text else None
        self.ff_audio = FeedForward(dim) if has_audio else None
        self.norm1_audio = BlockModulation(dim) if has_audio else None

    def forward(self, tokens: Streams, conditions: Streams) -> Streams:
        """Update the tokens of every present stream.

        Args:
            tokens: Tokens of each stream [batch, tokens, dim].
            conditions: Condition vector [batch, dim] of each present stream.

        Returns:
            Tokens of the same shapes.
        """
        if self.is_last and tokens.image is None and tokens.audio is None:
            return tokens
        entered: list[Tensor | None] = []
        updates: list[StreamUpdate | None] = []
        norms = (self.norm1, self.norm1_context, self.norm1_audio)
        for part, condition, norm in zip(tokens, conditions, norms, strict=True):
            modulated = update = None
            if part is not None and isinstance(norm, FinalModulation):
                modulated = norm(part, condition)
            elif part is not None and norm is not None:
                modulated, update = norm(part, condition)
            entered.append(modulated)
            updates.append(update)
        attended: Streams = self.attn(Streams(*entered))
        feed_forwards = (self.ff, self.ff_context, self.ff_audio)
        updated = zip(tokens, attended, updates, feed_forwards, strict=True)
        return Streams(*(_updated(*stream) for stream in updated))


def _updated(
    tokens: Tensor | None,
    attended: Tensor | None,
    update: StreamUpdate | None,
    feed_forward: nn.Module | None,
) -> Tensor | None:
    """A stream after attention; as it was where it is absent or left alone."""
    if tokens is None or attended is None or update is None or feed_forward is None:
        return tokens
    return update.apply(tokens, attended, feed_forward)
