"""Kaldi's mel filter bank, as LanguageBind reads sounds."""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

PREEMPHASIS = 0.97
LOWEST_HZ = 20.0
#: Smallest energy, that of float32's rounding.
FLOOR = 1.1920928955078125e-07


def kaldi_fbank(waveform: Tensor, *, mel_bins: int, sample_rate_hz: int = 16_000) -> Tensor:
    """Log mel energies [..., frames, mel_bins] of complete frames of 25 ms every 10 ms.

    What `torchaudio.compliance.kaldi.fbank` gives with `htk_compat`, a Hann window, no dither and
    no energy row: each frame loses its mean, is pre-emphasised, windowed, and padded to a power of
    two.

    Args:
        waveform: Samples [..., samples] in [-1, 1].
        mel_bins: Number of triangular bands between 20 Hz and half the rate.
        sample_rate_hz: Rate of the samples.
    """
    length, hop = sample_rate_hz * 25 // 1000, sample_rate_hz * 10 // 1000
    if waveform.shape[-1] < length:
        return waveform.new_zeros(*waveform.shape[:-1], 0, mel_bins)
    frames = waveform.unfold(-1, length, hop)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    window = torch.hann_window(length, periodic=False, device=waveform.device)
    frames = (frames - PREEMPHASIS * before) * window
    padded = 1 << (length - 1).bit_length()
    power = torch.fft.rfft(F.pad(frames, (0, padded - length))).abs().square()
    bands = _bands(mel_bins, padded, sample_rate_hz).to(power)
    energies: Tensor = power @ bands.T
    return energies.clamp_min(FLOOR).log()


@lru_cache(maxsize=8)
def _bands(mel_bins: int, padded: int, sample_rate_hz: int) -> Tensor:
    """Triangles, linear in mel [mel_bins, padded / 2 + 1]; the last Fourier bin weighs nothing."""
    lowest, highest = _mel(torch.tensor([LOWEST_HZ, sample_rate_hz / 2]))
    step = (highest - lowest) / (mel_bins + 1)
    left = lowest + step * torch.arange(mel_bins)[:, None]
    mel = _mel(torch.arange(padded // 2) * (sample_rate_hz / padded))
    rising, falling = (mel - left) / step, (left + 2 * step - mel) / step
    return F.pad(torch.minimum(rising, falling).clamp_min(0.0), (0, 1))


def _mel(frequencies_hz: Tensor) -> Tensor:
    return 1127.0 * torch.log1p(frequencies_hz / 700.0)
