"""Dataset `subtitles`: what is said in films, with the sound that it is said in."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from pathlib import Path

from omniflow.errors import DataError, RecordError
from omniflow.interfaces import Audio, Dataset, Sample
from omniflow_subtitles.cues import Cue, read_cues

SUBTITLES = (".srt", ".vtt")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3")


class SubtitlesDataset(Dataset):
    """Lines of the subtitle files of a folder, in the order of files and cues.

    A line has a sound if a sound file of the same name lies beside its file. Of ten different
    lines one is for validation and one for testing; equal lines are in the same split.

    Args:
        split: One of `splits`.
        path: The folder; those below it are looked through as well.
        audio: Whether lines have sounds.

    Raises:
        DataError: If there is no such folder, split, or line.
    """

    def __init__(self, *, path: str, split: str = "train", audio: bool = True) -> None:
        folder = Path(path)
        if split not in self.splits:
            raise DataError(
                f"there is no split {split!r}", expected=f"one of {', '.join(self.splits)}"
            )
        if not folder.is_dir():
            raise DataError("there is no such folder", where=str(path))
        files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUBTITLES)
        cues = [cue for file in files for cue in read_cues(file)]
        self._cues = [cue for cue in cues if _split_of(cue.text) == split]
        if not self._cues:
            raise DataError(
                f"{len(files)} files have {len(cues)} lines, and none is for {split}",
                where=str(path),
                expected=f"files that end in {' or '.join(SUBTITLES)}, with more lines",
            )
        self._folder = folder
        self._has_audio = audio

    def __len__(self) -> int:
        """Number of lines in this split."""
        return len(self._cues)

    def __getitem__(self, index: int) -> Sample:
        """The line at `index`, in [0, len(self)).

        Raises:
            RecordError: If its sound cannot be read.
        """
        cue = self._cues[index]
        name = f"{cue.file.relative_to(self._folder).as_posix()}:{cue.number}"
        sound = _sound_beside(cue.file) if self._has_audio else None
        return Sample(
            id=name,
            text=cue.text,
            audio=None if sound is None else _cut(sound, cue, name),
            references=(cue.text,),
        )

    def length_of(self, record: int) -> int:
        """Characters of a line."""
        return len(self._cues[record].text)

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Read no sounds that nobody listens to."""
        self._has_audio = self._has_audio and "audio" in modalities


def _split_of(text: str) -> str:
    place = zlib.crc32(" ".join(text.lower().split()).encode()) % 10
    return {0: "validation", 1: "test"}.get(place, "train")


def _sound_beside(file: Path) -> Path | None:
    beside = (file.with_suffix(suffix) for suffix in SOUNDS)
    return next((sound for sound in beside if sound.is_file()), None)


def _cut(file: Path, cue: Cue, record: str) -> Audio:
    """The piece of a sound file that a cue is spoken in."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as sound:
            rate_hz = int(sound.samplerate)
            start = min(round(cue.start_s * rate_hz), len(sound))
            sound.seek(start)
            frames = sound.read(
                round((cue.end_s - cue.start_s) * rate_hz), dtype="float32", always_2d=True
            )
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordError(record, f"{file.name} cannot be read ({error})") from error
    if not len(frames):
        raise RecordError(record, f"{file.name} ends before {cue.start_s:.1f} s")
    return Audio(waveform=frames.T.clip(-1, 1).copy(), rate_hz=rate_hz)
