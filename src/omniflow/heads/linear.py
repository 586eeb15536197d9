"""Linear head: the backbone's own last text projection, made trainable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from omniflow.interfaces import Head, HeadOutput

if TYPE_CHECKING:
    from omniflow.interfaces import Backbone


class LinearHead(Head):
    """One linear layer over the text features.

    Starts as a copy of the backbone's own projection, or as the identity when it reads what that
    projection writes: before training it predicts what the backbone predicts.

    Args:
        feature_dim: Width of the features; filled in from the backbone.
        latent_dim: Width of one text latent; filled in from the backbone.
    """

    loss_names = ()

    def __init__(self, *, feature_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(feature_dim, latent_dim)

    def forward(self, features: Tensor) -> HeadOutput:
        """Map features [batch, tokens, feature_dim] to latents [batch, tokens, latent_dim]."""
        return HeadOutput(latents=self.projection(features))

    @torch.no_grad()
    def initialise_from(self, backbone: Backbone, features: str) -> None:
        """Take over the backbone's projection; a head of another width keeps its random start."""
        if self.projection.out_features != backbone.latent_dim:
            return
        if features == "x0":
            nn.init.eye_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)
        else:
            self.projection.load_state_dict(backbone.text_projection.state_dict())
