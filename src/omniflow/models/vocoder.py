"""Vocoder: log-mel to waveform."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Vocoder(nn.Module, ABC):
    """Base of every vocoder."""

    #: Samples a second of what it makes.
    sample_rate_hz: int
    #: Bands of the log-mel that it reads.
    mel_bins: int

    @abstractmethod
    def synthesise(self, log_mels: Tensor) -> Tensor:
        """Waveforms [batch, samples] in [-1, 1] from log-mels [batch, frames, mel_bins]."""
