"""Sounds to latents and back: log-mel front end, audio VAE and vocoder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniflow.errors import ConfigError, UsageError
from omniflow.interfaces.dataset import Audio
from omniflow.models.audio_segment import audio_segment
from omniflow.models.autoencoder import LatentAutoencoder
from omniflow.models.log_mel import LogMelConfig, log_mel

if TYPE_CHECKING:
    from omniflow.models.vocoder import Vocoder


class AudioAutoencoder(LatentAutoencoder):
    """The audio VAE with what comes before and after it; see `LatentAutoencoder`.

    Args:
        folder: Folder of the VAE.
        config: Constants of the front end.
        vocoder: Makes sound of a log-mel; without one, sounds can be encoded only. The attribute
            may be set later, by a vocoder for the same front end.

    Raises:
        CheckpointError: If the VAE cannot be read.
        ConfigError: If its latents of such a log-mel would not be whole, or the vocoder reads
            another number of mel bands.
    """

    def __init__(self, folder: Path, config: LogMelConfig, vocoder: Vocoder | None = None) -> None:
        super().__init__(folder)
        for name in ("frames", "mel_bins"):
            size = getattr(config, name)
            if size % self.factor:
                raise ConfigError(name, size, expected=f"a multiple of {self.factor}")
        if vocoder is not None and vocoder.mel_bins != config.mel_bins:
            raise ConfigError(
                "mel_bins", config.mel_bins, expected=f"{vocoder.mel_bins}, as the vocoder reads"
            )
        self.config = config
        self.vocoder = vocoder

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Channels, rows (time) and columns (mel) of the latents of one segment."""
        frames, bins = self.config.frames // self.factor, self.config.mel_bins // self.factor
        return self.latent_channels, frames, bins

    @torch.no_grad()
    def log_mel(self, sounds: Sequence[Audio]) -> Tensor:
        """Log-mel of the first segment of each sound [batch, 1, frames, mel_bins].

        Args:
            sounds: Sounds of any rate, channel count and length; see `audio_segment`.

        Raises:
            DataError: If a sound cannot be used.
        """
        segments = [audio_segment(sound, self.config) for sound in sounds]
        return log_mel(torch.stack(segments).to(self.device), self.config)[:, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Log-mel [batch, 1, frames, mel_bins] from scaled latents [batch, channels, time, mel]."""
        return self.decode_inputs(latents)

    def synthesise(self, log_mels: Tensor) -> list[Audio]:
        """Sounds of one channel from log-mels [batch, 1, frames, mel_bins].

        Raises:
            UsageError: If there is no vocoder.
        """
        if self.vocoder is None:
            raise UsageError("there is no vocoder", where="audio", expected="one, to make sounds")
        waveforms = self.vocoder.synthesise(log_mels[:, 0].to(self.device)).float().cpu().numpy()
        return [Audio(wave[None], self.vocoder.sample_rate_hz) for wave in waveforms]
