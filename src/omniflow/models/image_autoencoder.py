"""Pictures to latents and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from omniflow.errors import ConfigError, OmniFlowError
from omniflow.models.autoencoder import LatentAutoencoder

if TYPE_CHECKING:
    from PIL.Image import Image


class ImageAutoencoder(LatentAutoencoder):
    """The image VAE with what comes before and after it; see `LatentAutoencoder`."""

    def pixels(self, images: Sequence[Image], size: int) -> Tensor:
        """Pictures as the network reads them [batch, 3, size, size], in [-1, 1].

        The short side is brought to `size` and the middle cut out, as torchvision does with
        pictures of Pillow.

        Args:
            images: Pictures of any size and mode; transparency is dropped.
            size: Side of the square, in pixels.

        Raises:
            ConfigError: If the latents of such a square would not be whole.
        """
        if size < self.factor or size % self.factor:
            raise ConfigError("size", size, expected=f"a multiple of {self.factor}")
        arrays = np.stack([np.asarray(_square(image, size), np.float32) for image in images])
        return (torch.from_numpy(arrays).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5

    def decode(self, latents: Tensor) -> list[Image]:
        """RGB pictures from scaled latents [batch, channels, height, width].

        Raises:
            OmniFlowError: If the network makes numbers that are not finite.
        """
        from PIL import Image

        pixels = self.decode_inputs(latents)
        if not pixels.isfinite().all():
            raise OmniFlowError(
                "the pictures have pixels that are not finite numbers",
                where="image VAE",
                notes=["its weights may be damaged, or the latents enormous"],
            )
        shares = (pixels / 2 + 0.5).clamp(0, 1)
        arrays = (shares * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
        return [Image.fromarray(array) for array in arrays]


def _square(image: Image, size: int) -> Image:
    """The middle of a picture, its short side brought to `size` by antialiased bilinear steps."""
    from PIL.Image import Resampling

    width, height = image.size
    short = min(width, height)
    resized = image.convert("RGB").resize(
        (size * width // short, size * height // short), Resampling.BILINEAR
    )
    left = round((resized.width - size) / 2)
    top = round((resized.height - size) / 2)
    return resized.crop((left, top, left + size, top + size))
