"""A sound as the picture of three channels that LanguageBind's audio tower looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from omniflow.media.resample import resample
from omniflow.media.sound_checks import require_sound
from omniflow.models.kaldi_fbank import kaldi_fbank

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Audio

#: The only rate that the filter bank is made for.
RATE_HZ = 16_000
_FRAME_LENGTH = 400
_FRAME_SHIFT = 160


@dataclass(frozen=True)
class PixelConfig:
    """Size and scale of the picture.

    Args:
        mel_bins: Its height.
        frames: Its width.
        mean: Subtracted from every value.
        std: Divides every value.
    """

    mel_bins: int
    frames: int
    mean: float
    std: float


def sound_pixels(audio: Audio, config: PixelConfig) -> Tensor:
    """The picture of a sound [3, mel_bins, frames], float32.

    A short sound is repeated as often as it fits whole and fills all three channels; a long one
    gives a window from its beginning, its middle and its end. This is what OmniFlow was trained
    with; LanguageBind's own processor has changed since.

    Args:
        audio: A sound of any rate, channel count and length; its first channel is heard, all of it.
        config: Size and scale of the picture.

    Raises:
        DataError: If the sound cannot be used (see `require_sound`).
    """
    require_sound(audio)
    heard = audio.waveform[:1].astype(np.float32, copy=False)
    waveform = torch.from_numpy(resample(heard, audio.rate_hz, RATE_HZ)[0])
    length = config.frames * _FRAME_SHIFT
    if len(waveform) < length:
        repeated = waveform.repeat(length // len(waveform))
        waveform = torch.nn.functional.pad(repeated, (0, length - len(repeated)))
    waveform = waveform - waveform.mean()
    frames = 1 + (len(waveform) - _FRAME_LENGTH) // _FRAME_SHIFT
    spare = frames - config.frames
    # Just above the length a sound is still a little too short for one window.
    starts = [0] if spare < 0 else _window_starts(spare)
    windows = [_window(waveform, start, config) for start in starts]
    pixels = torch.stack(windows * (3 // len(windows))).transpose(1, 2)
    return (pixels - config.mean) / config.std


def _window_starts(spare: int) -> list[int]:
    """The first start of each third of all possible ones, 0 for a third without any."""
    thirds = np.array_split(np.arange(spare + 1), 3)
    return [int(third[0]) if len(third) else 0 for third in thirds]


def _window(waveform: Tensor, start: int, config: PixelConfig) -> Tensor:
    """Frames `start` and those after it [frames, mel_bins]; zeros where the sound has ended."""
    first = start * _FRAME_SHIFT
    last = first + (config.frames - 1) * _FRAME_SHIFT + _FRAME_LENGTH
    found = kaldi_fbank(waveform[first:last], mel_bins=config.mel_bins)
    return torch.nn.functional.pad(found, (0, 0, 0, config.frames - len(found)))
