"""The recipes of an experiment, each with the name that its runs go by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import UsageError

if TYPE_CHECKING:
    from omniflow.draft import Draft


def named_recipes(said: Sequence[str]) -> dict[str, Draft]:
    """Recipes by name: of a shipped one its own, of a file `NAME.yaml`, of a run its folder's.

    Raises:
        UsageError: If there is no such recipe, or two have one name.
    """
    from omniflow.draft import Draft

    found: dict[str, Draft] = {}
    for one in said:
        draft = Draft.from_file(one, where="RECIPE")
        name = name_of(one)
        if name in found:
            raise UsageError(
                f"two recipes are called {name}",
                where="RECIPE",
                expected="each recipe once, and files of different names",
            )
        found[name] = draft
    return found


def name_of(said: str) -> str:
    """What a recipe's runs go by."""
    path = Path(said)
    if path.name == "recipe.yaml" and path.parent.name:
        return path.parent.name
    return path.stem if path.suffix in (".yaml", ".yml") else path.name
