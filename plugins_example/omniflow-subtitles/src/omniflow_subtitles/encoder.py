"""Encoder `mel-statistics`: how loud a sound is in every band, and how much that varies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from omniflow.errors import ConfigError, DataError
from omniflow.interfaces import Audio, Encoder, Sample

#: Frames are so long, and begin half of it apart.
_FRAME_S = 0.064
_HIGHEST_HZ = 8000.0
_FLOOR = 1e-5


class MelStatisticsEncoder(Encoder):
    """Mean and standard deviation over time of log mel bands; has no weights.

    Bands are evenly spaced on the mel scale up to 8 kHz, whatever the rate of the sound; those that
    its rate does not reach are as silence. Channels are averaged.

    Args:
        bands: Number of bands, at least 1; an embedding is twice as wide.

    Raises:
        ConfigError: If an option is outside its range.
    """

    modalities = ("audio",)
    place: Tensor

    def __init__(self, *, bands: int = 64) -> None:
        super().__init__()
        if bands < 1:
            raise ConfigError("bands", bands, expected="a whole number >= 1")
        self.bands = bands
        self.register_buffer("place", torch.zeros(()), persistent=False)

    @property
    def width(self) -> int:
        """Size of one embedding."""
        return 2 * self.bands

    def load_weights(self) -> None:
        """Nothing to read."""

    @torch.no_grad()
    def encode(self, samples: Sequence[Sample], modality: str) -> Tensor:
        """Embed the sound of every sample: [batch, width].

        Raises:
            DataError: If a sample has no sound.
        """
        rows = []
        for sample in samples:
            if sample.audio is None:
                raise DataError("the record has no sound", where=sample.id)
            levels = self._levels(sample.audio)
            rows.append(torch.cat([levels.mean(1), levels.std(1, unbiased=False)]))
        return torch.stack(rows).to(self.place.device)

    def work_identity(self, modality: str) -> Mapping[str, str]:
        """The number of bands; there are no weights."""
        return {"bands": str(self.bands)}

    def _levels(self, sound: Audio) -> Tensor:
        """Log mel levels [bands, frames]."""
        wave = torch.from_numpy(sound.waveform).mean(0)
        length = max(round(_FRAME_S * sound.rate_hz), 2)
        # A sound shorter than a frame is followed by silence.
        wave = torch.nn.functional.pad(wave, (0, max(length - len(wave), 0)))
        window = torch.hann_window(length)
        spectrum = torch.stft(
            wave, length, hop_length=length // 2, window=window, center=False, return_complex=True
        )
        power = spectrum.abs().square() / window.sum().square()
        return (mel_filters(self.bands, length, sound.rate_hz) @ power + _FLOOR).log()


def mel_filters(bands: int, length: int, rate_hz: int) -> Tensor:
    """Triangular filters [bands, length // 2 + 1] that overlap by half, from 0 Hz to 8 kHz.

    Args:
        bands: Number of filters.
        length: Samples of a frame.
        rate_hz: Samples a second.
    """
    highest_mel = 2595 * torch.log10(torch.tensor(1 + _HIGHEST_HZ / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(highest_mel), bands + 2) / 2595) - 1)
    frequencies = torch.arange(length // 2 + 1) * (rate_hz / length)
    low, middle, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising = (frequencies - low) / (middle - low)
    falling = (high - frequencies) / (high - middle)
    return torch.minimum(rising, falling).clamp(min=0)
