"""A card taken apart and put together: metadata, what is ours, and what a person wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

BEGIN = "<!-- omniflow: from here to the end mark, written anew with every push -->"
END = "<!-- omniflow: end -->"

_METADATA = re.compile(r"\A\s*---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)

#: A line of the cards that had no marks; nothing in them was a person's.
_UNMARKED = 'model = omniflow.load("PATH")'


@dataclass(frozen=True)
class KeptCard:
    """What a card had that is not ours.

    Args:
        metadata: All of its metadata.
        above: Text above what is ours.
        below: Text below it.
    """

    metadata: Mapping[str, Any]
    above: str
    below: str


def split_card(text: str) -> KeptCard:
    """Take a card apart; metadata that cannot be read is as none."""
    found = _METADATA.match(text)
    metadata: Any = None
    if found is not None:
        text = text[found.end() :]
        try:
            metadata = yaml.safe_load(found[1])
        except yaml.YAMLError:
            # The Hub takes no such card, so that it can only be one that was never there.
            metadata = None
    metadata = metadata if isinstance(metadata, dict) else {}
    above, begin, rest = text.partition(BEGIN)
    if begin:
        below = rest.partition(END)[2]
        return KeptCard(metadata, above.strip(), below.strip())
    if _UNMARKED in text:
        return KeptCard(metadata, "", "")
    return KeptCard(metadata, text.strip(), "")


def join_card(metadata: Mapping[str, Any], above: str, ours: str, below: str) -> str:
    """Put a card together."""
    head = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True, width=1000)
    marked = f"{BEGIN}\n{ours.strip()}\n\n{END}"
    body = "\n\n".join(part for part in (above, marked, below) if part)
    return f"---\n{head}---\n{body}\n"
