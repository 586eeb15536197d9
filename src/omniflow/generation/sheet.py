"""A page of samples: one HTML file with its pictures and sounds inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.files import write_text
from omniflow.interfaces import Audio, Sample
from omniflow.media.audio import wav_bytes

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.sampling.generate import Generated

#: Longest side of a given picture on the page; made ones keep their size.
GIVEN_SIDE = 512

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
figcaption {{ color: #555; font-size: .8rem }}
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


@dataclass(frozen=True)
class Section:
    """Samples of one task.

    Args:
        title: What stands above them.
        given: What was given: one record for all samples, one a sample, or none.
        made: What was made of it.
        labels: What stands below each sample, such as its seed; its number when empty.
    """

    title: str
    given: Sequence[Sample]
    made: Generated
    labels: Sequence[str] = ()


def write_sheet(path: str | Path, title: str, sections: Iterable[Section]) -> None:
    """Write a page of samples, whole or not at all.

    Raises:
        UsageError: If the target cannot be written to.
        OmniFlowError: If writing fails (a full disk).
    """
    write_text(path, sheet(title, sections))


def sheet(title: str, sections: Iterable[Section]) -> str:
    """A page of samples as HTML: texts escaped, media as data URIs, no request to anywhere."""
    return _PAGE.format(
        title=escape(title), sections="\n".join(_section(section) for section in sections)
    )


def _section(section: Section) -> str:
    made = _made_samples(section.made)
    given = list(section.given)
    figures = []
    if given and len(given) != len(made):
        figures += [_figure(sample, "given", is_given=True) for sample in given]
        given = []
    for index, sample in enumerate(made):
        if given:
            figures.append(_figure(given[index], "given", is_given=True))
        label = section.labels[index] if section.labels else str(index + 1)
        figures.append(_figure(sample, label, is_given=False))
    joined = "\n".join(figures)
    return f"<section>\n<h2>{escape(section.title)}</h2>\n<div>\n{joined}\n</div>\n</section>"


def _made_samples(made: Generated) -> list[Sample]:
    count = max(len(made.texts), len(made.images), len(made.sounds))
    return [
        Sample(
            id=str(index),
            text=made.texts[index] if made.texts else None,
            image=made.images[index] if made.images else None,
            audio=made.sounds[index] if made.sounds else None,
        )
        for index in range(count)
    ]


def _figure(sample: Sample, label: str, *, is_given: bool) -> str:
    kind = ' class="given"' if is_given else ""
    caption = f"<figcaption>{escape(label)}</figcaption>"
    return f"<figure{kind}>{''.join(_media(sample, is_given=is_given))}{caption}</figure>"


def _media(sample: Sample, *, is_given: bool) -> Iterator[str]:
    if sample.image is not None:
        side = GIVEN_SIDE if is_given else None
        yield f'<img alt="" src="{_picture_uri(sample.image, side)}">'
    if sample.audio is not None:
        yield f'<audio controls src="{_sound_uri(sample.audio)}"></audio>'
    if sample.text is not None:
        yield f"<p>{escape(sample.text)}</p>"


def _picture_uri(image: Image, longest_side: int | None) -> str:
    if longest_side is not None and max(image.size) > longest_side:
        image = image.copy()
        image.thumbnail((longest_side, longest_side))
    content = io.BytesIO()
    image.convert("RGB").save(content, format="PNG")
    return _data_uri("image/png", content.getvalue())


def _sound_uri(audio: Audio) -> str:
    return _data_uri("audio/wav", wav_bytes(audio))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
