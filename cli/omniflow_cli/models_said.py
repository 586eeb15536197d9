"""The model that a command is to use: a trained one, or a backbone as it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import UsageError
from omniflow.plugins import installed_plugins

if TYPE_CHECKING:
    import torch

    from omniflow.model import OmniFlowModel
    from omniflow.recipe import Recipe

#: Options of a backbone that say where something is, and nothing of what it is.
_PLACES = frozenset(
    f"backbone.{name}"
    for name in ("path", "revision", "t5", "clip", "audio_encoder", "audio_vae", "vocoder")
)


def backbone_recipe(backbone: str, settings: Mapping[str, str]) -> Recipe:
    """A backbone whose texts come from its own last projection: a fresh linear head is its copy.

    Args:
        backbone: Name, folder or Hub id.
        settings: Its options by their full name, `backbone.path`.

    Raises:
        UsageError: If a name or an option is unknown.
    """
    from omniflow.draft import BY_DEFAULT, Draft
    from omniflow.resolve import resolve
    from omniflow_cli.run_draft import backbone_named

    draft = Draft.from_mapping({"head": "linear", "refiner": "none"}, where=BY_DEFAULT)
    draft = Draft.from_mapping({"backbone": backbone_named(backbone)}, where="--backbone").over(
        draft
    )
    for key, value in settings.items():
        draft = draft.with_setting(key, value, where="--set")
    return resolve(draft, installed_plugins().registry)


def assembled(recipe: Recipe, device: torch.device) -> OmniFlowModel:
    """The model of a recipe, its head fresh."""
    from omniflow.assembly import assemble

    return assemble(recipe, installed_plugins().registry, device=device)


def loaded(
    folder: Path, device: torch.device, places: Mapping[str, str] | None = None
) -> OmniFlowModel:
    """A saved model.

    Args:
        folder: Where it is.
        device: Where it goes.
        places: Where its backbone is here, by the full name of the option.
    """
    from omniflow.assembly import load

    return load(folder, options=places, registry=installed_plugins().registry).to(device)


def places_of(settings: Mapping[str, str]) -> Mapping[str, str]:
    """Options that may be said of a saved model: where its backbone is. Its hash is checked.

    Raises:
        UsageError: If there are others, which the model settles.
    """
    for key in settings:
        if key not in _PLACES:
            raise UsageError(
                f"{key} is settled by the checkpoint",
                where="--set",
                expected="an option of the dataset, such as dataset.path=FILE, or where the "
                "backbone is, backbone.path=FOLDER",
            )
    return settings
