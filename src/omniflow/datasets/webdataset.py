"""WebDataset: tar shards whose members of one stem are one sample."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from omniflow.datasets.hub_media import picture_of, sound_of, texts_of
from omniflow.datasets.record_columns import USUAL
from omniflow.datasets.record_media import MOST_TEXT_BYTES, SUFFIXES, checked_text, type_name
from omniflow.datasets.shard_groups import Group, Part
from omniflow.datasets.shard_paths import find_shards
from omniflow.datasets.shards import (
    BITS,
    FIRST,
    Place,
    Shards,
    bytes_read,
    group_place,
    index_shards,
)
from omniflow.datasets.split_sources import SplitSources, require_seed
from omniflow.errors import DataError, RecordError, UnknownLengthError
from omniflow.interfaces.dataset import Dataset, Sample

#: So many records apart lie the places of a stream that are remembered, to go back to.
REMEMBERED = 1000


class WebDataset(Dataset):
    """One sample a stem: `dog.jpg`, `dog.txt` and `dog.wav`, side by side in a shard.

    Shards are read in place, never unpacked. Read by position, their headers are gone through
    first; streamed, samples are read as they come. A stem is what precedes the first dot of a
    member's name. A sample that cannot be read raises `RecordError`, and so does one whose member
    is a link or device, or has an absolute name or one with `..` in it.

    Args:
        path: Shards: a file, `shard-{000..009}.tar`, `shard-*.tar` or a folder; on the Hub
            `hf://datasets/OWNER/NAME[@REVISION]/...`, and streamed also `https://...`.
        split: One of `splits`.
        json_key: Key of the text in .json members, which are looked at where there is no .txt and
            no .caption; when null, text or caption.
        validation_path: Shards of their own for validation.
        test_path: Shards of their own for testing.
        validation_share: Share of `path` held out for validation, in [0, 1], by a hash of the
            stem; of no effect with `validation_path`.
        test_share: Share held out for testing; of no effect with `test_path`.
        seed: Another seed, other splits.
        streaming: Read samples as they come: training begins at once, shuffles within
            `training.shuffle_block` samples, and needs `training.max_steps`.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If shards are missing, packed, hold nothing of use, or a split would be empty.
        UsageError: If the Hub cannot be reached.
    """

    def __init__(
        self,
        *,
        path: str,
        split: str = "train",
        json_key: str | None = None,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        seed: int = 0,
        streaming: bool = False,
    ) -> None:
        require_seed(seed)
        sources = SplitSources.said(
            path,
            validation_path=validation_path,
            test_path=test_path,
            validation_share=validation_share,
            test_share=test_share,
        )
        self.path, is_own = sources.of(split, self.splits)
        self.is_streaming = streaming
        self._seed = seed
        self._json_keys = USUAL["text"] if json_key is None else (json_key,)
        self._wanted = frozenset(SUFFIXES)
        self._notices: list[str] = []
        self._shards = Shards(find_shards(self.path, streaming=streaming))
        # Where a stream was on its way, to go back to.
        self._places = [FIRST]
        self._stretch = (0.0, 1.0)
        if not streaming:
            self._index = index_shards(self._shards, seed)
            self._require_some()
        if not is_own:
            self._stretch = self._stretch_of(sources, split)
        if not streaming:
            low, high = self._stretch
            places = self._index.places
            self._chosen = np.flatnonzero((low <= places) & (places < high)).astype(np.int32)

    def __len__(self) -> int:
        if self.is_streaming:
            raise UnknownLengthError(self.path, expected="streaming: false")
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        if self.is_streaming:
            for record in self.records(index):
                return self.decode(record)
            raise IndexError(index)
        if not 0 <= index < len(self._chosen):
            raise IndexError(f"index {index} is not in [0, {len(self._chosen)})")
        number = self._chosen[index]
        place = Place(int(self._index.shards[number]), int(self._index.offsets[number]))
        return self._sample(place, self._group_at(place))

    def records(self, start: int = 0) -> Iterator[Any]:
        """Groups of a stream, with the contents of those that are elsewhere; else positions."""
        return self._stream(start) if self.is_streaming else super().records(start)

    def decode(self, record: Any) -> Sample:
        """The sample of a record."""
        return self._sample(*record) if self.is_streaming else self[record]

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Read no members that nobody looks at, and leave out samples that have no other."""
        self._wanted = frozenset(modalities) & set(SUFFIXES)
        self._places = [FIRST]
        if self.is_streaming:
            return
        bits = sum(BITS[name] for name in self._wanted)
        is_kept = self._index.modalities[self._chosen] & bits > 0
        if not is_kept.all():
            self._tell(
                f"{int((~is_kept).sum())} records without {' or '.join(sorted(self._wanted))} "
                "left out"
            )
        self._chosen = self._chosen[is_kept]

    def notices(self) -> list[str]:
        """What was left out or moved."""
        return list(self._notices)

    def _stream(self, start: int) -> Iterator[tuple[Place, Group]]:
        remembered = min(start // REMEMBERED, len(self._places) - 1)
        number = remembered * REMEMBERED
        low, high = self._stretch
        for place, group in self._shards.groups(self._places[remembered], self._wanted):
            if not group.modalities & self._wanted:
                continue
            if not low <= group_place(place, group, self._seed) < high:
                continue
            if number == len(self._places) * REMEMBERED:
                self._places.append(place)
            if number >= start:
                yield place, group
            number += 1

    def _stretch_of(self, sources: SplitSources, split: str) -> tuple[float, float]:
        """The part of [0, 1) that belongs to the split, see `SplitShares.stretch`."""
        places = None if self.is_streaming else np.unique(self._index.places)
        low, high, is_moved = sources.shares.stretch(split, places, where=self.path)
        if is_moved:
            self._tell(
                f"only {len(self._index.places)} records, so some were moved to give every split "
                "one"
            )
        return low, high

    def _require_some(self) -> None:
        if not len(self._index.places):
            raise DataError(
                "there is nothing of use in the shards",
                where=self.path,
                expected="members such as 0.jpg, 0.wav, 0.txt",
            )
        if self._index.others:
            self._tell(f"{self._index.others} stems of other kinds left alone")

    def _group_at(self, place: Place) -> Group:
        try:
            return self._shards.group_at(place)
        except DataError as error:
            raise RecordError(self._id(place, None), error.problem) from error

    def _sample(self, place: Place, group: Group) -> Sample:
        record = self._id(place, group.key)
        parts = self._parts(record, group)
        read = {part.member.name: part for part in parts.values()}

        def content_of(name: str) -> bytes:
            return self._content(place, read[name])

        def path_of(kind: str) -> dict[str, str] | None:
            return {"path": parts[kind].member.name} if kind in parts else None

        texts = self._texts(record, parts, place)
        picture = picture_of(record, path_of("image"), content_of)
        sound = sound_of(record, path_of("audio"), content_of)
        if not texts and picture is None and sound is None:
            raise RecordError(record, f"it has no {' and no '.join(sorted(self._wanted))}")
        return Sample(record, texts[0] if texts else None, picture, sound, texts)

    def _parts(self, record: str, group: Group) -> dict[str, Part]:
        """The parts that are looked at, by their kind.

        Raises:
            RecordError: If one of them is not to be read, or there are two of a kind.
        """
        parts: dict[str, Part] = {}
        for part in group.parts:
            if part.kind and ("text" if part.kind == "json" else part.kind) not in self._wanted:
                continue
            if part.member.problem is not None:
                name = f"{part.member.name!r} " if part.kind else ""
                raise RecordError(record, f"{name}{part.member.problem}")
            if part.kind in parts:
                both = f"{parts[part.kind].member.name!r} and {part.member.name!r}"
                raise RecordError(record, f"two members of {part.kind}: {both}")
            parts[part.kind] = part
        return parts

    def _texts(self, record: str, parts: Mapping[str, Part], place: Place) -> tuple[str, ...]:
        part = parts.get("text") or parts.get("json")
        if part is None:
            return ()
        name = part.member.name
        try:
            content = self._content(place, part)
            if len(content) > MOST_TEXT_BYTES:
                raise ValueError(f"{name!r}: more than {MOST_TEXT_BYTES} bytes of text")
            text = content.decode("utf-8-sig")
            if part.kind == "text":
                return (checked_text(record, text).strip(),)
            said = json.loads(text)
        except UnicodeDecodeError as error:
            raise RecordError(record, f"{name!r}: byte {error.start} is not UTF-8") from error
        except json.JSONDecodeError as error:
            raise RecordError(record, f"{name!r}: not JSON ({error.msg})") from error
        except (ValueError, RecursionError) as error:
            raise RecordError(record, str(error)) from error
        if not isinstance(said, dict):
            raise RecordError(record, f"{name!r}: {type_name(said)}, expected an object")
        return texts_of(record, next((said[key] for key in self._json_keys if key in said), None))

    def _content(self, place: Place, part: Part) -> bytes:
        """What is in a member.

        Raises:
            ValueError: If it is not all there any more.
        """
        member, content = part.member, part.content
        length = bytes_read(part.kind, member)
        if content is None:
            file = self._shards.files[place.shard]
            try:
                content = file.read(member.offset, member.offset + length)
            except OSError as error:
                raise ValueError(f"{member.name!r}: cannot be read ({error.strerror})") from error
        if len(content) < length:
            raise ValueError(f"{member.name!r} has {len(content)} of its {member.size} bytes")
        return content

    def _id(self, place: Place, key: str | None) -> str:
        """Shard and stem; shard and offset where there is no stem that can be shown."""
        shard = self._shards.names[place.shard]
        shard = shard if shard.isprintable() else str(place.shard)
        return f"{shard}/{key}" if key and key.isprintable() else f"{shard}@{place.offset}"

    def _tell(self, notice: str) -> None:
        self._notices.append(f"{self.path}: {notice}")
