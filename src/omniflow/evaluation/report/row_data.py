"""Chosen rows as JSON inside a page, with their pictures and sounds, up to a size."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniflow.errors import DataError, UsageError
from omniflow.evaluation.report.rows import ChosenRows, Row
from omniflow.interfaces.metric import Prediction
from omniflow.media.page import Reduction, picture_uri, sound_uri

#: Characters of a text that are shown.
LONGEST_TEXT = 2000

#: Characters that all media of a page take at most.
MOST_MEDIA = 16_000_000

REDUCTION = Reduction(longest_side=256, most_png_bytes=64_000, longest_s=10, highest_hz=16_000)


class MediaBudget:
    """Pictures and sounds of a page, as long as there is room for them.

    Attributes:
        left_out: How many had no room.
    """

    def __init__(self, most: int = MOST_MEDIA) -> None:
        self._room = most
        self.left_out = 0

    def of(self, image: str | Path | None, audio: str | Path | None) -> dict[str, str]:
        """Data URIs by `image` and `audio`; one that cannot be shown is told under `broken`."""
        found: dict[str, str] = {}
        for name, path, read in (("image", image, _picture), ("audio", audio, _sound)):
            if path is None:
                continue
            if self._room <= 0:
                self.left_out += 1
                continue
            try:
                uri = read(path)
            except (DataError, UsageError) as error:
                found["broken"] = f"{Path(path).name}: {error.problem}"
                continue
            self._room -= len(uri)
            found[name] = uri
        return found


def _picture(path: str | Path) -> str:
    from omniflow.media.image import read_image

    return picture_uri(read_image(path), REDUCTION)


def _sound(path: str | Path) -> str:
    from omniflow.media.audio import read_audio

    return sound_uri(read_audio(path), REDUCTION)


def rows_json(chosen: ChosenRows, budget: MediaBudget, *, higher_is_better: bool) -> str:
    """The rows for the page's script, safe between the tags of a script element.

    Args:
        chosen: The rows.
        budget: Room for their pictures and sounds.
        higher_is_better: Whether high figures are the good ones.
    """
    content = {
        "names": list(chosen.names),
        "series": list(chosen.positions),
        "metric": chosen.metric,
        "higher": higher_is_better,
        "rows": [_row(row, budget) for row in chosen.rows],
    }
    return script_json(content)


def script_json(content: Any) -> str:
    """JSON that no browser takes for the end of a script element, whatever its texts hold."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter, escaped in (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026")):
        text = text.replace(letter, escaped)
    # A lone surrogate has no UTF-8 bytes.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _row(row: Row, budget: MediaBudget) -> Mapping[str, Any]:
    return {
        "id": _cut(row.id),
        "refs": [_cut(reference) for reference in row.references],
        "kinds": list(row.kinds),
        "scores": [None if score is None else round(score, 4) for score in row.scores],
        "made": [None if one is None else _made(one, budget) for one in row.predictions],
    }


def _made(one: Prediction, budget: MediaBudget) -> dict[str, str]:
    return {"text": _cut(one.prediction), **budget.of(one.image, one.audio)}


def _cut(text: str) -> str:
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[:LONGEST_TEXT]} [{len(text) - LONGEST_TEXT:,} more letters]"
