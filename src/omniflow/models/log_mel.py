"""Log-mel front end of the audio VAE: the magnitude spectrogram that AudioLDM's vocoders read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

#: Magnitudes below this are silence.
FLOOR = 1e-5


@dataclass(frozen=True)
class LogMelConfig:
    """Constants of the front end; the defaults are those of the published models.

    Args:
        sample_rate_hz: Rate that sounds are brought to.
        filter_length: Samples of one Fourier transform.
        hop_length: Samples from one frame to the next.
        mel_bins: Number of mel bands.
        fmin_hz: Lower end of the first band.
        fmax_hz: Upper end of the last one.
        frames: Frames of one segment.
    """

    sample_rate_hz: int = 16_000
    filter_length: int = 1024
    hop_length: int = 160
    mel_bins: int = 64
    fmin_hz: float = 0.0
    fmax_hz: float = 8000.0
    frames: int = 1024

    @property
    def samples(self) -> int:
        """Samples of one segment."""
        return self.frames * self.hop_length


def log_mel(waveforms: Tensor, config: LogMelConfig) -> Tensor:
    """Natural logarithm of mel magnitudes [batch, frames, mel_bins], at least log(1e-5).

    Magnitude and not power, Slaney mel scale and area normalisation, frames centred with reflection
    at the ends.

    Args:
        waveforms: Segments [batch, samples] at the configured rate.
        config: Constants of the front end.
    """
    window = torch.hann_window(config.filter_length, device=waveforms.device)
    spectrum = torch.stft(
        waveforms,
        config.filter_length,
        config.hop_length,
        window=window,
        center=True,
        pad_mode="reflect",
        return_complex=True,
    )
    bands = mel_filterbank(config).to(waveforms.device) @ spectrum.abs()
    return bands.clamp_min(FLOOR).log().transpose(1, 2)[:, : config.frames]


@lru_cache(maxsize=8)
def mel_filterbank(config: LogMelConfig) -> Tensor:
    """Triangular bands [mel_bins, filter_length / 2 + 1] of unit area on the Slaney mel scale."""
    from transformers.audio_utils import mel_filter_bank

    bands = mel_filter_bank(
        num_frequency_bins=config.filter_length // 2 + 1,
        num_mel_filters=config.mel_bins,
        min_frequency=config.fmin_hz,
        max_frequency=config.fmax_hz,
        sampling_rate=config.sample_rate_hz,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(np.ascontiguousarray(bands.T)).float()
