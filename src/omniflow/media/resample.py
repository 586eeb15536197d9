"""Resampling by a windowed sinc: what torchaudio's `functional.resample` computes by default."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

#: Zero crossings of the sinc on either side, under a Hann window.
_ZERO_CROSSINGS = 6
#: Share of the lower rate's band that passes.
_ROLLOFF = 0.99
#: Output samples at a time: bounds the memory, whatever the length of the sound.
_CHUNK = 1 << 17


def resample(waveform: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """Bring a sound to another rate.

    Output sample m stands at input time m * from_hz / to_hz and is the sum of the inputs around it,
    weighted by a low-pass filter; the sound is silent outside its ends. The published models were
    trained on sounds that were resampled so.

    Args:
        waveform: Samples [channels, samples], float32.
        from_hz: Their rate.
        to_hz: The rate that is wanted.

    Returns:
        Samples [channels, ceil(samples * to_hz / from_hz)], float32; `waveform` itself when the
        rates are equal.
    """
    if from_hz == to_hz:
        return waveform
    divisor = math.gcd(from_hz, to_hz)
    step, phases = from_hz // divisor, to_hz // divisor
    filters = _filters(step, phases)
    reach = filters.shape[1] // 2
    padded = np.pad(waveform, ((0, 0), (reach, reach)))
    length = -(-waveform.shape[1] * phases // step)
    result = np.empty((waveform.shape[0], length), dtype=np.float32)
    for start in range(0, length, _CHUNK):
        numbers = np.arange(start, min(start + _CHUNK, length))
        first = (numbers * step) // phases
        neighbours = padded[:, first[:, None] + np.arange(2 * reach)]
        weights = filters[(numbers * step) % phases]
        result[:, start : start + len(numbers)] = np.einsum("cnt,nt->cn", neighbours, weights)
    return result


@lru_cache(maxsize=8)
def _filters(step: int, phases: int) -> np.ndarray:
    """Weights of the inputs around an output, for each position between two inputs [phases, taps].

    Tap `taps / 2` is the input at or just before the output.
    """
    band = min(step, phases) * _ROLLOFF / step
    reach = math.ceil(_ZERO_CROSSINGS / band) + 1
    taps = np.arange(-reach, reach)
    offsets = taps[None] - np.arange(phases)[:, None] / phases
    crossings = np.clip(offsets * band, -_ZERO_CROSSINGS, _ZERO_CROSSINGS)
    window = np.cos(crossings * np.pi / _ZERO_CROSSINGS / 2) ** 2
    filters: np.ndarray = (np.sinc(crossings) * window * band).astype(np.float32)
    return filters
