"""The splits of a recipe's datasets, as a run reads them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from omniflow.assembly import construct_component
from omniflow.errors import DataError
from omniflow.training.order import JoinedDataset

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry


def open_datasets(
    recipe: Recipe, registry: Registry, split: str, modalities: Collection[str]
) -> Dataset:
    """One split of the recipe's datasets, as one dataset that brings the given modalities.

    Raises:
        DataError: If no dataset is named, or one of them has nothing in this split.
    """
    if not recipe.dataset:
        raise DataError("the recipe names no dataset", expected="at least one, such as scenes")
    parts: list[Dataset] = []
    for choice in recipe.dataset:
        part: Dataset = construct_component(registry, "dataset", choice, split=split)
        part.restrict_to(modalities)
        if next(part.records(), None) is None:
            raise DataError(f"the {split} split of dataset {choice.name} is empty")
        parts.append(part)
    names = [choice.name for choice in recipe.dataset]
    return parts[0] if len(parts) == 1 else JoinedDataset(parts, names)
