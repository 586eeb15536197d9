"""Log-mel front end of the audio VAE: the magnitude spectrogram that AudioLDM's vocoders read."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from omniflow.checkpoints import read_json
from omniflow.errors import CheckpointError, ConfigError, UnknownNameError

#: Where the folder of an audio VAE may say other constants than the published ones.
CONFIG_NAME = "preprocessor_config.json"

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

    Raises:
        ConfigError: If a value is impossible.
    """

    sample_rate_hz: int = 16_000
    filter_length: int = 1024
    hop_length: int = 160
    mel_bins: int = 64
    fmin_hz: float = 0.0
    fmax_hz: float = 8000.0
    frames: int = 1024

    def __post_init__(self) -> None:
        for name in ("sample_rate_hz", "filter_length", "hop_length", "mel_bins", "frames"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(name, value, expected="a whole number >= 1")
        for name in ("fmin_hz", "fmax_hz"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ConfigError(name, value, expected="a number")
        half = self.sample_rate_hz / 2
        if not (math.isfinite(self.fmin_hz) and 0 <= self.fmin_hz < self.fmax_hz <= half):
            raise ConfigError(
                "fmax_hz",
                self.fmax_hz,
                expected=f"more than fmin_hz, {self.fmin_hz}, and at most {half:g}",
            )
        if self.filter_length % 2 or self.hop_length > self.filter_length:
            raise ConfigError(
                "filter_length",
                self.filter_length,
                expected=f"an even number of at least hop_length, {self.hop_length}",
            )
        if self.samples <= self.filter_length // 2:
            raise ConfigError(
                "frames",
                self.frames,
                expected=f"more than {self.filter_length // 2} samples in a segment",
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LogMelConfig:
        """Read plain data; keys with a leading underscore are passed over.

        Raises:
            UnknownNameError: If a key is not one of this configuration.
            ConfigError: If a value is impossible.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        given = {name: value for name, value in values.items() if not name.startswith("_")}
        for name in given:
            if name not in known:
                raise UnknownNameError("key of the log-mel config", name, known)
        return cls(**given)

    @classmethod
    def from_folder(cls, folder: Path) -> LogMelConfig:
        """What `preprocessor_config.json` in the folder says; the published constants without it.

        Raises:
            CheckpointError: If the file cannot be read, or is not a JSON object.
            UsageError: As `from_dict`.
        """
        file = folder / CONFIG_NAME
        if not file.exists():
            return cls()
        values = read_json(file)
        if not isinstance(values, dict):
            raise CheckpointError(
                f"it holds a {type(values).__name__}", where=str(file), expected="a JSON object"
            )
        return cls.from_dict(values)

    def to_dict(self) -> dict[str, Any]:
        """Every key as plain JSON data; `from_dict` reads it back to an equal configuration."""
        return dataclasses.asdict(self)

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
