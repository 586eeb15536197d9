"""Where the recipes of runs differ, option by option."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omniflow.evaluation.comparison_table import NOTHING, Table
from omniflow.evaluation.entries import Entry


def recipe_table(entries: Sequence[Entry]) -> Table | None:
    """A row for each option that differs, a column for each run that has a recipe.

    Options of components that only some have are shown as well. None with fewer than two recipes.
    """
    named = [(entry.name, dict(_flat(recipe))) for entry in entries if (recipe := _recipe(entry))]
    if len(named) < 2:
        return None
    keys = list(dict.fromkeys(key for _, options in named for key in options))
    rows = []
    for key in keys:
        cells = [options.get(key, NOTHING) for _, options in named]
        if len(set(cells)) > 1:
            rows.append([key, *cells])
    return Table(headers=["option", *(name for name, _ in named)], rows=rows)


def whole_recipe(entry: Entry) -> Table | None:
    """Every option of one run."""
    recipe = _recipe(entry)
    return Table(["option", entry.name], [list(pair) for pair in _flat(recipe)]) if recipe else None


def _recipe(entry: Entry) -> Mapping[str, Any]:
    return {} if entry.run is None else entry.run.recipe


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Options by their full name, as they are written."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if prefix or key != "format":
                yield from _flat(item, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, item in enumerate(value, 1):
            yield from _flat(item, prefix if len(value) == 1 else f"{prefix}[{number}]")
    else:
        yield (
            prefix,
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str),
        )
