"""Sounds from files or what stands in them, and to files."""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path
from typing import Any

import numpy as np

from omniflow.errors import DataError, UsageError
from omniflow.files import replacing
from omniflow.interfaces.dataset import Audio
from omniflow.media.sound_checks import require_sound
from omniflow.media.source import require_content

#: Longest sound that is read: encoders hear all of it, so that it has to fit into memory.
LIMIT_S = 600.0

#: Samples of all channels together: 1 GiB as float32. Silence compresses without bound.
_MOST_SAMPLES = 1 << 28

_FULL_SCALE = 32_768

#: SFE_BAD_FILE of libsndfile.
_BAD_FILE = 7


def read_audio(path: str | Path, *, limit_s: float = LIMIT_S) -> Audio:
    """Read a sound (WAV, FLAC, Ogg, MP3 and what else libsndfile knows), all of it.

    Args:
        path: The file.
        limit_s: Longest sound that is accepted, in seconds; longer ones are refused unread, because
            which part of them was meant is not for a reader to guess.

    Raises:
        DataError: If the file is missing, no sound, damaged, too long, too short to be heard, or
            has samples that are not finite.
        UsageError: If the package soundfile is not installed.
    """
    return _read(_soundfile(), require_content(path), str(path), limit_s)


def decode_audio(content: bytes, *, where: str | None = None, limit_s: float = LIMIT_S) -> Audio:
    """The sound that stands in the bytes of a file, as `read_audio` reads it.

    Args:
        content: All of the file.
        where: Its record, for messages.
        limit_s: Longest sound that is accepted, in seconds.

    Raises:
        DataError: As `read_audio`.
        UsageError: If the package soundfile is not installed.
    """
    if not content:
        raise DataError("the file is empty", where=where)
    return _read(_soundfile(), io.BytesIO(content), where, limit_s)


def write_wav(path: str | Path, audio: Audio) -> None:
    """Write a sound as 16-bit WAV, atomically; what is louder than [-1, 1] is clipped.

    Raises:
        DataError: If the sound cannot be used (see `require_sound`).
        UsageError: If the target cannot be written to.
        OmniFlowError: If writing fails (a full disk).
    """
    content = wav_bytes(audio, where=str(path))
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def wav_bytes(audio: Audio, *, where: str | None = None) -> bytes:
    """The contents of a 16-bit WAV file; what is louder than [-1, 1] is clipped.

    Raises:
        DataError: If the sound cannot be used (see `require_sound`); `where` says which.
    """
    require_sound(audio, where=where)
    scaled = (audio.waveform.T * float(_FULL_SCALE)).round()
    samples = scaled.clip(-_FULL_SCALE, _FULL_SCALE - 1).astype("<i2")
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(audio.rate_hz)
        file.writeframes(samples.tobytes())
    return content.getvalue()


def _read(soundfile: Any, file: Path | io.BytesIO, where: str | None, limit_s: float) -> Audio:
    try:
        with soundfile.SoundFile(file) as sound:
            _require_room(sound, where, limit_s)
            samples = sound.read(dtype="float32", always_2d=True)
            rate_hz = sound.samplerate
    except soundfile.LibsndfileError as error:
        raise DataError(
            f"cannot be read as a sound ({_reason(error)})",
            where=where,
            expected="a whole WAV, FLAC, Ogg or MP3 file",
        ) from error
    audio = Audio(np.ascontiguousarray(samples.T), rate_hz)
    require_sound(audio, where=where)
    return audio


def _reason(error: Any) -> str:
    """What libsndfile says; that of an MP3 without a frame is that there is no such file."""
    if error.code == _BAD_FILE:
        return "its decoder finds nothing in it"
    return str(error.error_string).strip().rstrip(".")


def _require_room(sound: Any, where: str | None, limit_s: float) -> None:
    duration_s = sound.frames / sound.samplerate
    if duration_s > limit_s:
        raise DataError(
            f"the sound lasts {math.ceil(duration_s)} s",
            where=where,
            expected=f"at most {limit_s:g} s: cut out the part that is meant",
        )
    if sound.frames * sound.channels > _MOST_SAMPLES:
        raise DataError(
            f"the sound has {sound.frames} samples in each of {sound.channels} channels",
            where=where,
            expected=f"at most {_MOST_SAMPLES} in all",
        )


def _soundfile() -> Any:
    try:
        import soundfile
    except ModuleNotFoundError as error:
        raise UsageError(
            "reading sounds needs the package soundfile, which is not installed",
            notes=['install it with: pip install "omniflow-zoo[audio]"'],
        ) from error
    except OSError as error:
        raise UsageError(
            "the package soundfile does not find its library libsndfile",
            notes=[f"it says: {error}", "a wheel of soundfile brings it along; so do systems"],
        ) from error
    return soundfile
