"""Datasets with weights on the command line: `coco:2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

#: A name, and what follows its last colon if that is a number: `dist:name` has no weight, and
#: neither have paths and URLs, which are no names. Numbers that are no weights are refused later.
_WEIGHTED = re.compile(
    r"(?P<name>[^/\\]+):(?P<weight>[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?(?:nan|inf))",
    re.IGNORECASE,
)


def with_weights(names: Sequence[str]) -> list[str | dict[str, Any]]:
    """The names as a recipe has them: with a weight beside, where one was said."""
    return [_entry(name) for name in names]


def _entry(said: str) -> str | dict[str, Any]:
    match = _WEIGHTED.fullmatch(said)
    if match is None:
        return said
    return {"name": match["name"], "weight": float(match["weight"])}
