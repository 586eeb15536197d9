"""Head: the transformer's text features to the clean text latents that they predict."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from omniflow.interfaces.backbone import Backbone


@dataclass(frozen=True)
class HeadOutput:
    """What a head makes of the features.

    Args:
        latents: Predicted clean text latents [batch, tokens, latent_dim].
        losses: Auxiliary losses by name, each a scalar; logged under that name and weighted by
            the recipe (`objective.weights.NAME`, 1 unless said otherwise).
        codes: Indices of the codebook entries in use [batch, tokens] or [batch, tokens, codebooks];
            None for a head without a codebook.
    """

    latents: Tensor
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    codes: Tensor | None = None


class Head(nn.Module, ABC):
    """Base of every head.

    The constructor takes `feature_dim` and `latent_dim` (filled in from the backbone) and the
    head's own options, all keyword-only.
    """

    #: Names of the losses that the head adds, so that a recipe's weight for any other is refused
    #: before training; None for a head that does not say, where the first batch tells.
    loss_names: Collection[str] | None = None

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> HeadOutput:
        """Predict clean latents: `forward(features)` or `forward(features, timesteps)`.

        Args:
            features: Text features [batch, tokens, feature_dim].
            timesteps: Noise level of the text times 1000, [batch], 0 is clean and 1000 pure noise;
                passed by name to a head whose `forward` has a parameter of that name.
        """

    def predict(self, features: Tensor, timesteps: Tensor) -> HeadOutput:
        """Call the head with the timesteps if it takes them; what the model calls."""
        if "timesteps" in inspect.signature(self.forward).parameters:
            output: HeadOutput = self(features, timesteps=timesteps)
        else:
            output = self(features)
        return output

    def initialise_from(self, backbone: Backbone, features: str) -> None:
        """Take over what the backbone already knows; called once, before training from scratch.

        Args:
            backbone: The frozen backbone, weights loaded.
            features: Which text features the head reads, `hidden` or `x0`.
        """

    def statistics(self) -> dict[str, float]:
        """Figures to log beside the losses, for example code usage; may move data to the host."""
        return {}
