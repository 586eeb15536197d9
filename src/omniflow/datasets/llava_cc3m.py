"""LLaVA CC3M: 595,375 pictures of the web with a caption each, told as conversations."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from omniflow.datasets.byte_files import RemoteFile
from omniflow.datasets.conversations import (
    answer,
    conversation_id,
    conversation_place,
    index_conversations,
    numbered,
    parsed,
)
from omniflow.datasets.hub_files import HubFiles
from omniflow.datasets.hub_media import picture_of
from omniflow.datasets.json_list import list_items
from omniflow.datasets.record_media import type_name
from omniflow.datasets.shares import SplitShares
from omniflow.datasets.split_sources import require_seed
from omniflow.datasets.splits import require_split
from omniflow.datasets.zip_members import ZipMembers, open_archive
from omniflow.errors import DataError, RecordError, UnknownLengthError
from omniflow.interfaces.dataset import Dataset, Sample

#: The files that are read.
CHAT, IMAGES = "chat.json", "images.zip"

#: So many records apart lie the places of a stream that are remembered, to go back to.
REMEMBERED = 1000


class LlavaCc3mDataset(Dataset):
    """Pictures; the text is what the model says in the conversation about one.

    The source has no splits: all three are shares of it, by a hash of the conversation's id.
    Pictures are read out of `images.zip` in place, which is never unpacked, and not looked at at
    all where texts alone are wanted.

    Args:
        path: Its id on the Hub, or a folder with its chat.json and images.zip.
        split: One of `splits`.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        validation_share: Share held out for validation, in [0, 1].
        test_share: Share held out for testing, in [0, 1].
        seed: Another seed, other shares.
        streaming: Read conversations as they come, and of the archive its directory and the
            pictures that are looked at, in place of fetching all 6.7 GB first.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If files are missing or damaged, or a split would be empty.
        UsageError: If the Hub cannot be reached or does not have the data set.
    """

    #: What is read of the source.
    source_files: ClassVar[tuple[str, ...]] = (CHAT, IMAGES)

    def __init__(
        self,
        *,
        path: str = "liuhaotian/LLaVA-CC3M-Pretrain-595K",
        split: str = "train",
        revision: str | None = None,
        validation_share: float = 0.01,
        test_share: float = 0.01,
        seed: int = 0,
        streaming: bool = False,
    ) -> None:
        require_seed(seed)
        shares = SplitShares(validation_share, test_share)
        self.path = path
        self.split = require_split(split, self.splits, where=path)
        self.is_streaming = streaming
        self._seed = seed
        self._notices: list[str] = []
        self._wanted = frozenset({"text", "image"})
        self._files = HubFiles(path, revision, streaming=streaming)
        places = None
        if streaming:
            self._chat = self._files.file(CHAT)
        else:
            self._chat = fetched = self._files.fetched(CHAT)
            self._index = index_conversations(fetched, seed)
            places = self._index.places
        self._stretch = self._stretch_of(shares, places)
        if places is not None:
            low, high = self._stretch
            self._chosen = np.flatnonzero((low <= places) & (places < high)).astype(np.int32)
        # Where a stream was on its way, to go back to: offset and number of a conversation.
        self._places: list[tuple[int, int]] = [(0, 0)]

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
        number = int(self._chosen[index])
        start, length = int(self._index.starts[number]), int(self._index.lengths[number])
        try:
            content = self._chat.read(start, start + length)
        except OSError as error:
            reason = f"cannot be read ({error.strerror or error})"
            raise RecordError(numbered(number), reason) from error
        return self._sample(number, content)

    def records(self, start: int = 0) -> Iterator[Any]:
        """Conversations of a stream; positions otherwise."""
        return self._stream(start) if self.is_streaming else super().records(start)

    def decode(self, record: Any) -> Sample:
        """The sample of a record; its picture is fetched here."""
        return self._sample(*record) if self.is_streaming else self[record]

    def length_of(self, record: Any) -> int | None:
        """Bytes of the conversation: what is asked in it is about equally long everywhere."""
        if "text" not in self._wanted:
            return None
        if self.is_streaming:
            return len(record[1])
        return int(self._index.lengths[self._chosen[record]])

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Open no pictures that nobody looks at.

        Raises:
            DataError: If neither texts nor pictures are looked at, or the archive is missing or
                damaged.
            UsageError: If the Hub cannot be reached.
        """
        wanted = {"text", "image"} & set(modalities)
        if not wanted:
            raise DataError(
                "it brings text and image alone", where=self.path,
                expected=" or ".join(sorted(modalities)),
            )  # fmt: skip
        self._wanted = frozenset(wanted)
        if "image" in wanted:
            _ = self._images

    def column_roles(self) -> dict[str, str | None]:
        """Keys of a conversation, and what is read from them."""
        return {"id": "id", "image": "image", "conversations": "text"}

    def notices(self) -> list[str]:
        """What was moved or had to be fetched."""
        return list(self._notices)

    def __getstate__(self) -> dict[str, Any]:
        # Opened before, so that not every process reads the directory of the archive once more.
        if "image" in self._wanted:
            _ = self._images
        return self.__dict__

    @cached_property
    def _images(self) -> ZipMembers:
        file = self._files.file(IMAGES)
        if isinstance(file, RemoteFile) and not file.has_ranges:
            self._tell(f"its server sends no parts of files, so {IMAGES} was fetched whole")
            file = self._files.fetched(IMAGES)
        return open_archive(file)

    def _stretch_of(self, shares: SplitShares, places: Any) -> tuple[float, float]:
        """The part of [0, 1) that belongs to the split, see `SplitShares.stretch`."""
        known = None if places is None else np.unique(places)
        low, high, is_moved = shares.stretch(self.split, known, where=self.path)
        if is_moved:
            self._tell(f"only {len(places)} records, so some were moved to give every split one")
        return low, high

    def _stream(self, start: int) -> Iterator[tuple[int, bytes]]:
        remembered = min(start // REMEMBERED, len(self._places) - 1)
        offset, number = self._places[remembered]
        found = remembered * REMEMBERED
        low, high = self._stretch
        for item in list_items(self._chat, offset):
            if low <= conversation_place(item, number, self._seed) < high:
                if found == len(self._places) * REMEMBERED:
                    self._places.append((item.offset, number))
                if found >= start:
                    yield number, item.content
                found += 1
            number += 1

    def _sample(self, number: int, content: bytes) -> Sample:
        value = parsed(number, content)
        record = conversation_id(value) or numbered(number)
        text = answer(record, value) if "text" in self._wanted else None
        picture = None
        if "image" in self._wanted:
            name = value.get("image")
            if not isinstance(name, str):
                raise RecordError(record, f"image is {type_name(name)}, expected a file's name")
            picture = picture_of(record, {"path": name}, self._read_image)
        return Sample(record, text, picture, None, () if text is None else (text,))

    def _read_image(self, name: str) -> bytes:
        # The archive holds files alone; people who pack it anew keep the folder that they were in.
        inside = f"images/{name}"
        is_inside = name not in self._images and inside in self._images
        return self._images.read(inside if is_inside else name)

    def _tell(self, notice: str) -> None:
        self._notices.append(f"{self.path}: {notice}")
