"""Dataset: an ordered collection of samples, one split at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


@dataclass(frozen=True)
class Audio:
    """A sound: `waveform` [channels, samples] float32 in [-1, 1], at `rate_hz` samples a second."""

    waveform: np.ndarray
    rate_hz: int


@dataclass(frozen=True)
class Sample:
    """One record of a dataset; whatever it does not have is None.

    Args:
        id: Unique within the dataset and split, stable between runs.
        text: The caption or line of text.
        image: An RGB picture.
        audio: A sound.
        references: The texts that a prediction is scored against; `text` alone when empty.
    """

    id: str
    text: str | None = None
    image: Image.Image | None = None
    audio: Audio | None = None
    references: tuple[str, ...] = ()


class Dataset(ABC):
    """Samples of one split, by position.

    The constructor takes the split's name (`split`, one of `splits`, filled in by whoever trains or
    generates) and the dataset's own options, all keyword-only. The same options give the same
    samples in the same order.

    Raises:
        DataError: If the source is missing or unreadable, or the split does not exist.
    """

    splits: ClassVar[tuple[str, ...]] = ("train", "validation", "test")

    @abstractmethod
    def __len__(self) -> int:
        """Number of samples in this split."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """The sample at `index`, in [0, len(self))."""

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Leave out what nobody will read, so that it need not be drawn or decoded.

        Args:
            modalities: Those of `text`, `image` and `audio` that samples still have to bring.
        """

    def notices(self) -> list[str]:
        """What a person should know about this source, for example how many lines were cut."""
        return []
