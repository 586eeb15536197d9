"""Contents that occur more than once: within a split, and in two of them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from omniflow.inspection.reading import MODALITIES

if TYPE_CHECKING:
    from omniflow.interfaces import Sample

#: Pairs of ids that are kept for a person to look at.
_SHOWN = 3

#: Bytes of a fingerprint: of a million contents two are mixed up with a chance of 3e-8.
_BYTES = 8


def fingerprints(sample: Sample) -> dict[str, int]:
    """A hash of what a sample holds, by modality: of the text, the pixels, the waveform."""
    found: dict[str, int] = {}
    if sample.text is not None:
        found["text"] = _digest(sample.text.encode("utf-8", "surrogatepass"))
    if sample.image is not None:
        found["image"] = _digest(
            f"{sample.image.mode} {sample.image.size}".encode(), sample.image.tobytes()
        )
    if sample.audio is not None:
        waveform = np.ascontiguousarray(sample.audio.waveform)
        kind = f"{sample.audio.rate_hz} {waveform.shape} {waveform.dtype}"
        found["audio"] = _digest(kind.encode(), waveform.tobytes())
    return found


@dataclass
class Contents:
    """What a split holds of one modality, as far as it was read: about 200 bytes a content.

    Args:
        first: Fingerprint -> id of the record that has it first.
        read: Records that brought the modality.
        examples: Ids of some such records, each with that of the first.
    """

    first: dict[int, str] = field(default_factory=dict)
    read: int = 0
    examples: list[tuple[str, str]] = field(default_factory=list)

    @property
    def repeated(self) -> int:
        """Records whose content one before them has."""
        return self.read - len(self.first)

    def add(self, fingerprint: int, record: str) -> None:
        """Take note of a record's content."""
        self.read += 1
        before = self.first.get(fingerprint)
        if before is None:
            self.first[fingerprint] = record
        elif len(self.examples) < _SHOWN:
            self.examples.append((before, record))


@dataclass(frozen=True)
class Repeats:
    """Contents that two splits share, or that a split has more than once.

    Args:
        modality: text, image or audio.
        first: Name of a split, `coco train`.
        second: Name of the other one; the same for contents within one.
        count: Different contents in both; within a split, records beyond the first of each.
        compared: Contents of either that were compared.
        is_complete: Whether these are all there are.
        examples: Pairs of ids.
    """

    modality: str
    first: str
    second: str
    count: int
    compared: tuple[int, int]
    is_complete: bool
    examples: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class SplitContents:
    """The contents of a split, by modality.

    Args:
        name: What the split is called.
        contents: Modality -> its contents.
        complete: Modalities of which all records were read.
    """

    name: str
    contents: Mapping[str, Contents]
    complete: frozenset[str]


def repeats(splits: Sequence[SplitContents]) -> list[Repeats]:
    """What every split has more than once, and what every two of them share; zeros included."""
    found: list[Repeats] = []
    for modality in MODALITIES:
        holding = [split for split in splits if modality in split.contents]
        found += [_within(modality, split) for split in holding]
        found += [_between(modality, *pair) for pair in combinations(holding, 2)]
    return found


def _within(modality: str, split: SplitContents) -> Repeats:
    contents = split.contents[modality]
    return Repeats(
        modality,
        split.name,
        split.name,
        contents.repeated,
        (contents.read, contents.read),
        modality in split.complete,
        tuple(contents.examples),
    )


def _between(modality: str, one: SplitContents, other: SplitContents) -> Repeats:
    ours, theirs = one.contents[modality], other.contents[modality]
    shared = [print_ for print_ in ours.first if print_ in theirs.first]
    return Repeats(
        modality,
        one.name,
        other.name,
        len(shared),
        (ours.read, theirs.read),
        modality in one.complete & other.complete,
        tuple((ours.first[each], theirs.first[each]) for each in shared[:_SHOWN]),
    )


def _digest(*parts: bytes) -> int:
    state = hashlib.blake2b(digest_size=_BYTES)
    for part in parts:
        state.update(part)
    return int.from_bytes(state.digest(), "big")
