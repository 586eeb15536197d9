"""Autoencoder between pictures, or spectrograms, and the latents that the transformer reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from omniflow.checkpoints import read_json
from omniflow.errors import CheckpointError

#: Rows times columns that go through the network at once: one picture of 512 x 512.
_AREA_AT_ONCE = 512 * 512

_WEIGHTS = "diffusion_pytorch_model"


class LatentAutoencoder(nn.Module):
    """Diffusers' AutoencoderKL in float32, frozen, with its latents scaled for the transformer.

    Large batches go through it in slices, which bounds the memory.

    Args:
        folder: A folder with `config.json` and `diffusion_pytorch_model.safetensors` (or `.bin`,
            read as weights only).

    Raises:
        CheckpointError: If a file is missing or damaged, or of another kind of model.
    """

    network: Any

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.network = _load(folder)
        config = self.network.config
        self.scaling_factor: float = config.scaling_factor
        self.shift_factor: float = config.shift_factor or 0.0

    @property
    def factor(self) -> int:
        """How many rows, and columns, of the input make one of the latents."""
        return int(2 ** (len(self.network.config.block_out_channels) - 1))

    @property
    def latent_channels(self) -> int:
        """Channels of the latents."""
        return int(self.network.config.latent_channels)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.no_grad()
    def encode(self, inputs: Tensor, noise: Tensor | None = None) -> Tensor:
        """Scaled latents [batch, channels, height / factor, width / factor], float32.

        The published models scale and do not shift on the way in, and do both on the way out; the
        transformer has learnt to live with it.

        Args:
            inputs: What the network reads [batch, channels, height, width].
            noise: Gaussian draws for a sample of the posterior, of the shape of the result; its
                mean when None.
        """
        posterior = _in_slices(self._moments, inputs.to(self.device))
        mean, log_variance = posterior.chunk(2, dim=1)
        if noise is not None:
            # The clamp is that of diffusers' DiagonalGaussianDistribution.
            std = torch.exp(0.5 * log_variance.clamp(-30.0, 20.0))
            mean = mean + std * noise.to(mean)
        return mean * self.scaling_factor

    @torch.no_grad()
    def decode_inputs(self, latents: Tensor) -> Tensor:
        """What the network makes of scaled latents [batch, channels, height, width], float32."""
        unscaled = latents.to(self.device, torch.float32) / self.scaling_factor + self.shift_factor
        area = self.factor**2
        return _in_slices(lambda part: self.network.decode(part).sample, unscaled, scale=area)

    def _moments(self, inputs: Tensor) -> Tensor:
        moments: Tensor = self.network.encode(inputs).latent_dist.parameters
        return moments


def _load(folder: Path) -> nn.Module:
    from diffusers import AutoencoderKL
    from safetensors import SafetensorError

    config = read_json(folder / "config.json")
    found = config.get("_class_name") if isinstance(config, dict) else None
    if found != "AutoencoderKL":
        raise CheckpointError(
            f"its class is {found!r}", where=str(folder / "config.json"), expected="AutoencoderKL"
        )
    names = [f"{_WEIGHTS}.safetensors", f"{_WEIGHTS}.bin"]
    present = [name for name in names if (folder / name).is_file()]
    if not present:
        raise CheckpointError(f"{names[0]} is missing", where=str(folder))
    try:
        # Files of the `.bin` kind are read as weights only: nothing in them is executed.
        network, report = AutoencoderKL.from_pretrained(
            folder,
            torch_dtype=torch.float32,
            use_safetensors=present[0] == names[0],
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise CheckpointError(
            f"its weights cannot be read ({' '.join(str(error).split())[:200]})",
            where=str(folder),
            expected="whole tensors that fit its config.json",
        ) from error
    if report["missing_keys"]:
        raise CheckpointError(
            f"{len(report['missing_keys'])} tensors are missing",
            where=str(folder / present[0]),
            notes=[f"missing: {name}" for name in sorted(report["missing_keys"])[:5]],
        )
    frozen: nn.Module = network.eval().requires_grad_(False)
    return frozen


def _in_slices(action: Callable[[Tensor], Tensor], batch: Tensor, *, scale: int = 1) -> Tensor:
    area = batch.shape[-2] * batch.shape[-1] * scale
    rows = max(1, _AREA_AT_ONCE // area)
    return torch.cat([action(part) for part in torch.split(batch, rows)])
