"""Vector quantiser: continuous vectors to the nearest entries of a learned codebook."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Self

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from omniflow.errors import ConfigError
from omniflow.models.precision import full_precision

#: How gradients pass the quantiser.
GRADIENTS = ("straight-through", "rotation")

#: A code counts as dead in the statistics below this share of an even usage.
DEAD_SHARE = 0.01

#: Patience that a code has left when it was just replaced: nothing is lost with it yet.
_FRESH_SHARE = 0.25

#: Numbers of a matrix of vectors by codes that are held at once, by kind of device: 4 MB on the
#: CPU, which stay in its cache, and 128 MB on a GPU.
_HELD = {"cpu": 2**20}
_HELD_ELSEWHERE = 2**25

#: Codes of which the CPU takes the least distance first, before it looks which of them it is.
_GROUP = 64

_TINY = 1e-12


class Quantised(NamedTuple):
    """What a quantiser makes of vectors [..., dim].

    Args:
        latents: The chosen codes [..., dim], float32; gradients reach the vectors through them.
        codes: Their indices [...].
        loss: Commitment loss, a scalar, already weighted.
    """

    latents: Tensor
    codes: Tensor
    loss: Tensor


class VectorQuantiser(nn.Module):
    """Codebook that follows its data by moving averages, with dead codes brought back.

    The codebook is no parameter: each code moves to the running mean of the vectors that chose it
    (van den Oord et al. 2017, arXiv 1711.00937, appendix A.1), which takes the place of the
    codebook loss and makes it independent of the optimiser. All state is in float32 buffers, kept
    in float32 when the module is cast. A training step neither waits for the device nor has shapes
    that depend on data. Under `torch.distributed` every rank has to take every training step:
    the ranks add up their counts and share one codebook.

    Args:
        dim: Width of the vectors.
        codebook_size: Number of codes, at least 2.
        commitment_weight: Weight of the squared distance between vectors and codes in the loss.
        decay: Share of the moving averages that each step keeps, in [0, 1).
        revive_after: A code that nobody chose while `revive_after * codebook_size` vectors went by
            is replaced with one of the batch's vectors, and again after a quarter of that if
            nobody takes to it; 0 switches that off. The codebook starts out dead, so that it is
            first filled with vectors.
        gradient: "straight-through" hands gradients back unchanged, "rotation" through the rotation
            and rescaling that take the vector to its code (Fifty et al. 2024, arXiv 2410.06424).

    Raises:
        ConfigError: If an option is outside its range.
    """

    codebook: Tensor
    usage: Tensor
    idle: Tensor

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        commitment_weight: float = 0.25,
        decay: float = 0.99,
        revive_after: float = 8.0,
        gradient: str = "straight-through",
    ) -> None:
        super().__init__()
        if codebook_size < 2:
            raise ConfigError("codebook_size", codebook_size, expected="a whole number >= 2")
        if not commitment_weight >= 0.0:
            raise ConfigError("commitment_weight", commitment_weight, expected="a number >= 0")
        if not 0.0 <= decay < 1.0:
            raise ConfigError("decay", decay, expected="a number in [0, 1)")
        if not revive_after >= 0.0:
            raise ConfigError("revive_after", revive_after, expected="a number >= 0")
        if gradient not in GRADIENTS:
            raise ConfigError("gradient", gradient, expected=" or ".join(GRADIENTS))
        self.commitment_weight = commitment_weight
        self.decay = decay
        self.revive_after = revive_after
        self.gradient = gradient
        self.register_buffer("codebook", torch.randn(codebook_size, dim))
        # Moving average of how often a step chooses each code.
        self.register_buffer("usage", torch.zeros(codebook_size))
        # Vectors since each code was last chosen, divided by the codebook size.
        self.register_buffer("idle", torch.full((codebook_size,), torch.inf))

    def forward(self, vectors: Tensor) -> Quantised:
        """Quantise vectors [..., dim]; in training mode the codebook learns from them."""
        with full_precision(vectors.device.type):
            vectors = vectors.float()
            flat = vectors.detach().flatten(end_dim=-2)
            codes = self.nearest(flat)
            chosen = F.embedding(codes, self.codebook).view_as(vectors)
            if self.training:
                self._learn(flat, codes)
            loss = self.commitment_weight * F.mse_loss(vectors, chosen)
            if not self.training:
                latents = chosen
            elif self.gradient == "rotation":
                latents = rotate_to(vectors, chosen)
            else:
                # Forward takes the code, backward pretends quantising was the identity.
                latents = vectors + (chosen - vectors).detach()
        return Quantised(latents, codes.view(vectors.shape[:-1]), loss)

    @torch.no_grad()
    def nearest(self, flat: Tensor) -> Tensor:
        """Index of the code nearest to each vector [vectors, dim], by squared distance."""
        squared_norms = torch.linalg.vector_norm(self.codebook, dim=-1).square_()
        rows = min(len(flat), self._rows(flat))
        # One piece of memory for all parts: a fresh one costs as much as what is done in it.
        held = flat.new_empty(rows, len(self.codebook))
        parts = []
        for part in torch.split(flat, rows or 1):
            # |x|^2 is the same for every code, so it is left out.
            distances = torch.addmm(
                squared_norms, part, self.codebook.T, alpha=-2.0, out=held[: len(part)]
            )
            parts.append(first_least(distances))
        return torch.cat(parts)

    def statistics(self) -> dict[str, float]:
        """Recent use of the codebook; moves data to the host.

        `code_perplexity` runs from 1 (one code takes all) to `codebook_size` (all alike), and
        `dead_codes` counts the codes below one percent of an even share. Both are over a running
        average of about `1 / (1 - decay)` training steps.
        """
        dead = self.usage < DEAD_SHARE * self.usage.mean()
        unused = self.usage == 0.0
        return {
            "code_perplexity": _perplexity(self.usage),
            "dead_codes": float((dead | unused).sum().item()),
        }

    @torch.no_grad()
    def _learn(self, flat: Tensor, codes: Tensor) -> None:
        counts, sums = self._tally(flat, codes)
        if _is_distributed():
            distributed.all_reduce(counts)
            distributed.all_reduce(sums)
        self.usage.lerp_(counts, 1.0 - self.decay)
        # The mean with the old mean weighted by its usage; exactly no move for unused codes.
        sums.addcmul_(counts[:, None], self.codebook, value=-1.0)
        weights = self.usage.clamp(min=_TINY)[:, None]
        self.codebook.addcdiv_(sums, weights, value=1.0 - self.decay)
        self.idle.add_(counts.sum() / len(counts)).masked_fill_(counts > 0, 0.0)
        if self.revive_after > 0:
            self._revive(flat, codes)
        if _is_distributed():
            for state in (self.codebook, self.usage, self.idle):
                distributed.broadcast(state, src=0)

    def _tally(self, flat: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        size = len(self.codebook)
        if flat.device.type == "cpu":
            return tally_in_order(flat, codes, size)
        return tally_by_products(flat, codes, size, rows=self._rows(flat))

    def _rows(self, flat: Tensor) -> int:
        """So many vectors are compared with the codebook at a time."""
        held = _HELD.get(flat.device.type, _HELD_ELSEWHERE)
        return max(1, held // len(self.codebook))

    def _revive(self, flat: Tensor, codes: Tensor) -> None:
        dead = self.idle > self.revive_after
        # The n-th dead code takes the n-th candidate; those beyond the last wait for a later step.
        candidates = self._candidates(flat, codes)
        turn = dead.cumsum(dim=0) - 1
        revived = dead & (turn < len(candidates))
        replacements = candidates[turn.clamp(0, len(candidates) - 1)]
        torch.where(revived[:, None], replacements, self.codebook, out=self.codebook)
        self.usage.masked_fill_(revived, 0.0)
        self.idle.masked_fill_(revived, (1.0 - _FRESH_SHARE) * self.revive_after)

    def _candidates(self, flat: Tensor, codes: Tensor) -> Tensor:
        return flat[torch.rand(len(flat), device=flat.device).argsort()]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # A cast to bfloat16 would round the averages to three digits: move them, keep their dtype.
        def keep_precision(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            return moved if moved.dtype == tensor.dtype else tensor.to(moved.device)

        super()._apply(keep_precision, recurse)  # type: ignore[no-untyped-call]
        return self


def first_least(rows: Tensor) -> Tensor:
    """Index of the first least number of each row [rows, numbers], NaN before all others.

    What `argmin` gives. The CPU finds the least number of a group with vector instructions, and its
    place without: so it first looks in which group it is, which takes a third of the time.
    """
    count, numbers = rows.shape
    if rows.device.type != "cpu" or numbers % _GROUP:
        return rows.argmin(dim=1)
    groups = rows.view(count, numbers // _GROUP, _GROUP)
    group = groups.amin(dim=2).argmin(dim=1)
    inside = groups.gather(1, group[:, None, None].expand(-1, 1, _GROUP))[:, 0].argmin(dim=1)
    return group * _GROUP + inside


def tally_in_order(flat: Tensor, codes: Tensor, codebook_size: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each code [codebook_size], and their sums [codebook_size, dim].

    For the CPU alone, which adds them up in their order.

    Args:
        flat: Vectors [vectors, dim].
        codes: Index of the code that each of them chose [vectors].
        codebook_size: Number of codes.
    """
    counts, sums = flat.new_zeros(codebook_size), flat.new_zeros(codebook_size, flat.shape[1])
    ones = torch.ones_like(codes, dtype=flat.dtype)
    return counts.index_add_(0, codes, ones), sums.index_add_(0, codes, flat)


