"""Encoder: samples to one embedding each; frozen."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
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

    def work_identity(self, modality: str) -> Mapping[str, str] | None:
        """What shapes an embedding beside its content, for the key of the cache.

        Hashes of the weights, of every configuration and file that preprocessing reads, and options
        that matter; the component, its distribution, the code and the versions of packages are
        added to it. An embedding that is to be kept must not depend on the rest of its batch.

        Args:
            modality: One of `modalities`.

        Returns:
            None, the default, for embeddings that must not be kept.
        """
        return None
