"""Members of a tar shard that are one sample: those of one stem, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from omniflow.datasets.record_media import SUFFIXES
from omniflow.datasets.tar_members import TarMember

#: Modality of a member by what follows the first dot of its name.
KINDS = {
    suffix.removeprefix("."): modality
    for modality, suffixes in SUFFIXES.items()
    for suffix in suffixes
} | {"json": "json"}


@dataclass(frozen=True)
class Part:
    """A member that is of use.

    Args:
        kind: A modality, or `json`.
        member: Where it lies.
        content: What is in it, where it had to be read on the way.
    """

    kind: str
    member: TarMember
    content: bytes | None = None


@dataclass(frozen=True)
class Group:
    """Members that are one sample.

    Args:
        key: Their name up to the first dot after the last slash; None for what is no member.
        start: Offset where the first of them begins; the group is read again from there.
        parts: Those that are of use.
    """

    key: str | None
    start: int
    parts: tuple[Part, ...]

    @property
    def modalities(self) -> frozenset[str]:
        """What it may bring: text may stand in a json member."""
        if self.key is None:
            return frozenset(SUFFIXES)
        return frozenset("text" if part.kind == "json" else part.kind for part in self.parts)


def groups(
    members: Iterable[TarMember], content_of: Callable[[str, TarMember], bytes | None]
) -> Iterator[Group]:
    """The groups of a shard in order; those with nothing of use have no parts.

    Args:
        members: Its members in order.
        content_of: Reads a member of a kind where there is no way back to it; None where there is.
    """
    for key, side_by_side in groupby(members, _key):
        if key is None:
            for each in side_by_side:
                yield Group(None, each.header, (Part("", each),))
            continue
        start, parts = -1, []
        for member in side_by_side:
            start = member.header if start < 0 else start
            kind = KINDS.get(_ending(member.name))
            if kind is not None and not _is_hidden(member.name):
                parts.append(Part(kind, member, content_of(kind, member)))
        yield Group(key, start, tuple(parts))


def _key(member: TarMember) -> str | None:
    if not member.name:
        return None
    folder, slash, base = member.name.rpartition("/")
    return f"{folder.removeprefix('./')}{slash}{base.partition('.')[0]}".removeprefix("./")


def _ending(name: str) -> str:
    return name.rpartition("/")[2].partition(".")[2].lower()


def _is_hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")
