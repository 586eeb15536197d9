"""Which columns of a data set hold text, picture, sound and id, by their types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniflow.datasets.record_columns import USUAL
from omniflow.errors import DataError, UnknownNameError

#: What a column of a modality has to hold, in words.
_EXPECTED = {
    "text": "text, or lists of text",
    "references": "text, or lists of text",
    "image": "pictures, or their bytes",
    "audio": "sounds, or their bytes",
}


@dataclass(frozen=True)
class HubColumns:
    """Names of the columns that are read; None for what there is not.

    Args:
        text: Holds the caption, or several of them.
        references: Holds what predictions are compared with; the captions when None.
        image: Holds pictures.
        audio: Holds sounds.
        id: Holds ids.
        group: What records of the same thing have in common.
    """

    text: str | None
    references: str | None
    image: str | None
    audio: str | None
    id: str | None
    group: tuple[str, ...] = ()

    @property
    def modalities(self) -> frozenset[str]:
        """The modalities that have a column."""
        return frozenset(name for name in USUAL if getattr(self, name) is not None)

    def roles(self) -> dict[str, str | None]:
        """Column -> what is read from it; of one that is several things, the first of them."""
        roles: dict[str, str | None] = {}
        for name in (*USUAL, "references", "id"):
            if (column := getattr(self, name)) is not None:
                roles.setdefault(column, name)
        for column in self.group:
            roles.setdefault(column, "group")
        return roles

    def read(self, wanted: frozenset[str]) -> list[str]:
        """Columns that are read for some modalities."""
        names = [getattr(self, name) for name in USUAL if name in wanted]
        names += [self.references] if "text" in wanted else []
        return list(dict.fromkeys(name for name in [*names, self.id] if name is not None))


def choose_hub_columns(
    asked: Mapping[str, str | None],
    group: Sequence[str],
    features: Mapping[str, Any],
    *,
    where: str,
) -> HubColumns:
    """The columns that were asked for; else texts of a usual name, and the only picture and sound.

    Args:
        asked: Names by `text`, `references`, `image`, `audio` and `id`.
        group: Names of those that group records.
        features: Type of every column there is.
        where: The data set, for messages.

    Raises:
        UnknownNameError: If a column is not there; says which are.
        DataError: If a column holds something else, or none is known to hold anything of use.
    """
    for name in [*asked.values(), *group]:
        if name is not None and name not in features:
            raise UnknownNameError("column", name, list(features), where=where)
    chosen = dict(asked)
    for what, expected in _EXPECTED.items():
        column = chosen.get(what)
        if column is not None and not _holds(features[column], what):
            raise DataError(
                f"column {column!r} is {_type_name(features[column])}", where=where,
                expected=expected,
            )  # fmt: skip
    for what, usual in USUAL.items():
        fitting = [name for name in features if _holds(features[name], what, strictly=True)]
        if chosen.get(what) is None:
            named = [name for name in usual if name in fitting]
            alone = fitting if len(fitting) == 1 and what != "text" else []
            chosen[what] = next(iter([*named, *alone]), None)
    columns = HubColumns(**chosen, group=tuple(group))
    if not columns.modalities:
        told = [f"{name} ({_type_name(kind)})" for name, kind in features.items()]
        raise DataError(
            "no column is known to hold text, pictures or sounds",
            where=where,
            expected="the option text_column, image_column or audio_column",
            notes=[f"columns: {', '.join(told)}"],
        )
    return columns


def is_media(kind: Any) -> bool:
    """Whether a column holds pictures or sounds that its reader would decode."""
    return type(kind).__name__ in ("Image", "Audio")


def _holds(kind: Any, what: str, *, strictly: bool = False) -> bool:
    """Whether a type can be what is asked; strictly, without being told so."""
    if what in ("text", "references"):
        inner = getattr(kind, "feature", None)
        if inner is None and isinstance(kind, list) and len(kind) == 1:
            inner = kind[0]
        return _value_type(kind if inner is None else inner) in ("string", "large_string")
    if type(kind).__name__ == what.capitalize():
        return True
    if strictly:
        return False
    has_bytes = isinstance(kind, Mapping) and "bytes" in kind
    return has_bytes or _value_type(kind) in ("binary", "large_binary")


def _value_type(kind: Any) -> str | None:
    return getattr(kind, "dtype", None) if type(kind).__name__ == "Value" else None


def _type_name(kind: Any) -> str:
    return _value_type(kind) or type(kind).__name__