def tally_by_products(
    flat: Tensor, codes: Tensor, codebook_size: int, *, rows: int
) -> tuple[Tensor, Tensor]:
    """The same by products with one-hot rows, so many at a time.

    For a GPU, where `index_add_` and `bincount` add in any order (no exact resume), and `bincount`
    waits for the device.
    """
    counts, sums = flat.new_zeros(codebook_size), flat.new_zeros(codebook_size, flat.shape[1])
    numbers = torch.arange(codebook_size, device=flat.device)
    for vectors, chosen in zip(torch.split(flat, rows), torch.split(codes, rows), strict=True):
        one_hot = (chosen[:, None] == numbers).to(flat.dtype)
        counts += one_hot.sum(dim=0)
        sums.addmm_(one_hot.T, vectors)
    return counts, sums


def rotate_to(vectors: Tensor, targets: Tensor) -> Tensor:
    """Turn and scale vectors [..., dim] onto targets; backward, turn and scale gradients back.

    Rotation and scale count as constants in the backward pass (Fifty et al. 2024,
    arXiv 2410.06424, section 4.2).
    """
    with torch.no_grad():
        source, target = F.normalize(vectors, dim=-1), F.normalize(targets, dim=-1)
        middle = F.normalize(source + target, dim=-1)
        length = vectors.norm(dim=-1, keepdim=True).clamp(min=_TINY)
        scale = targets.norm(dim=-1, keepdim=True) / length
    reflected = 2.0 * (vectors * middle).sum(dim=-1, keepdim=True) * middle
    turned = 2.0 * (vectors * source).sum(dim=-1, keepdim=True) * target
    onto: Tensor = (vectors - reflected + turned) * scale
    return onto


def code_perplexity(codes: Tensor, codebook_size: int) -> float:
    """Effective number of codes in use: exp of the entropy of their frequencies.

    1.0 when a single code is used (collapse), `codebook_size` when all are used
    equally. Moves one number to the host: call it when logging, not each step.

    Args:
        codes: Indices in [0, codebook_size), any shape, at least one element.
        codebook_size: Number of entries in the codebook.

    Example:
        >>> round(code_perplexity(torch.tensor([0, 0, 3, 3]), codebook_size=8), 3)
        2.0
    """
    return _perplexity(torch.bincount(codes.flatten(), minlength=codebook_size).float())


def _perplexity(counts: Tensor) -> float:
    probabilities = counts / counts.sum().clamp(min=_TINY)
    return float(torch.special.entr(probabilities).sum().exp().item())


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
