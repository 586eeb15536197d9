"""Dataset: an ordered collection of samples, one split at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from omniflow.errors import UnknownLengthError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from omniflow.tasks import Task


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
        tasks: The tasks that it may serve, with their weights, where its dataset has tasks of its
            own; None for those of the objective. Filled in by whoever mixes datasets.
    """

    id: str
    text: str | None = None
    image: Image.Image | None = None
    audio: Audio | None = None
    references: tuple[str, ...] = ()
    tasks: Mapping[Task, float] | None = field(default=None, hash=False)


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
        """The sample at `index`, in [0, len(self)).

        Raises:
            RecordError: If it cannot be read; a run leaves it out, up to a limit, and lists it.
        """

    #: Whether samples are best read in the order of their source, by `records`, and how many there
    #: are is only known at its end.
    is_streaming: bool = False

    def records(self, start: int = 0) -> Iterator[Any]:
        """What samples are made of, undecoded, from number `start` to the end, in source order.

        For a dataset that is read by position these are the positions. Many are held at a time, so
        a record is to be small: bytes, or where they lie, rather than a picture.
        """
        return iter(range(start, len(self)))

    def decode(self, record: Any) -> Sample:
        """The sample that is made of one of the `records`.

        Raises:
            RecordError: As for `dataset[index]`.
        """
        return self[record]

    def length_of(self, record: Any) -> int | None:
        """How long the text of a record's sample is, in any unit, where that is cheap to tell.

        Samples of similar length are then put into one batch (`training.group_by_length`).
        """
        return None

    def __iter__(self) -> Iterator[Sample]:
        return (self.decode(record) for record in self.records())

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Leave out what nobody will read, so that it need not be drawn or decoded.

        Args:
            modalities: Those of `text`, `image` and `audio` that samples still have to bring.
        """

    def column_roles(self) -> Mapping[str, str | None]:
        """Columns of the source, for whoever looks at it before a run.

        Returns:
            Column -> what is read from it (text, image, audio, id, references), None for one that
            is left alone. Empty, the default, for a source without columns.
        """
        return {}

    def notices(self) -> list[str]:
        """What a person should know about this source, for example how many lines were cut."""
        return []


class StreamingDataset(Dataset):
    """Samples that are read one after the other, from any of them on, to an end not known before.

    What is read is the same every time, so that a run is resumed by reading from where it was:
    nothing about a stream is saved.
    """

    is_streaming = True

    @abstractmethod
    def records(self, start: int = 0) -> Iterator[Any]:
        """Undecoded records from number `start` on, without a gap, the same in every reading."""

    @abstractmethod
    def decode(self, record: Any) -> Sample:
        """The sample that is made of a record."""

    def __len__(self) -> int:
        raise UnknownLengthError(type(self).__name__)

    def __getitem__(self, index: int) -> Sample:
        for record in islice(self.records(index), 1):
            return self.decode(record)
        raise IndexError(index)
