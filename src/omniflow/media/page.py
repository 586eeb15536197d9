"""HTML pages of samples: everything inside the file, and no request to anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from omniflow.errors import DataError
from omniflow.interfaces.dataset import Audio, Sample
from omniflow.media.audio import wav_bytes
from omniflow.media.resample import resample

if TYPE_CHECKING:
    from PIL.Image import Image

# The policy keeps a browser from asking the network for anything, whatever a text contains.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
media-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ font: 16px/1.4 sans-serif; margin: 1rem }}
section > div {{ display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start }}
figure {{ margin: 0; padding: .5rem; border: 1px solid #ccc; max-width: 34rem }}
figure.given {{ background: #f2f2f2 }}
figure.bad {{ background: #fdecea; border-color: #c62828 }}
figcaption {{ color: #555; font-size: .8rem; overflow-wrap: anywhere }}
img {{ display: block; max-width: 100%; min-width: 8rem; image-rendering: pixelated }}
audio {{ display: block }}
p {{ margin: .3rem 0; white-space: pre-wrap; overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>{title}</h1>
{sections}
</body>
</html>
"""

#: Whether a figure was given to a model, or shows a record that cannot be read.
Kind = Literal["given", "bad"]


@dataclass(frozen=True)
class Reduction:
    """What becomes of media on a page, so that it stays small; nothing where a value is None.

    Args:
        longest_side: Longest side of a picture, in pixels.
        most_png_bytes: Pictures that take more as PNG are JPEG.
        longest_s: Seconds of a sound that are kept, from its beginning.
        highest_hz: Highest rate of a sound; one that is reduced has one channel.
    """

    longest_side: int | None = None
    most_png_bytes: int | None = None
    longest_s: float | None = None
    highest_hz: int | None = None


WHOLE = Reduction()


def page(title: str, sections: Iterable[str]) -> str:
    """A page of sections."""
    return _PAGE.format(title=escape(title), sections="\n".join(sections))


def section(title: str, figures: Iterable[str], lines: Sequence[str] = ()) -> str:
    """Figures below a heading.

    Args:
        title: The heading.
        figures: What `figure` has made.
        lines: What is said between both.
    """
    told = "".join(f"<p>{escape(line)}</p>\n" for line in lines)
    joined = "\n".join(figures)
    return f"<section>\n<h2>{escape(title)}</h2>\n{told}<div>\n{joined}\n</div>\n</section>"


def figure(
    sample: Sample | None,
    lines: Sequence[str],
    *,
    kind: Kind | None = None,
    reduction: Reduction = WHOLE,
) -> str:
    """A sample with its picture, player and text, and lines below it; texts are escaped.

    Args:
        sample: The sample; None where there are only lines.
        lines: What stands below.
        kind: What it is, if anything special.
        reduction: What becomes of its media.

    Raises:
        DataError: If the sample has a picture or sound that cannot be shown.
    """
    of_kind = f' class="{kind}"' if kind else ""
    media = "" if sample is None else "".join(_media(sample, reduction))
    caption = f"<figcaption>{'<br>'.join(escape(line) for line in lines)}</figcaption>"
    return f"<figure{of_kind}>{media}{caption}</figure>"


def _media(sample: Sample, reduction: Reduction) -> Iterator[str]:
    if sample.image is not None:
        yield f'<img alt="" src="{picture_uri(sample.image, reduction)}">'
    if sample.audio is not None:
        yield f'<audio controls src="{sound_uri(sample.audio, reduction)}"></audio>'
    if sample.text is not None:
        yield f"<p>{escape(sample.text)}</p>"


def picture_uri(image: Image, reduction: Reduction) -> str:
    """A picture as a data URI.

    Raises:
        DataError: If it has no pixels.
    """
    side = reduction.longest_side
    if not all(image.size):
        raise DataError("the picture has no pixels")
    if side is not None and max(image.size) > side:
        image = image.copy()
        image.thumbnail((side, side))
    content = _encoded(image, "PNG")
    most = reduction.most_png_bytes
    if most is not None and len(content) > most:
        return _data_uri("image/jpeg", _encoded(image, "JPEG"))
    return _data_uri("image/png", content)


def _encoded(image: Image, kind: str) -> bytes:
    content = io.BytesIO()
    image.convert("RGB").save(content, format=kind)
    return content.getvalue()


def sound_uri(audio: Audio, reduction: Reduction) -> str:
    """A sound as a data URI.

    Raises:
        DataError: If it cannot be heard.
    """
    wave, rate = audio.waveform, audio.rate_hz
    if reduction.longest_s is not None and wave.ndim == 2:
        wave = wave[:, : max(1, round(reduction.longest_s * rate))]
    highest = reduction.highest_hz
    if highest is not None and rate > highest and wave.ndim == 2 and len(wave):
        wave, rate = resample(wave.mean(0, keepdims=True), rate, highest), highest
    return _data_uri("audio/wav", wav_bytes(Audio(wave, rate)))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
