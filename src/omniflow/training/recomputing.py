"""Gradient checkpointing: activations are computed again in the backward pass, and not kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omniflow.errors import ConfigError
from omniflow.interfaces.recomputing import Recomputing

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


def recompute_activations(model: OmniFlowModel) -> None:
    """Have every module of a model that can do so recompute what it would keep.

    Heads and refiners keep little, and a codebook learns from what it sees: they are left alone.

    Raises:
        ConfigError: If there is no such module.
    """
    modules = [module for module in model.modules() if isinstance(module, Recomputing)]
    if not modules:
        raise ConfigError(
            "training.gradient_checkpointing",
            True,
            expected=f"false: backbone {model.parts.backbone.name} has nothing that can recompute",
        )
    for module in modules:
        module.gradient_checkpointing = True
