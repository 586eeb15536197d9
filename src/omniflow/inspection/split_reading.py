"""One reading of a split: what its records bring, how long their texts are, what they hold."""

from __future__ import annotations

from array import array
from collections import Counter
from typing import TYPE_CHECKING

from omniflow.inspection.contents import Contents, fingerprints
from omniflow.inspection.lengths import Lengths
from omniflow.inspection.reading import Failure, brought_by, read_some, size_of

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset, Sample

#: Texts of a split that are kept for its tokens to be counted, spread evenly.
MOST_TOKENISED = 5_000


class SplitReading:
    """Reads some records and keeps figures of them, not the records.

    Args:
        dataset: The split.
        count: Records that are read at most, spread evenly; of a stream the first ones.

    Attributes:
        size: Records of the split; None for a stream.
        read: Records that were read, in vain or not.
        failures: Those that could not be.
        mix: What the others bring (`text+image`) -> how many.
        contents: Modality -> contents, by fingerprint.
        texts: Some of the texts.
        is_whole: Whether that was all of the split.
    """

    def __init__(self, dataset: Dataset, count: int) -> None:
        self.size = size_of(dataset)
        self.read = 0
        self.failures: list[Failure] = []
        self.mix: Counter[str] = Counter()
        self.contents: dict[str, Contents] = {}
        self.texts: list[str] = []
        self._characters = array("q")
        expected = count if self.size is None else min(count, self.size)
        self._every = max(1, -(-expected // MOST_TOKENISED))
        for _, found in read_some(dataset, count):
            self._take(found)
        # Of a stream that ends with the last of `count` records nobody has seen the end.
        self.is_whole = self.read == self.size if self.size is not None else self.read < count

    @property
    def characters(self) -> Lengths | None:
        """How long the texts are; None where there is none."""
        return Lengths.of(self._characters) if self._characters else None

    def _take(self, found: Sample | Failure) -> None:
        self.read += 1
        if isinstance(found, Failure):
            self.failures.append(found)
            return
        self.mix["+".join(brought_by(found)) or "nothing"] += 1
        for modality, fingerprint in fingerprints(found).items():
            self.contents.setdefault(modality, Contents()).add(fingerprint, found.id)
        if found.text is not None:
            if len(self._characters) % self._every == 0:
                self.texts.append(found.text)
            self._characters.append(len(found.text))
