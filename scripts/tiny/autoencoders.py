"""Image and audio VAE of `tiny`: small networks of diffusers, trained on pictures and log-mels."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from omniflow.checkpoints import read_json, read_tensors, write_tensors
from omniflow.datasets.scenes import ScenesDataset
from omniflow.files import write_json
from omniflow.models.log_mel import LogMelConfig, log_mel

from .plumbing import (
    Log,
    Means,
    fast_precision,
    parameters,
    rounded,
    schedule,
    take_step,
    unshared,
)

LOG_MEL = LogMelConfig(frames=128, hop_length=128)
#: Spread of the log-mels of scenes: what their errors are measured in.
LOG_MEL_SCALE = 3.2
IMAGE_SIZE = 64
#: Weight of the divergence, round by round: what a picture shows has to come out at all before its
#: latents can be made smooth again.
KL_WEIGHTS = (1e-3, 2e-4, 1e-4, 3e-4)
#: Noise on the latents that the decoder learns to do without at last: what a flow leaves over.
DECODER_NOISE = 0.25


def new_vae(modality: str, seed: int) -> AutoencoderKL:
    """An untrained VAE: pictures [3, 64, 64] to [8, 8, 8], log-mels [1, 128, 64] to [8, 16, 8]."""
    torch.manual_seed(seed)
    channels = 3 if modality == "image" else 1
    widths = (16, 32, 48, 64)
    return AutoencoderKL(
        in_channels=channels,
        out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=1,
        latent_channels=8,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE if modality == "image" else LOG_MEL.frames,
        scaling_factor=1.0,
    )


def pictures(scenes: ScenesDataset, indices: list[int]) -> Tensor:
    """Pictures as the VAE reads them: [batch, 3, 64, 64] in [-1, 1]."""
    import numpy as np

    pixels = np.stack([np.asarray(scenes[index].image) for index in indices])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def log_mels(scenes: ScenesDataset, indices: list[int]) -> Tensor:
    """Sounds as the VAE reads them: [batch, 1, 128, 64]."""
    waves = torch.stack([torch.from_numpy(scenes[index].audio.waveform[0]) for index in indices])
    waves = waves - waves.mean(1, keepdim=True)
    waves = 0.5 * waves / (waves.abs().amax(1, keepdim=True) + 1e-8)
    return log_mel(F.pad(waves, (0, LOG_MEL.samples - waves.shape[1])), LOG_MEL)[:, None]


def inputs(modality: str, split: str, seed: int, batch_size: int) -> Iterator[Tensor]:
    """One batch after another, each scene once in a million."""
    is_image = modality == "image"
    scenes = ScenesDataset(
        split=split, size=1_000_000, image=is_image, audio=not is_image, seed=seed
    )
    read = pictures if is_image else log_mels
    for start in range(0, len(scenes), batch_size):
        yield read(scenes, list(range(start, start + batch_size)))


def train_autoencoder(modality: str, work: Path, options: argparse.Namespace, log: Log) -> None:
    """Train one VAE: absolute and squared error, and a little divergence from a unit Gaussian.

    In rounds, each along a cosine of its own, and each but the first on from the one before.
    """
    vae = new_vae(modality, options.seed)
    held_out = next(inputs(modality, "validation", 0, 200))
    log(f"{modality} VAE: {parameters(vae):,} parameters")
    nn.init.constant_(vae.decoder.conv_out.bias, held_out.mean().item())
    source = inputs(modality, "train", options.seed, options.vae_batch)
    rounds = options.image_vae_rounds if modality == "image" else options.audio_vae_rounds
    for round_ in range(rounds):
        train_round(modality, vae, source, held_out, round_, options, log)
        save_autoencoder(modality, vae, held_out, work)
    if modality == "image":
        train_decoder(vae, source, held_out, options, log)
        save_autoencoder(modality, vae, held_out, work)


def train_decoder(
    vae: AutoencoderKL,
    source: Iterator[Tensor],
    held_out: Tensor,
    options: argparse.Namespace,
    log: Log,
) -> None:
    """Train the image decoder alone, on latents with noise."""
    decoder = nn.ModuleList([vae.post_quant_conv, vae.decoder])
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.0)
    means = Means(log, "image decoder")
    for step in range(1, options.decoder_steps + 1):
        given = next(source)
        with fast_precision():
            with torch.no_grad():
                latents = vae.encode(given).latent_dist.mean
            sigma = DECODER_NOISE * torch.rand(len(latents), 1, 1, 1)
            made = vae.decode(latents + sigma * torch.randn_like(latents)).sample
        error = (made.float() - given) * focus(given)
        factor = schedule(step, options.decoder_steps, warmup=100)
        loss = error.abs().mean() + error.square().mean()
        take_step(optimizer, decoder, loss, options.vae_lr * factor)
        means.add(l1=error.abs().mean().item(), mse=error.square().mean().item())
        means.report(step)
    log(f"image decoder: held out {held_out_figures(vae, held_out, 1.0)}")


def train_round(
    modality: str,
    vae: AutoencoderKL,
    source: Iterator[Tensor],
    held_out: Tensor,
    round_: int,
    options: argparse.Namespace,
    log: Log,
) -> None:
    """One warm-up and one cosine."""
    scale = 1.0 if modality == "image" else LOG_MEL_SCALE
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.0)
    means = Means(log, f"{modality} VAE, round {round_ + 1}")
    for step in range(1, options.vae_steps + 1):
        given = next(source)
        # Noise from the first step on would drown what little the latents say then.
        ramp = 1.0 if round_ else min(1.0, step / (0.5 * options.vae_steps))
        with fast_precision():
            posterior = vae.encode(given).latent_dist
            noise = ramp * posterior.std * torch.randn_like(posterior.mean)
            made = vae.decode(posterior.mean + noise).sample
        error = (made.float() - given) / scale
        if modality == "image":
            error = error * focus(given)
        kl = 0.5 * (posterior.mean.float() ** 2 + posterior.var.float() - 1.0)
        kl = (kl - 0.5 * posterior.logvar.float()).mean()
        weight = ramp * KL_WEIGHTS[min(round_, len(KL_WEIGHTS) - 1)]
        loss = error.abs().mean() + error.square().mean() + weight * kl
        factor = schedule(step, options.vae_steps, warmup=100)
        take_step(optimizer, vae, loss, options.vae_lr * factor)
        means.add(l1=error.abs().mean().item(), mse=error.square().mean().item(), kl=kl.item())
        means.report(step)
        if step % 250 == 0:
            log(f"{modality} VAE step {step}: held out {held_out_figures(vae, held_out, scale)}")


def focus(given: Tensor) -> Tensor:
    """Weight of each pixel [batch, 1, height, width]: shapes and edges count threefold."""
    ground = given.flatten(2).median(dim=2).values[..., None, None]
    is_shape = ((given - ground).abs().amax(1, keepdim=True) > 0.1).float()
    return 1.0 + 2.0 * F.max_pool2d(is_shape, 3, stride=1, padding=1)


@torch.no_grad()
def held_out_figures(vae: AutoencoderKL, given: Tensor, scale: float) -> dict[str, float]:
    """Errors on pictures or sounds that were not trained on, and the spread of the latents."""
    posterior = vae.encode(given).latent_dist
    error = (vae.decode(posterior.mean).sample - given) / scale
    return {
        "l1": round(error.abs().mean().item(), 4),
        "mse": round(error.square().mean().item(), 5),
        "latent std": round(posterior.mean.std().item(), 3),
        "posterior std": round(posterior.std.mean().item(), 3),
    }


@torch.no_grad()
def save_autoencoder(modality: str, vae: AutoencoderKL, given: Tensor, work: Path) -> None:
    """Write the weights, and the configuration with the scale that brings latents to size 1."""
    folder = work / ("vae" if modality == "image" else "audio_vae")
    spread = vae.encode(given).latent_dist.mean.std().item()
    vae.register_to_config(scaling_factor=1.0 / spread, shift_factor=0.0)
    config = {name: value for name, value in vae.config.items() if value is not None}
    write_json(folder / "config.json", {"_class_name": "AutoencoderKL", **config})
    if modality == "audio":
        write_json(folder / "preprocessor_config.json", vars(LOG_MEL))
    write_tensors(
        folder / "diffusion_pytorch_model.safetensors",
        {name: tensor.bfloat16() for name, tensor in unshared(vae).items()},
    )


def load_autoencoder(modality: str, work: Path) -> AutoencoderKL:
    """The VAE that its stage left behind, frozen, as it is shipped."""
    folder = work / ("vae" if modality == "image" else "audio_vae")
    vae = AutoencoderKL.from_config(read_json(folder / "config.json"))
    vae.load_state_dict(rounded(read_tensors(folder / "diffusion_pytorch_model.safetensors")))
    return vae.eval().requires_grad_(False)
