"""Which columns of a table hold text, picture, sound and id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from omniflow.errors import DataError, UnknownNameError

Layout = Literal["text2img", "img2aud", "text2aud", "any2any"]

#: Names by which a column is found when nobody says which, best first.
USUAL: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "text": ("text", "caption", "caption_llava_short", "coco_caption"),
        "image": ("image", "img_path", "img_file", "image_path", "file_name"),
        "audio": ("audio", "audio_path", "audio_file"),
    }
)

_CAPTION = ("caption_llava_short", "caption", "coco_caption")
_PICTURE = ("img_path", "img_file", "file_name")
_SOUND = ("audio_path",)

#: The layouts of the original's training data: modality -> its names, best first.
_LAYOUTS: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "text2img": {"text": _CAPTION, "image": _PICTURE},
        "img2aud": {"image": _PICTURE, "audio": _SOUND},
        "text2aud": {"text": _CAPTION, "audio": _SOUND},
        "any2any": {"text": _CAPTION, "image": _PICTURE, "audio": _SOUND},
    }
)

#: The visual caption of `any2any`, and the one that takes a caption's place in half the records.
_VISUAL, _ALTERNATIVE = "caption2", "caption_alt"


@dataclass(frozen=True)
class Columns:
    """Names of the columns that are read; None for what a table does not have.

    Args:
        text: Holds the caption.
        image: Holds paths of pictures.
        audio: Holds paths of sounds.
        id: Holds ids.
        second_text: Holds another caption, which is a reference as well.
        alternative: Holds a caption that half of the records are trained on instead.
        has_at_signs: Whether `@` stands for commas, and for nothing at the beginning.
    """

    text: str | None = None
    image: str | None = None
    audio: str | None = None
    id: str | None = None
    second_text: str | None = None
    alternative: str | None = None
    has_at_signs: bool = False

    @property
    def modalities(self) -> frozenset[str]:
        """The modalities that have a column."""
        return frozenset(name for name in USUAL if getattr(self, name) is not None)

    def roles(self) -> dict[str, str | None]:
        """Column -> what is read from it."""
        roles: dict[str, str | None] = {}
        for name in (*USUAL, "id"):
            if (column := getattr(self, name)) is not None:
                roles.setdefault(column, name)
        if self.second_text is not None:
            roles.setdefault(self.second_text, "references")
        if self.alternative is not None:
            roles.setdefault(self.alternative, "text")
        return roles

    def clean(self, caption: str) -> str:
        """A caption as it is meant."""
        return caption.removeprefix("@").replace("@", ",") if self.has_at_signs else caption


def choose_columns(
    asked: Mapping[str, str | None], layout: Layout | None, present: Sequence[str], *, where: str
) -> Columns:
    """The columns that were asked for, else those of the layout, else those of a usual name.

    Args:
        asked: Names by `text`, `image`, `audio` and `id`.
        layout: One of the original's layouts, whose columns must all be there.
        present: Columns of the table.
        where: The table, for messages.

    Raises:
        UnknownNameError: If a column is not there.
        DataError: If no column is known.
    """
    chosen: dict[str, str | None] = {}
    for name, column in asked.items():
        if column is not None and column not in present:
            raise UnknownNameError("column", column, present, where=where)
        chosen[name] = column
    needed = _LAYOUTS[layout] if layout else {}
    for name, usual in (needed if layout else USUAL).items():
        found = next((column for column in usual if column in present), None)
        chosen[name] = chosen.get(name) or found
        if chosen[name] is None and layout:
            notes = [f"layout {layout} has {' and '.join(c[0] for c in needed.values())}"]
            raise UnknownNameError("column", usual[-1], present, where=where, notes=notes)
    extra: dict[str, str | None] = {}
    if layout is not None and chosen.get("text"):
        if layout == "any2any" and _VISUAL not in present:
            raise UnknownNameError("column", _VISUAL, present, where=where)
        extra["second_text"] = _VISUAL if layout == "any2any" else None
        extra["alternative"] = _ALTERNATIVE if _ALTERNATIVE in present else None
    columns = Columns(**chosen, **extra, has_at_signs=layout is not None)
    if not columns.modalities:
        raise DataError(
            "no column is known to hold text, pictures or sounds",
            where=where,
            expected="the option text_column, image_column or audio_column",
            notes=[f"columns: {', '.join(present)}", *_divided_otherwise(present)],
        )
    return columns


def _divided_otherwise(present: Sequence[str]) -> list[str]:
    """What to try where one column seems to be several, as spreadsheets of many countries write."""
    [only, *others] = present
    found = [each for each in ";\t|" if each in only and not others]
    return [f"are its fields divided by {each!r}? the option delimiter says so" for each in found]
