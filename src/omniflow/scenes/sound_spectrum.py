"""What a sound of a scene looks like to its reader: bands of pitch over time, and tones in them.

The bands are as coarse as those that audio models see, so that a sound that went through one (and
lost its phases, fine structure and loudness) still looks like the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from omniflow.interfaces.dataset import Audio
from omniflow.scenes.grammar import BACKGROUNDS, COLOURS, SHAPES, Thing
from omniflow.scenes.sound import DURATION_S, HUM_HZ, HUM_LOUDNESS, RATE_HZ, render_tone

#: All tones begin and end on a multiple of 10 ms.
HOP = 160
FRAMES = int(DURATION_S * RATE_HZ) // HOP + 1
BANDS = 64

#: Frames of a tone's picture before its onset and after its end: the window is 64 ms long.
LEAD = 4
#: What a tone can be, apart from its size and glide.
KINDS = tuple((shape, colour) for shape in SHAPES for colour in COLOURS)

_WINDOW = 1024


@dataclass(frozen=True)
class Slot:
    """Where a tone can be: its onset in frames, its size, and its glide (1 up, 0, -1 down)."""

    start: int
    size: str
    glide: float


def band_powers(audio: Audio) -> np.ndarray:
    """Power of each band of pitch [FRAMES, BANDS] in the first second of `audio`."""
    waveform = np.nan_to_num(np.asarray(audio.waveform, dtype=np.float64))
    waveform = np.atleast_2d(waveform).mean(axis=0)
    samples = int(DURATION_S * RATE_HZ)
    waveform = _resampled(waveform, audio.rate_hz)[:samples]
    return _powers(np.pad(waveform, (0, samples - len(waveform))))


@cache
def tone_powers(size: str, glide: float) -> np.ndarray:
    """Power of a tone of each of `KINDS` [kinds, frames, BANDS]; its onset is at frame `LEAD`."""
    pictures = []
    for shape, colour in KINDS:
        tone = render_tone(Thing(shape, colour, size), glide)
        pictures.append(_powers(np.pad(tone, LEAD * HOP)))
    return np.stack(pictures)


@cache
def hum_powers() -> np.ndarray:
    """Power of the hum of each background [backgrounds, FRAMES, BANDS]."""
    time_s = np.arange(int(DURATION_S * RATE_HZ)) / RATE_HZ
    hums = [np.sin(2 * np.pi * HUM_HZ[background] * time_s) for background in BACKGROUNDS]
    return np.stack([_powers(HUM_LOUDNESS * hum) for hum in hums])


def loudness(powers: np.ndarray) -> np.ndarray:
    """Powers on a scale where quiet partials count too: the square root of the magnitude."""
    return np.asarray(np.sqrt(np.sqrt(powers)))


def _powers(waveform: np.ndarray) -> np.ndarray:
    padded = np.pad(waveform, _WINDOW // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP]
    spectra = np.fft.rfft(frames * np.hanning(_WINDOW + 1)[:-1], axis=1)
    powers = (spectra.real**2 + spectra.imag**2) @ _filterbank().T
    return np.asarray(powers, dtype=np.float32)


@cache
def _filterbank() -> np.ndarray:
    """Triangular bands [BANDS, bins], evenly apart on the mel scale of Slaney's toolbox (1998)."""
    steps = np.linspace(0.0, 15.0 + 27.0 * np.log(8.0) / np.log(6.4), BANDS + 2)
    edges = np.where(steps < 15.0, steps * 200 / 3, 1000 * 6.4 ** ((steps - 15.0) / 27.0))
    bins = np.fft.rfftfreq(_WINDOW, 1 / RATE_HZ)
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def _resampled(waveform: np.ndarray, rate_hz: int) -> np.ndarray:
    """At 16 kHz, by leaving out or adding the highest frequencies."""
    if rate_hz == RATE_HZ or not len(waveform):
        return waveform
    samples = max(round(len(waveform) * RATE_HZ / rate_hz), 1)
    spectrum = np.fft.rfft(waveform)[: samples // 2 + 1]
    return np.asarray(np.fft.irfft(spectrum, samples) * samples / len(waveform))
