"""Members of a zip archive, read in place: here, or on a server by stretches of bytes."""

from __future__ import annotations

import hashlib
import stat
import struct
import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np

from omniflow.datasets.byte_files import ByteFile
from omniflow.datasets.member_names import MOST_BYTES, leads_out
from omniflow.errors import DataError

#: Largest directory of an archive that is read: some 10 million members.
_MOST_DIRECTORY = 1 << 30

# Layouts of APPNOTE.TXT 4.3 and 4.4: what is skipped is of no use here.
_END = struct.Struct("<4s6xHLLH")
#: With the longest comment that may follow it; few have any.
_TAIL = _END.size + 65_535
_LOCATOR = struct.Struct("<4s4xQ4x")
_END_64 = struct.Struct("<4s28xQQQ")
_ENTRY = struct.Struct("<4s4xHH4xLLLHHH4xLL")
_LOCAL = struct.Struct("<4s22xHH")

#: What is kept of an entry: hash of its name, offset of its header, bytes here, bytes unpacked,
#: checksum, flags, method, mode.
_KEPT = struct.Struct("<QqqqLHHH")
_KEPT_TYPE = np.dtype(
    [("name", "<u8"), ("offset", "<i8"), ("packed", "<i8"), ("size", "<i8"), ("crc", "<u4"),
     ("flags", "<u2"), ("method", "<u2"), ("mode", "<u2")]
)  # fmt: skip

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF

#: Room for what stands between a member's name and its bytes; more of it costs a second read.
_SLACK = 64


class ZipMembers:
    """Where the members of an archive lie: 42 bytes of memory each.

    Nothing is unpacked to a disk. A member is read by one request for its own bytes.

    Args:
        file: The archive; its directory, at its end, is read now.

    Raises:
        DataError: If it is no whole zip archive.
        OSError, UsageError: If it cannot be read.
    """

    def __init__(self, file: ByteFile) -> None:
        self.file = file
        self.name = file.name.rpartition("/")[2]
        count, directory = _directory(file)
        kept = bytearray()
        for entry in _kept(directory, file.name):
            kept += entry
        entries = np.frombuffer(kept, _KEPT_TYPE)
        if len(entries) % (_MAX_16 + 1) != count % (_MAX_16 + 1):
            raise DataError(
                f"its directory has {len(entries)} of {count} members", where=file.name,
                expected="a whole zip archive",
            )  # fmt: skip
        # Stable: of members of one name the last one counts, as everywhere.
        self._entries = entries[np.argsort(entries["name"], kind="stable")]

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: str) -> bool:
        return self._find(name) is not None

    def read(self, name: str) -> bytes:
        """What is in a member.

        Raises:
            ValueError: If there is none, or it cannot be read; says why.
            UsageError: If a server cannot be reached.
        """
        if leads_out(name):
            raise ValueError(f"{name!r} leads out of {self.name}")
        entry = self._find(name)
        if entry is None:
            raise ValueError(f"{name!r}: there is no such member of {self.name}")
        problem = _problem(entry)
        if problem is not None:
            raise ValueError(f"{name!r} {problem}")
        try:
            packed = self._packed(name, entry)
        except OSError as error:
            raise ValueError(f"{name!r}: cannot be read ({error.strerror or error})") from error
        return _unpacked(name, packed, entry)

    def _find(self, name: str) -> Any:
        wanted = _hash(name.encode("utf-8", "surrogatepass"))
        place = int(np.searchsorted(self._entries["name"], np.uint64(wanted), "right")) - 1
        if place < 0 or self._entries["name"][place] != wanted:
            return None
        return self._entries[place]

    def _packed(self, name: str, entry: Any) -> bytes:
        """The bytes of a member as they lie in the archive, without its header."""
        start, length = int(entry["offset"]), int(entry["packed"])
        content = self.file.read(start, start + _LOCAL.size + len(name.encode()) + _SLACK + length)
        if len(content) < _LOCAL.size or not content.startswith(b"PK\3\4"):
            raise ValueError(f"{name!r}: no member lies where the directory says")
        _, name_length, extra_length = _LOCAL.unpack_from(content)
        begin = _LOCAL.size + name_length + extra_length
        if content[_LOCAL.size : _LOCAL.size + name_length] not in _spellings(name):
            raise ValueError(f"{name!r}: another member lies where the directory says")
        if len(content) < begin + length:
            content = content[:begin] + self.file.read(start + begin, start + begin + length)
        packed = content[begin : begin + length]
        if len(packed) < length:
            raise ValueError(f"{name!r}: {self.name} ends within it")
        return packed


#: Archives in use: the splits of a data set share one.
_IN_USE: WeakValueDictionary[tuple[object, ...], ZipMembers] = WeakValueDictionary()


def open_archive(file: ByteFile) -> ZipMembers:
    """The members of an archive; its directory is read unless it is in use already.

    Raises:
        DataError: If it is no whole zip archive, or cannot be read.
        UsageError: If a server cannot be reached.
    """
    try:
        key = file.state()
        members = _IN_USE.get(key)
        if members is None:
            members = _IN_USE[key] = ZipMembers(file)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=file.name) from error
    return members


class _End(NamedTuple):
    """What the end of an archive says: members, size and place of the directory, its own place."""

    members: int
    size: int
    offset: int
    place: int


