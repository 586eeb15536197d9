"""One training step over several batches and processes, as if it were one large batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from omniflow.errors import PluginError
from omniflow.interfaces import HEAD_LOSSES, Batch, Losses, Objective
from omniflow.training.device import autocast

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel
    from omniflow.training.processes import Processes


class LossModule(nn.Module):
    """Model and objective as one module, from a batch to its losses.

    Only what is trained is registered: so frozen parts are neither sent to other processes nor
    looked through for gradients.

    Args:
        model: The model.
        objective: The objective.
        precision: Number format of the forward pass.
    """

    def __init__(self, model: OmniFlowModel, objective: Objective, precision: str) -> None:
        super().__init__()
        self.trained = nn.ModuleDict(model.trained_modules())
        self.precision = precision
        # In a tuple, which does not register it.
        self._model = (model,)
        self.objective = objective

    def forward(self, batch: Batch) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Terms and weights of `Losses`, in containers that torch looks into for tensors."""
        (model,) = self._model
        with autocast(model.device, self.precision):
            losses = self.objective.losses(model, batch)
        return dict(losses.terms), dict(losses.weights)

    def meet(self) -> None:
        """Nothing; for what has to be called before the first step."""


@dataclass(frozen=True)
class Shares:
    """How much each batch's terms count in a step.

    Args:
        counts: `Objective.counts` of this process's batches.
        totals: Their sums over all batches of all processes.
        are_alike: Whether all processes have batches with the same terms and passes of the head.
    """

    counts: Sequence[Mapping[str, float]]
    totals: Mapping[str, float]
    are_alike: bool

    @classmethod
    def of(
        cls,
        counts: Sequence[Mapping[str, float]],
        processes: Processes,
        head_passes: Sequence[int] = (),
    ) -> Shares:
        """The shares of these batches beside those of the other processes.

        Args:
            counts: `Objective.counts` of this process's batches.
            processes: All of them.
            head_passes: `Objective.head_passes` of this process's batches.
        """
        gathered = processes.gather(([dict(part) for part in counts], list(head_passes)))
        everywhere = [parts for parts, _ in gathered]
        totals: dict[str, float] = {}
        for parts in everywhere:
            for part in parts:
                for name, count in part.items():
                    totals[name] = totals.get(name, 0.0) + count
        kinds = [([sorted(part) for part in parts], list(n)) for parts, n in gathered]
        return cls(counts, totals, all(kind == kinds[0] for kind in kinds))

    def key(self, term: str) -> str:
        """Under which name a term is counted.

        Raises:
            PluginError: If the objective counts neither the term nor the head's losses.
        """
        if term in self.totals:
            return term
        if HEAD_LOSSES not in self.totals:
            raise PluginError(
                f"the objective returns a loss {term!r} that it does not count",
                expected=f"counts of {term}, or of {HEAD_LOSSES} for the losses of a head",
            )
        return HEAD_LOSSES

    def scaled(self, part: int, losses: Losses) -> Losses:
        """The losses of a batch, each term times its share of the step's mean.

        Args:
            part: Which of this process's batches it is.
            losses: Its losses.

        Raises:
            PluginError: If one of them is no scalar tensor, or not counted.
        """
        terms = {}
        for name, term in losses.terms.items():
            if not isinstance(term, Tensor) or term.ndim:
                is_tensor = isinstance(term, Tensor)
                said = f"a tensor of shape {list(term.shape)}" if is_tensor else repr(term)
                raise PluginError(f"the loss {name!r} is {said}", expected="a scalar tensor")
            key = self.key(name)
            count, total = self.counts[part].get(key, 0.0), self.totals[key]
            terms[name] = term * (count / total if total else 0.0)
        return Losses(terms, losses.weights)
