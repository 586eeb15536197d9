"""The reference of components and options, from what `omniflow show` says."""

from __future__ import annotations

import contextlib
import io
import json
from typing import Any

from omniflow.options import signature_options
from omniflow.recipe import TrainingOptions, shipped_recipes
from omniflow.registry import KINDS
from omniflow_cli.app import main

#: As the names of kinds stand in a heading.
_TITLES = {kind: f"{kind.capitalize()}s" for kind in KINDS}


def component_reference() -> str:
    """Markdown: the components of every kind with their options, those of the loop, recipes."""
    parts = []
    for kind in KINDS:
        parts.append(f"## {_TITLES[kind]}")
        parts += [_component(_told("show", kind, each["name"])) for each in _listed(kind)]
    parts += [
        "## Training",
        "Options of the loop, under `training` in a recipe.",
        _loop(),
        _recipes(),
    ]
    return "\n\n".join(parts)


def _told(*arguments: str) -> Any:
    """What a command prints as JSON."""
    stdout = io.StringIO()
    with contextlib.redirect_stdout(stdout):
        code = main([*arguments, "--json"])
    if code != 0:
        raise RuntimeError(f"omniflow {' '.join(arguments)} ended with {code}")
    return json.loads(stdout.getvalue())


def _listed(kind: str) -> list[dict[str, Any]]:
    return list(_told("list-components", "--kind", kind))


def _component(page: dict[str, Any]) -> str:
    parts = [f"### {page['kind']} {page['name']}", f"{page['summary']}. {page['description']}"]
    [(backbone, suited)] = page["defaults_with"].items()
    rows = []
    for option in page["options"]:
        default = "required" if option["required"] else f"`{_value(option['default'])}`"
        if option["name"] in suited:
            default += f", on {backbone} `{_value(suited[option['name']])}`"
        rows.append((f"`{option['name']}`", option["type"], default, option["help"]))
    if rows:
        parts.append(_table(rows))
    return "\n\n".join(parts)


def _loop() -> str:
    return _table(
        (
            f"`{option.name}`",
            option.type_name,
            "required" if option.is_required else f"`{_value(option.default)}`",
            option.help,
        )
        for option in signature_options(TrainingOptions)
    )


def _recipes() -> str:
    return "\n\n".join(
        f"### recipe {name}\n\n```yaml\n{path.read_text(encoding='utf-8').rstrip()}\n```"
        for name, path in sorted(shipped_recipes().items())
    )


def _table(rows: Any) -> str:
    lines = ["| option | type | default | |", "| --- | --- | --- | --- |"]
    return "\n".join([*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in rows)])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _value(value: Any) -> str:
    """A default the way it is typed in a recipe."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
