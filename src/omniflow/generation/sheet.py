"""A page of samples that a model has made: one HTML file with its pictures and sounds inside it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.files import write_text
from omniflow.interfaces import Sample
from omniflow.media.page import Reduction, figure, page, section

if TYPE_CHECKING:
    from omniflow.sampling.generate import Generated

#: Longest side of a given picture on the page; made ones keep their size.
GIVEN_SIDE = 512


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
    return page(title, (_section(each) for each in sections))


def _section(content: Section) -> str:
    made = _made_samples(content.made)
    given = list(content.given)
    figures = []
    if given and len(given) != len(made):
        figures += [_given(sample) for sample in given]
        given = []
    for index, sample in enumerate(made):
        if given:
            figures.append(_given(given[index]))
        label = content.labels[index] if content.labels else str(index + 1)
        figures.append(figure(sample, [label]))
    return section(content.title, figures)


def _given(sample: Sample) -> str:
    reduction = Reduction(longest_side=GIVEN_SIDE)
    return figure(sample, ["given"], kind="given", reduction=reduction)


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
