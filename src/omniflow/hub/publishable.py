"""What may be published: plain data and texts without secrets and without places of this disk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniflow.redaction import hide, without_secrets

#: A value that is a place from the root, from somebody's home or above where it was said.
_IS_PLACE = re.compile(r"(?:file://)?(?:/|~|\.\.(?:[/\\]|$)|[A-Za-z]:[/\\]|\\\\).*", re.DOTALL)

#: The same inside a text, where a single `/word` is more likely a word.
_PLACES = re.compile(
    r"(?:file://)?(?<![\w.~:/\\-])(?:~|/[\w.+@-]+)(?:/[\w.+@-]+)+/?"
    r"|(?<!\w)[A-Za-z]:\\[^\s\"'<>|]+"
    r"|(?<![\w\\])\\\\[\w.-]+\\[^\s\"'<>|]+"
)


def publishable(value: Any) -> Any:
    """Plain data with secrets as `***` and places as `./NAME`, their last part.

    Args:
        value: Mappings, lists and scalars.
    """
    return _placeless(without_secrets(value))


def publishable_text(text: str) -> str:
    """A text with secrets as `***` and places as `./NAME`, their last part."""
    for known in (Path.cwd(), Path.home()):
        if known != known.parent:
            # Folders whose names have spaces in them are known for what they are.
            text = text.replace(f"{known}/", "./")
    return _PLACES.sub(lambda found: _last_part(found[0]), hide(text))


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
