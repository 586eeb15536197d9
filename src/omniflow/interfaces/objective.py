"""Objective: a batch of samples to a loss, and to the figures that choose the best checkpoint."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from omniflow.draws import Draws
from omniflow.errors import UsageError

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Sample
    from omniflow.model import OmniFlowModel
    from omniflow.tasks import Task

#: What `collate` makes of samples; each objective knows its own.
Batch = object


#: In `Objective.counts`: the losses that the head adds.
HEAD_LOSSES = "head"


@dataclass(frozen=True)
class Losses:
    """What a batch costs.

    Args:
        terms: Every term under its own name: a mean over the batch, unweighted.
        weights: Weight of each term; 1 for one that is not named.
    """

    terms: Mapping[str, Tensor]
    weights: Mapping[str, float]

    @property
    def total(self) -> Tensor:
        """The weighted sum of the terms, for a batch that is a step of its own."""
        return weighted_sum(self.terms, self.weights)


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The sum of terms times their weights, in float32; a term without a weight counts once."""
    parts = [weights.get(name, 1.0) * term.float() for name, term in terms.items()]
    return torch.stack(parts).sum()


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

    def task_weights(self) -> Mapping[Task, float]:
        """How often each task is wanted; empty if every sample will do.

        A run leaves out samples that serve none of them, before they come to `collate`.
        """
        return {}

    @abstractmethod
    def collate(self, model: OmniFlowModel, samples: Sequence[Sample], draws: Draws) -> Batch:
        """Samples to a batch on the CPU: tokenised, padded, tasks chosen; touches no weight.

        Args:
            model: The model that the batch is for.
            samples: Samples of one forward pass.
            draws: Every random number of the batch, to be kept in it for `losses` and `measure`:
                so a sample meets the same noise whatever batch, process or device it is on, and
                batches of one step decide alike.
        """

    @abstractmethod
    def losses(self, model: OmniFlowModel, batch: Batch) -> Losses:
        """The losses of one training batch; its random numbers are those of its draws."""

    @abstractmethod
    def counts(self, batch: Batch) -> Mapping[str, float]:
        """How much the mean of each term counts beside those of a step's other batches.

        Told from the collated batch alone, before the forward pass: tokens for a mean over tokens,
        samples for one over samples. So several batches, in one process or many, make the step
        that one large batch makes. A term that is not named counts as `HEAD_LOSSES` does.
        """

    def head_passes(self, batch: Batch) -> int:
        """How often the losses of a batch call the head, which processes have to agree on."""
        return 1

    def passes(self, batch: Batch) -> Sequence[str]:
        """Names of what the losses of a batch have the model do, in order.

        Processes that each keep a part of the weights have to do the same in the same order.
        """
        return ()

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
