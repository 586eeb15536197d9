"""Tar shards as one source of samples, one shard after the other."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from omniflow.datasets.byte_files import ByteFile, LocalFile, ReadAt
from omniflow.datasets.member_names import MOST_BYTES
from omniflow.datasets.record_media import MOST_TEXT_BYTES, SUFFIXES
from omniflow.datasets.shard_groups import Group, groups
from omniflow.datasets.splits import text_place
from omniflow.datasets.tar_members import TarMember, tar_members
from omniflow.errors import DataError

#: A bit for each modality.
BITS = {name: 1 << number for number, name in enumerate(SUFFIXES)}

#: What packed archives begin with: gzip, bzip2, xz, zstandard.
_PACKED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


class Place(NamedTuple):
    """Where a group lies: number of its shard, and offset there."""

    shard: int
    offset: int


#: Where the first one lies.
FIRST = Place(0, 0)


class Shards:
    """The groups of several shards.

    Args:
        files: Name to file, in order.
    """

    def __init__(self, files: Mapping[str, ByteFile]) -> None:
        self.names = list(files)
        self.files = list(files.values())

    def groups(
        self, place: Place = FIRST, modalities: frozenset[str] = frozenset()
    ) -> Iterator[tuple[Place, Group]]:
        """Groups in order, from one of them on; what is elsewhere brings its contents along.

        Args:
            place: Where to begin.
            modalities: Contents of which are brought along.

        Raises:
            DataError: If a shard is packed, or cannot be read.
            UsageError: If a server cannot be reached.
        """
        start = place.offset
        for number in range(place.shard, len(self.files)):
            for group in self._groups_of(self.files[number], start, modalities):
                yield Place(number, group.start), group
            start = 0

    def group_at(self, place: Place) -> Group:
        """The group at a place, in a file on this machine.

        Raises:
            DataError: As `groups`, or if there is none any more.
        """
        file = self.files[place.shard]
        for group in self._groups_of(file, place.offset, frozenset()):
            return group
        raise DataError(f"nothing is at byte {place.offset} any more", where=file.name)

    def _groups_of(self, file: ByteFile, start: int, modalities: frozenset[str]) -> Iterator[Group]:
        try:
            with file.reading(start) as read:
                if start == 0:
                    _require_tar(read(0, 512), file.name)
                is_here = isinstance(file, LocalFile)
                content_of = _left if is_here else partial(_taken_along, read, modalities)
                yield from groups(tar_members(read, file.size, start), content_of)
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"cannot be read ({reason})", where=file.name) from error


class ShardIndex:
    """Where the groups of shards begin that have something of use: 21 bytes of memory each.

    Args:
        shards: The shards, in files on this machine; their headers are read now.
        seed: Another seed, other places in [0, 1).

    Attributes:
        shards: Number of the shard of each.
        offsets: Offset there.
        modalities: What each may bring, as bits.
        places: Where each stands in [0, 1), by a hash of its key.
        others: How many groups have nothing of use.
    """

    def __init__(self, shards: Shards, seed: int) -> None:
        numbers, offsets = array("i"), array("q")
        brought, places = array("B"), array("d")
        self.others = 0
        for place, group in shards.groups():
            if not group.parts:
                self.others += 1
                continue
            numbers.append(place.shard)
            offsets.append(place.offset)
            brought.append(sum(BITS[name] for name in group.modalities))
            places.append(group_place(place, group, seed))
        self.shards = np.array(numbers, np.int32)
        self.offsets = np.array(offsets, np.int64)
        self.modalities = np.array(brought, np.uint8)
        self.places = np.array(places, np.float64)


#: Indices in use: the splits of a source share one.
_IN_USE: WeakValueDictionary[tuple[object, ...], ShardIndex] = WeakValueDictionary()


def index_shards(shards: Shards, seed: int) -> ShardIndex:
    """The index of shards, made unless it is in use already and the files are as they were then.

    Raises:
        DataError: If a shard is packed or cannot be read.
    """
    try:
        key = (seed, *(file.state() for file in shards.files))
    except OSError as error:
        where = str(error.filename)
        raise DataError(f"cannot be read ({error.strerror})", where=where) from error
    index = _IN_USE.get(key)
    if index is None:
        index = _IN_USE[key] = ShardIndex(shards, seed)
    return index


def group_place(place: Place, group: Group, seed: int) -> float:
    """Where a group stands in [0, 1): by its key, and where it has none by where it lies."""
    if group.key is None:
        return text_place(f"{place.shard}:{place.offset}", seed)
    return text_place(group.key.encode("utf-8", "surrogateescape").hex(), seed)


def _left(kind: str, member: TarMember) -> None:
    """Nothing: the member stays where it can be read."""


def _taken_along(
    read: ReadAt, modalities: frozenset[str], kind: str, member: TarMember
) -> bytes | None:
    """The contents of a member that goes by and is looked at."""
    modality = "text" if kind == "json" else kind
    if modality not in modalities or member.problem is not None:
        return None
    return read(member.offset, bytes_read(kind, member))


def bytes_read(kind: str, member: TarMember) -> int:
    """How many bytes of a member are read: all; of a text enough to see that it is too long."""
    is_text = kind in ("text", "json")
    return min(member.size, MOST_TEXT_BYTES + 1 if is_text else MOST_BYTES)


def _require_tar(begin: bytes, where: str) -> None:
    if begin.startswith(_PACKED):
        raise DataError(
            "is packed", where=where, expected="a tar archive as it is: unpack it (gunzip, unxz)"
        )
