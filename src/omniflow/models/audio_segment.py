"""A sound as one segment of fixed length and loudness, as the log-mel front end reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from omniflow.errors import ConfigError
from omniflow.media.resample import resample
from omniflow.media.sound_checks import require_sound

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Audio
    from omniflow.models.log_mel import LogMelConfig

#: Loudest sample of a segment; how loud the sound was is lost.
PEAK = 0.5


def audio_segment(audio: Audio, config: LogMelConfig, *, start: int = 0) -> Tensor:
    """One segment of the first channel of a sound [samples], float32.

    In this order: a window of the segment's duration is taken, brought to the configured rate, its
    mean removed, its peak set to 0.5, and zeros put behind it if it is short. Without `start` the
    window is the beginning of the sound, so that the same sound always gives the same segment.

    Args:
        audio: A sound of any rate, channel count and length.
        config: Rate and length of the segment.
        start: First sample of the window, at the sound's own rate.

    Raises:
        DataError: If the sound cannot be used (see `require_sound`).
        ConfigError: If the window does not lie within the sound.
    """
    require_sound(audio)
    last = _last_start(audio, config)
    if not 0 <= start <= last:
        raise ConfigError("start", start, expected=f"a sample in [0, {last}]")
    window = audio.waveform[:1, start : start + _window(audio, config)].astype(np.float32)
    samples = torch.from_numpy(resample(window, audio.rate_hz, config.sample_rate_hz)[0])
    samples = samples[: config.samples]
    samples = samples - samples.mean()
    samples = samples / (samples.abs().max() + 1e-8) * PEAK
    return torch.nn.functional.pad(samples, (0, config.samples - len(samples)))


def _window(audio: Audio, config: LogMelConfig) -> int:
    """Samples of a segment at the rate of the sound."""
    return config.samples * audio.rate_hz // config.sample_rate_hz


def _last_start(audio: Audio, config: LogMelConfig) -> int:
    samples: int = audio.waveform.shape[1]
    return max(0, samples - _window(audio, config))
