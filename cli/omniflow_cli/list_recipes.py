"""`omniflow list-recipes`: the recipes that come with the library."""

from __future__ import annotations

from pathlib import Path

from omniflow_cli import render
from omniflow_cli.flags import AsJson


def list_recipes(as_json: AsJson = False) -> None:
    """List the recipes that come with the library."""
    from omniflow.recipe import shipped_recipes

    recipes = {name: summary_of(path) for name, path in shipped_recipes().items()}
    if as_json:
        listed = [{"name": name, "summary": summary} for name, summary in recipes.items()]
        render.as_json({"recipes": listed})
    else:
        render.table(("recipe", "summary"), list(recipes.items()))


def summary_of(path: Path) -> str:
    """What a recipe is for: its first line, when that is a comment."""
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip() if first.startswith("#") else ""
