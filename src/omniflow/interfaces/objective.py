"""Objective: a batch of samples to a loss, and to the figures that choose the best checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from omniflow.errors import UsageError

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Sample
    from omniflow.model import OmniFlowModel

#: What `collate` makes of samples; each objective knows its own.
Batch = object


@dataclass(frozen=True)
class Losses:
    """The weighted sum to minimise, and every term under its own name, unweighted, for the log."""

    total: Tensor
    terms: Mapping[str, Tensor]


class Objective(ABC):
    """Base of every objective; options are the constructor's keyword parameters."""

    #: The validation figure that decides which checkpoint is best, and which way it is better.
    best_by: str = "ppl"
    best_is_lowest: bool = True

    #: Whether the backbone's transformer is trained too, and not head and refiner alone.
    trains_backbone: ClassVar[bool] = False

    #: Partial recipe for this objective: names of a head or refiner (`{"head": "linear"}`), and
    #: options of `training`, below those that suit the backbone; anything a person says wins.
    recipe_defaults: ClassVar[Mapping[str, Any]] = {}

    #: What samples must bring; datasets are told to leave out the rest.
    modalities: frozenset[str]

    def check(self, model: OmniFlowModel) -> None:
        """Refuse a model that lacks what this objective reads, before anything is written.

        Raises:
            UsageError: If it does.
        """

    @abstractmethod
    def collate(self, model: OmniFlowModel, samples: Sequence[Sample]) -> Batch:
        """Samples to a batch on the CPU: tokenised, padded, tasks chosen; touches no weight."""

    @abstractmethod
    def losses(self, model: OmniFlowModel, batch: Batch) -> Losses:
        """The losses of one training batch; draws its noise from torch's global generator."""

    @abstractmethod
    def measure(self, model: OmniFlowModel, batch: Batch) -> Mapping[str, Tensor]:
        """Sums over one validation batch (scalars), so that batches of any size add up."""

    @abstractmethod
    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Figures of the whole validation split from the sums of its batches."""

    def encode_ahead(self, model: OmniFlowModel, samples: Sequence[Sample]) -> None:
        """Ask the model for every frozen value that training on these samples may ask for.

        That is how the cache is filled ahead.

        Raises:
            UsageError: If this objective cannot tell.
        """
        raise UsageError(
            f"{type(self).__name__} cannot say ahead what it reads of samples",
            where="objective",
            expected="training, which fills the cache on its way",
        )

    def texts_cut(self, batch: Batch) -> int:
        """How many texts of the batch were longer than the limit and have been cut."""
        return 0
