"""Members of a tar archive and where they lie, one after the other, without unpacking any."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from omniflow.datasets.byte_files import ReadAt
from omniflow.datasets.member_names import MOST_BYTES, leads_out

_BLOCK = 512

#: Longest name and what else is said of one member in a block of its own.
_MOST_EXTENDED = 1 << 20

#: Bytes that are looked through at a time for the next header, after a damaged one.
_LOOKED_THROUGH = 1 << 20

#: Numbers above this are none: no file has so many bytes.
_MOST_SAID = 10**18

_FOLDER = b"5"
_FILES = (b"0", b"\0", b"7")
_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"

#: What is no file and has no contents, in words.
_OTHERS = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a device", b"4": "a device",
           b"6": "a pipe"}  # fmt: skip


@dataclass(frozen=True)
class TarMember:
    """A file in an archive, or something else that stands in its place.

    Args:
        header: Offset where what belongs to it begins.
        name: Its name; empty where there is no whole header.
        offset: Offset of its contents.
        size: Bytes of them.
        problem: Why it is not to be read; None for a file like any other.
    """

    header: int
    name: str
    offset: int = 0
    size: int = 0
    problem: str | None = None


class _Header(NamedTuple):
    name: bytes
    size: int
    kind: bytes


def tar_members(read: ReadAt, total: int | None, start: int = 0) -> Iterator[TarMember]:
    """The members of an archive, in order; folders are left out.

    What stands where a header was expected is told as a member with a problem, and reading goes on
    at the next header that there is.

    Args:
        read: Reads the archive.
        total: Bytes of all of it, where they are known.
        start: Offset of the `header` of a member, or 0 for all of them.

    Raises:
        OSError, UsageError: If it cannot be read.
    """
    at = begin = start
    said: dict[str, str] = {}
    while block := read(at, _BLOCK):
        header = _header(block)
        if header is None:
            if len(block) == _BLOCK and not block.strip(b"\0"):
                return
            yield TarMember(at, "", problem=_no_header(block, at))
            at = begin = _next_header(read, at)
            said = {}
            continue
        if header.kind in (_EXTENDED, _GLOBAL, _LONG_NAME, _LONG_LINK):
            if header.size > _MOST_EXTENDED:
                yield TarMember(at, "", problem=f"{header.size} bytes are said of a member")
                said = {}
            elif header.kind != _GLOBAL:
                said |= _said(header.kind, read(at + _BLOCK, header.size))
            at += _BLOCK + _padded(header.size)
            continue
        member = _member(header, said, begin, at + _BLOCK, total)
        if member is not None:
            yield member
        has_contents = header.kind not in _OTHERS and header.kind != _FOLDER
        size = _whole_number(said.get("size"), header.size)
        at += _BLOCK + (_padded(size) if has_contents else 0)
        begin, said = at, {}


def _member(
    header: _Header, said: dict[str, str], begin: int, offset: int, total: int | None
) -> TarMember | None:
    """A member of its header and what was said before; None for a folder."""
    name = said.get("path", header.name.decode("utf-8", "surrogateescape"))
    size = _whole_number(said.get("size"), header.size)
    if header.kind == _FOLDER or (header.kind in _FILES and name.endswith("/")):
        return None
    problem = None
    if leads_out(name):
        problem = "leads out of its archive"
    elif header.kind in _OTHERS:
        problem = f"is {_OTHERS[header.kind]}, not a file"
    elif header.kind not in _FILES or "sparse" in said:
        problem = "is of a kind of its own, not a file as it is"
    elif size > MOST_BYTES:
        problem = f"is said to have {size} bytes, expected at most {MOST_BYTES}"
    elif total is not None and offset + size > total:
        problem = f"has {max(0, total - offset)} of its {size} bytes, then its archive ends"
    return TarMember(begin, name, offset, size, problem)


def _header(block: bytes) -> _Header | None:
    """What a block says, where it is a whole header (POSIX.1-1988, GNU, and what came before)."""
    if len(block) < _BLOCK:
        return None
    checksum, size = _number(block[148:156]), _number(block[124:136])
    if checksum != sum(block) - sum(block[148:156]) + 8 * ord(" ") or size is None:
        return None
    name = block[:100].partition(b"\0")[0]
    prefix = block[345:500].partition(b"\0")[0]
    if block[257:263] == b"ustar\0" and prefix:
        name = prefix + b"/" + name
    return _Header(name, size, block[156:157])


def _number(field: bytes) -> int | None:
    """A number >= 0 of a header: in octal, or in base 256 where that does not suffice."""
    if field[0] & 0x80:
        number = int.from_bytes(field[1:], "big")
        return number if field[0] == 0x80 and number <= _MOST_SAID else None
    text = field.partition(b"\0")[0].strip()
    try:
        return int(text, 8) if text.isdigit() else 0 if not text else None
    except ValueError:
        return None


def _said(kind: bytes, content: bytes) -> dict[str, str]:
    """What an extended header says of the member after it."""
    if kind == _LONG_LINK:
        return {}
    if kind == _LONG_NAME:
        return {"path": content.partition(b"\0")[0].decode("utf-8", "surrogateescape")}
    said: dict[str, str] = {}
    while content:
        length = content.partition(b" ")[0]
        if not length.isdigit() or not len(length) < int(length[:8]) <= len(content):
            break
        record = content[len(length) + 1 : int(length)]
        key, _, value = record.rstrip(b"\n").partition(b"=")
        if key in (b"path", b"size"):
            said[key.decode()] = value.decode("utf-8", "surrogateescape")
        elif key.startswith(b"GNU.sparse"):
            said["sparse"] = ""
        content = content[int(length) :]
    return said


def _whole_number(text: str | None, otherwise: int) -> int:
    is_number = text is not None and len(text) <= 18 and text.isascii() and text.isdigit()
    return int(text) if text is not None and is_number else otherwise


def _no_header(block: bytes, at: int) -> str:
    if len(block) < _BLOCK:
        return f"the archive ends within a header (byte {at})"
    return f"no whole header of a member is at byte {at}"


def _next_header(read: ReadAt, at: int) -> int:
    """Offset of the next whole header after a damaged one, or of the end."""
    at += _BLOCK
    while chunk := read(at, _LOOKED_THROUGH):
        found = chunk.find(b"ustar")
        while found >= 0:
            begin = found - 257
            if begin >= 0 and begin % _BLOCK == 0 and _header(chunk[begin : begin + _BLOCK]):
                return at + begin
            found = chunk.find(b"ustar", found + 1)
        at += len(chunk)
    return at


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
