"""What a sound has to be before anything is computed from it."""

from __future__ import annotations

import numpy as np

from omniflow.errors import DataError
from omniflow.interfaces.dataset import Audio

#: Shorter sounds are refused: nothing can be heard in them.
FEWEST_SAMPLES = 101

#: Louder samples are refused: whole numbers of 32 bits reach so far, and sums of them are finite.
LOUDEST = 2.0**31


def require_sound(audio: Audio, where: str | None = None) -> None:
    """Check the shape, length and values of a sound.

    Args:
        audio: The sound.
        where: Its file or record, for the message.

    Raises:
        DataError: If it is not [channels, samples], has 100 samples or fewer, has samples that are
            not finite or beyond 32 bits, or a rate below 1.
    """
    waveform = audio.waveform
    if waveform.ndim != 2 or not waveform.shape[0]:
        raise DataError(
            f"the waveform has the shape {list(waveform.shape)}",
            where=where,
            expected="[channels, samples]",
        )
    if audio.rate_hz < 1:
        raise DataError(f"the rate is {audio.rate_hz} Hz", where=where, expected="at least 1 Hz")
    if waveform.shape[1] < FEWEST_SAMPLES:
        raise DataError(
            f"the sound has {waveform.shape[1]} samples",
            where=where,
            expected=f"at least {FEWEST_SAMPLES}",
        )
    if not np.isfinite(waveform).all():
        raise DataError(
            "the sound has samples that are not finite", where=where, expected="numbers in [-1, 1]"
        )
    if np.abs(waveform).max() > LOUDEST:
        raise DataError(
            f"the sound has samples as large as {np.abs(waveform).max():.2g}",
            where=where,
            expected="numbers in [-1, 1]",
        )
