"""No refiner: the head's latents go to the decoder as they are."""

from torch import Tensor

from omniflow.interfaces import Refiner


class NoRefiner(Refiner):
    """Leaves the latents as they are; has nothing to train.

    Args:
        latent_dim: Width of one text latent; filled in from the backbone.
    """

    def __init__(self, *, latent_dim: int) -> None:
        super().__init__()

    def forward(self, latents: Tensor) -> Tensor:
        """Return the latents [batch, tokens, latent_dim] themselves."""
        return latents
