"""Which sizes pictures can have, and how large their latents are."""

from __future__ import annotations

from dataclasses import dataclass

from omniflow.backbones.layout import Part
from omniflow.errors import ConfigError
from omniflow.models.joint_transformer import JointTransformerConfig

#: Side of the pictures that the published models work with, although their VAE says 1024.
LARGEST_DEFAULT = 512

#: Pixels a latent of the published image VAE, for folders without one.
PUBLISHED_FACTOR = 8


@dataclass(frozen=True)
class ImageGrid:
    """Sizes of pictures.

    Args:
        size: Side of given pictures and, unless said otherwise, of made ones, in pixels.
        factor: Pixels a latent.
        patch_size: Latents a token, both along one side.
        most_patches: Tokens along one side that the transformer has positions for.
    """

    size: int
    factor: int
    patch_size: int
    most_patches: int

    def __post_init__(self) -> None:
        self._check("image_size", self.size)

    def latent_size(self, height: int | None, width: int | None) -> tuple[int, int]:
        """Rows and columns of the latents of a picture.

        Raises:
            ConfigError: If a side is no whole number of tokens, or too many.
        """
        sides = []
        for name, pixels in (("height", height), ("width", width)):
            side = self.size if pixels is None else pixels
            self._check(name, side)
            sides.append(side // self.factor)
        return sides[0], sides[1]

    def _check(self, name: str, pixels: int) -> None:
        step = self.factor * self.patch_size
        most = step * self.most_patches
        if not step <= pixels <= most or pixels % step:
            raise ConfigError(name, pixels, expected=f"a multiple of {step}, at most {most}")


def find_image_grid(
    vae: Part | None, config: JointTransformerConfig, image_size: int | None
) -> ImageGrid:
    """The sizes of a model.

    Args:
        vae: Its image VAE, if it has one.
        config: Its transformer's configuration.
        image_size: The side that a person wants.

    Raises:
        ConfigError: If that side is impossible, or the VAE is not for this transformer.
    """
    content = {} if vae is None else vae.config()
    factor = PUBLISHED_FACTOR
    blocks = content.get("block_out_channels")
    if isinstance(blocks, list):
        factor = 2 ** (len(blocks) - 1)
    channels = content.get("latent_channels", config.in_channels)
    if channels != config.in_channels and vae is not None:
        raise ConfigError(
            "latent_channels",
            channels,
            expected=f"{config.in_channels}, the in_channels of the transformer",
            where=f"{vae.label}/config.json",
        )
    largest = factor * config.patch_size * config.pos_embed_max_size
    if image_size is None:
        own = content.get("sample_size", config.sample_size * factor)
        image_size = min(LARGEST_DEFAULT, largest, own if isinstance(own, int) else largest)
        image_size = max(1, image_size // (factor * config.patch_size)) * factor * config.patch_size
    return ImageGrid(image_size, factor, config.patch_size, config.pos_embed_max_size)
