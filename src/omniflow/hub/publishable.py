"""What may be published: plain data and texts without secrets and without places of this disk."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omniflow.redaction import hide, without_secrets

#: A value that is a place from the root, from somebody's home or above where it was said.
_IS_PLACE = re.compile(r"(?:file://)?(?:/|~|\.\.(?:[/\\]|$)|[A-Za-z]:[/\\]|\\\\).*", re.DOTALL)

#: The same inside a text, where a single `/word` is more likely a word.
_PLACES = re.compile(
    r"(?:\bfile:(?://)?|(?<![\w.~/\\-]))(?:~|/[\w.+@-]+)(?:/[\w.+@-]+)+/?"
    r"|(?<!\w)[A-Za-z]:[/\\][^\s\"'<>|]+"
    r"|(?<![\w\\])\\\\[\w.-]+\\[^\s\"'<>|]+"
)

#: Pictures, sounds and checksums as letters, some of which look like a place.
_ENCODED = re.compile(r"(data:[\w/.+;=-]*;base64,[A-Za-z0-9+/=]*|\bsha\d{3}-[A-Za-z0-9+/]+=*)")


def publishable(value: Any) -> Any:
    """Plain data with secrets as `***` and places as `./NAME`, their last part.

    Args:
        value: Mappings, lists and scalars.
    """
    return _placeless(without_secrets(value))


def publishable_text(text: str, places: Iterable[str] = ()) -> str:
    """A text with secrets as `***` and places as `./NAME`, their last part.

    Args:
        text: Plain text, Markdown, or HTML with JSON in it.
        places: Places that may stand in it, whose names need not end at a space.
    """
    known = {*places, str(Path.cwd()), str(Path.home())} - {"/"}
    # The longest first, as one may be part of another.
    ordered = sorted(known, key=len, reverse=True)
    parts = _ENCODED.split(text)
    parts[::2] = [_cleaned(part, ordered) for part in parts[::2]]
    return "".join(parts)


def _cleaned(text: str, places: Iterable[str]) -> str:
    for place in places:
        for written in {place, html.escape(place), json.dumps(place)[1:-1]}:
            # Not within a longer name, and not the end of an element of HTML.
            whole = rf"(?<![\w.<]){re.escape(written)}(?![\w-])"
            text = re.sub(whole, _last_part(place), text)
    return _PLACES.sub(lambda found: _last_part(found[0]), hide(text))


def places_in(value: Any) -> set[str]:
    """The places among plain data, as they stand there."""
    if isinstance(value, Mapping):
        return {place for item in value.values() for place in places_in(item)}
    if isinstance(value, list | tuple):
        return {place for item in value for place in places_in(item)}
    return {value} if isinstance(value, str) and is_place(value) else set()


def is_place(text: str) -> bool:
    """Whether a value can only be a place of the machine that it was said on."""
    return _IS_PLACE.fullmatch(text) is not None and not text.startswith("//")


def _placeless(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_placeless(key): _placeless(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_placeless(item) for item in value]
    if not isinstance(value, str):
        return value
    return _last_part(value) if is_place(value) else publishable_text(value)


def _last_part(place: str) -> str:
    """`./NAME`, so that nobody takes what is left for the name of something on the Hub."""
    parts = [part for part in re.split(r"[/\\]+", place) if part not in ("", "~", "..")]
    return f"./{parts[-1]}" if parts else "."
