"""The package that a recipe's component came from, as the model beside the recipe remembers it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omniflow.errors import CheckpointError, MistakesError, UnknownNameError, UsageError

#: Where saved models lie, from the folder of a recipe: a pulled folder's own, and those of a run.
MODELS = (".", "best", "latest", "final")


@contextmanager
def naming_packages() -> Iterator[None]:
    """Have a name of a recipe that nobody registers tell the package that once did."""
    try:
        yield
    except UsageError as error:
        for mistake in error.errors if isinstance(error, MistakesError) else (error,):
            if isinstance(mistake, UnknownNameError):
                mistake.notes = (*_advice(mistake), *mistake.notes)
        raise


def _advice(mistake: UnknownNameError) -> Iterator[str]:
    recipe = Path((mistake.where or "").rpartition(":")[0])
    for entry in _components(recipe.parent) if recipe.is_file() else ():
        if (entry["kind"], entry["name"]) == (mistake.what, mistake.name):
            owner, version = entry["distribution"], entry["version"]
            yield (
                f"the model beside the recipe has it from {owner} {version}: "
                f"pip install {owner}=={version}"
            )


def _components(folder: Path) -> list[dict[str, str]]:
    """Those of the first saved model that can be read; it is advice, and none is no mistake."""
    from omniflow.checkpoints import read_model_config

    for place in MODELS:
        with suppress(CheckpointError):
            return list(read_model_config(folder / place / "config.json")["components"])
    return []