def _directory(file: ByteFile) -> tuple[int, bytes]:
    """How many members there are, and the directory, entry after entry."""
    if file.size is None:
        raise DataError("its server does not say how long it is", where=file.name)
    end = _end_64(file, _end(file, file.size))
    if not 0 <= end.size <= min(end.place, _MOST_DIRECTORY) or end.members * _ENTRY.size > end.size:
        raise DataError(
            f"its directory is said to have {end.size} bytes for {end.members} members",
            where=file.name,
            expected="a whole zip archive",
        )
    start = end.place - end.size
    if start != end.offset:
        raise DataError(
            f"its directory lies at byte {start}, and is said to be at {end.offset}",
            where=file.name,
            expected="a whole zip archive with nothing before it",
        )
    return end.members, file.read(start, end.place)


def _end(file: ByteFile, size: int) -> _End:
    for room in (_END.size, _TAIL):
        begin = max(0, size - room)
        tail = file.read(begin, size)
        at = len(tail)
        while (at := tail.rfind(b"PK\5\6", 0, at)) >= 0:
            if len(tail) - at >= _END.size:
                _, count, length, offset, comment = _END.unpack_from(tail, at)
                if at + _END.size + comment == len(tail):
                    return _End(count, length, offset, begin + at)
    raise DataError(
        "is no zip archive, or its end is missing", where=file.name, expected="a whole zip archive"
    )


def _end_64(file: ByteFile, end: _End) -> _End:
    """The end of an archive of more than 4 GiB or 65,535 members, which stands before the other."""
    locator = file.read(max(0, end.place - _LOCATOR.size), end.place)
    if len(locator) != _LOCATOR.size or not locator.startswith(b"PK\6\7"):
        return end
    _, place = _LOCATOR.unpack(locator)
    found = file.read(place, place + _END_64.size) if place < end.place else b""
    if len(found) != _END_64.size or not found.startswith(b"PK\6\6"):
        raise DataError(
            f"no end of its directory lies at byte {place}, where it is said to be",
            where=file.name,
            expected="a whole zip archive",
        )
    _, count, size, offset = _END_64.unpack(found)
    return _End(count, size, offset, place)


def _kept(directory: bytes, where: str) -> Iterator[bytes]:
    """What is kept of every entry of a directory."""
    at = 0
    while at < len(directory):
        if len(directory) - at < _ENTRY.size or directory[at : at + 4] != b"PK\1\2":
            raise DataError(
                f"its directory is damaged after {at} bytes", where=where,
                expected="a whole zip archive",
            )  # fmt: skip
        (_, flags, method, crc, packed, size, name_length, extra_length, comment_length,
         attributes, offset) = _ENTRY.unpack_from(directory, at)  # fmt: skip
        begin = at + _ENTRY.size
        raw = directory[begin : begin + name_length]
        extra = directory[begin + name_length : begin + name_length + extra_length]
        if _MAX_32 in (size, packed, offset):
            size, packed, offset = _large(extra, [size, packed, offset])
        if not raw.isascii():
            raw = raw.decode("utf-8" if flags & _UTF8 else "cp437", "replace").encode()
        yield _KEPT.pack(
            _hash(raw), offset, packed, size, crc, flags, method, attributes >> 16 & _MAX_16
        )
        at = begin + name_length + extra_length + comment_length
        if at > len(directory):
            raise DataError(
                "the last entry of its directory is damaged", where=where,
                expected="a whole zip archive",
            )  # fmt: skip


def _large(extra: bytes, values: list[int]) -> list[int]:
    """Values of which those that do not fit 32 bits stand in an extra field (APPNOTE 4.5.3)."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            for number, value in enumerate(values):
                if value == _MAX_32 and len(field) >= 8:
                    values[number] = min(int.from_bytes(field[:8], "little"), 2**62)
                    field = field[8:]
            break
        at += 4 + length
    return values


def _problem(entry: Any) -> str | None:
    """Why a member is not to be read, if so."""
    kind = stat.S_IFMT(int(entry["mode"]))
    if kind not in (0, stat.S_IFREG):
        return "is a link, folder or device, not a file"
    if entry["flags"] & _ENCRYPTED:
        return "is encrypted"
    if entry["method"] not in (_STORED, _DEFLATED):
        return f"is packed by method {entry['method']}, expected deflate or none"
    if max(entry["size"], entry["packed"]) > MOST_BYTES:
        return f"is said to have {entry['size']} bytes, expected at most {MOST_BYTES}"
    return None


def _unpacked(name: str, packed: bytes, entry: Any) -> bytes:
    size = int(entry["size"])
    content = packed
    if entry["method"] == _DEFLATED:
        try:
            # No more is unpacked than was said, whatever it would become.
            content = zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
        except zlib.error as error:
            raise ValueError(f"{name!r}: cannot be unpacked ({error})") from error
    if len(content) != size:
        raise ValueError(f"{name!r} has other than the {size} bytes that are said")
    if zlib.crc32(content) != entry["crc"]:
        raise ValueError(f"{name!r}: its checksum does not fit, it is damaged")
    return content


def _spellings(name: str) -> list[bytes]:
    """The bytes that a name may have in an archive."""
    return [name.encode("utf-8", "surrogatepass"), name.encode("cp437", "replace")]


def _hash(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "little")
