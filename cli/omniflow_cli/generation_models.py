"""The models that `omniflow generate` takes, each with its data, before any of them is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow_cli.generation_data import (
    MAX_LENGTH,
    dataset_choices,
    max_length_of,
    recipe_beside,
)
from omniflow_cli.models_said import assembled, backbone_recipe, loaded, places_of

if TYPE_CHECKING:
    import torch

    from omniflow.model import OmniFlowModel
    from omniflow.recipe import Choice, Recipe


@dataclass(frozen=True)
class ModelSaid:
    """A model, not read yet, and what it is given.

    Args:
        name: What the result file calls it.
        source: The folder of a saved model, or the recipe of a backbone as it is.
        datasets: What it reads.
        max_length: Longest reference in tokens that it scores.
        places: Where the backbone of a saved model is here.
    """

    name: str
    source: Path | Recipe
    datasets: tuple[Choice, ...]
    max_length: int
    places: Mapping[str, str] = field(default_factory=dict)

    def read(self, device: torch.device) -> OmniFlowModel:
        """The model, weights and all."""
        if isinstance(self.source, Path):
            return loaded(self.source, device, self.places)
        return assembled(self.source, device)

    def identity(self) -> dict[str, Any]:
        """What tells it from every other model."""
        from omniflow.checkpoints import content_hash, read_model_config

        if not isinstance(self.source, Path):
            recipe = self.source
            return {"backbone": recipe.backbone.to_dict(), "seed": recipe.training.seed}
        config = read_model_config(self.source / "config.json")
        if config.get("weights_hash") is None:
            config["weights_hash"] = content_hash(self.source / "model.safetensors")
        return config


def models_said(
    checkpoint: str | None,
    backbone: str | None,
    settings: Mapping[str, str],
    datasets: Sequence[str],
) -> list[ModelSaid]:
    """The saved models that fit, or a backbone as it is.

    Args:
        checkpoint: `--checkpoint`.
        backbone: `--backbone`.
        settings: Options of datasets and of the backbone by their full name.
        datasets: `--dataset`.

    Raises:
        UsageError: If there is none, or something is unknown.
    """
    of_data = {key: value for key, value in settings.items() if key.startswith("dataset")}
    of_backbone = {key: value for key, value in settings.items() if key not in of_data}
    if backbone is not None:
        recipe = backbone_recipe(backbone, of_backbone)
        chosen = dataset_choices(datasets, of_data, None)
        return [ModelSaid(backbone, recipe, chosen, MAX_LENGTH)]
    from omniflow.generation.find_models import find_models

    places = places_of(of_backbone)
    found = []
    for name, folder in find_models(str(checkpoint), where="--checkpoint"):
        run = recipe_beside(folder)
        chosen = dataset_choices(datasets, of_data, run)
        found.append(ModelSaid(name, folder, chosen, max_length_of(run), places))
    return found
