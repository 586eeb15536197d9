"""Cues of subtitle files: what is said, from when to when."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from omniflow.errors import DataError

_TIME = r"(?:(\d+):)?(\d\d):(\d\d)[,.](\d{3})"
_SPAN = re.compile(rf"{_TIME}\s+-->\s+{_TIME}")
#: `<i>`, `<c.yellow>`, `{\an8}`: how it is shown, not what is said.
_MARKUP = re.compile(r"<[^>]*>|\{[^}]*\}")


@dataclass(frozen=True)
class Cue:
    """One line of subtitles.

    Args:
        file: The file that it is in.
        number: Its place there, from 1.
        start_s: When it begins, in seconds.
        end_s: When it ends.
        text: What is said, in one line without markup.
    """

    file: Path
    number: int
    start_s: float
    end_s: float
    text: str


def read_cues(file: Path) -> list[Cue]:
    """The cues of a `.srt` or `.vtt` file; those that say nothing are left out.

    Raises:
        DataError: If it is not UTF-8.
    """
    try:
        content = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"it is not UTF-8 ({error.reason})", where=str(file), expected="subtitles in UTF-8"
        ) from error
    cues: list[Cue] = []
    for block in re.split(r"\n\s*\n", content.replace("\r\n", "\n")):
        span = _SPAN.search(block)
        if not span:
            continue
        text = " ".join(_MARKUP.sub("", block[span.end() :].partition("\n")[2]).split())
        start_s, end_s = _seconds(span.groups()[:4]), _seconds(span.groups()[4:])
        if text and end_s > start_s:
            cues.append(Cue(file, len(cues) + 1, start_s, end_s, text))
    return cues


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, thousandths = (int(part or 0) for part in parts)
    return 3600 * hours + 60 * minutes + seconds + thousandths / 1000
