"""Encoder: samples to one embedding each; frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Sample


class Encoder(nn.Module, ABC):
    """Base of every encoder.

    An encoder embeds the modalities that it lists, one vector a sample; the model adapts the width
    to the backbone's pooled slot when they differ. Nothing in it is trained. Construction reads
    configuration only; `load_weights` fills the tensors in.
    """

    modalities: tuple[str, ...]

    @property
    @abstractmethod
    def width(self) -> int:
        """Size of one embedding."""

    @abstractmethod
    def load_weights(self) -> None:
        """Read the weights that the constructor only looked up."""

    @abstractmethod
    def encode(self, samples: Sequence[Sample], modality: str) -> Tensor:
        """Embed one modality of every sample: [batch, width].

        Args:
            samples: Samples that all have the modality.
            modality: One of `modalities`.
        """
