"""Log-mel to waveform without a network: mel bands to a spectrum, then Griffin and Lim's phases."""

from __future__ import annotations

import torch
from torch import Tensor

from omniflow.models.log_mel import LogMelConfig, mel_filterbank
from omniflow.models.vocoder import Vocoder

#: Found by measuring the log-mel of what comes out (see `GriffinLim`).
SPECTRUM_STEPS = 60
PHASE_STEPS = 32
MOMENTUM = 0.99


class GriffinLim(Vocoder):
    """Inverts the log-mel front end; the same log-mel always gives the same sound.

    The magnitudes of the spectrum are the non-negative ones whose mel bands come closest to the
    given ones; the phases are found by the fast Griffin-Lim algorithm (Perraudin et al. 2013,
    algorithm 2) from a fixed random start.

    Args:
        config: Constants of the front end.
        iterations: Rounds of Griffin-Lim.
        seed: Of the first phases.
    """

    def __init__(
        self, config: LogMelConfig, *, iterations: int = PHASE_STEPS, seed: int = 0
    ) -> None:
        super().__init__()
        self.config = config
        self.iterations = iterations
        self.seed = seed
        self.sample_rate_hz = config.sample_rate_hz
        self.mel_bins = config.mel_bins

    @torch.no_grad()
    def synthesise(self, log_mels: Tensor) -> Tensor:
        """Waveforms [batch, frames * hop_length] from log-mels [batch, frames, mel_bins]."""
        # One frame more than there is, as the front end cuts the last one off.
        bands = torch.cat([log_mels, log_mels[:, -1:]], dim=1).float().exp().transpose(1, 2)
        magnitudes = nonnegative_spectrum(bands, mel_filterbank(self.config).to(bands.device))
        waveforms = self._with_phases(magnitudes)
        return waveforms.clamp(-1, 1)

    def _with_phases(self, magnitudes: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed)
        turns = torch.rand(magnitudes.shape[1:], generator=generator).to(magnitudes.device)
        guess = torch.polar(torch.ones_like(turns), 2 * torch.pi * turns).expand(magnitudes.shape)
        previous = torch.zeros_like(guess)
        for _ in range(self.iterations):
            consistent = self._spectrum(self._waveform(magnitudes * guess))
            accelerated = consistent + MOMENTUM * (consistent - previous)
            guess = accelerated / accelerated.abs().clamp_min(1e-16)
            previous = consistent
        return self._waveform(magnitudes * guess)

    def _waveform(self, spectrum: Tensor) -> Tensor:
        size, hop = self.config.filter_length, self.config.hop_length
        window = torch.hann_window(size, device=spectrum.device)
        samples = (spectrum.shape[-1] - 1) * hop
        return torch.istft(spectrum, size, hop, window=window, length=samples)

    def _spectrum(self, waveforms: Tensor) -> Tensor:
        size, hop = self.config.filter_length, self.config.hop_length
        window = torch.hann_window(size, device=waveforms.device)
        return torch.stft(
            waveforms, size, hop, window=window, pad_mode="reflect", return_complex=True
        )


def nonnegative_spectrum(
    bands: Tensor, filterbank: Tensor, *, steps: int = SPECTRUM_STEPS
) -> Tensor:
    """Magnitudes [batch, bins, frames] >= 0 whose mel bands are closest to the given ones.

    Non-negative least squares by the multiplicative updates of Lee and Seung (2001), which keep
    the sign and never raise the error.

    Args:
        bands: Mel magnitudes [batch, mel_bins, frames].
        filterbank: Matrix from magnitudes to bands [mel_bins, bins].
        steps: Number of updates.
    """
    wanted = filterbank.T @ bands
    magnitudes = wanted.clone()
    for _ in range(steps):
        found = filterbank.T @ (filterbank @ magnitudes)
        magnitudes = magnitudes * wanted / found.clamp_min(1e-12)
    return magnitudes
