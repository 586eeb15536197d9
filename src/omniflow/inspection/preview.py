"""Some samples of a recipe's datasets as a page to look at and listen to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from omniflow.assembly import construct_component
from omniflow.errors import ConfigError, DataError
from omniflow.inspection.reading import (
    MODALITIES,
    Failure,
    brought_by,
    open_split,
    read_some,
    size_of,
    tasks_for,
    tasks_served,
)
from omniflow.media.page import Reduction, figure, page, section
from omniflow.media.sound_checks import require_sound
from omniflow.mixing import labels_of

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset, Objective, Sample
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry
    from omniflow.tasks import Task

#: Seconds of a sound on the page.
LONGEST_S = 10.0

_REDUCTION = Reduction(
    longest_side=320, most_png_bytes=32_768, longest_s=LONGEST_S, highest_hz=16_000
)


@dataclass(frozen=True)
class Preview:
    """A page of samples.

    Args:
        html: The page.
        shown: Records on it.
        failed: How many of these cannot be read.
    """

    html: str
    shown: int
    failed: int


def preview(
    recipe: Recipe, registry: Registry, *, split: str = "train", limit: int = 24
) -> Preview:
    """A page of samples of a split, a section a dataset; what cannot be read is shown as such.

    All that a dataset brings is shown, whether the recipe's objective reads it or not. Samples are
    spread evenly over the split; of a stream they are the first ones.

    Args:
        recipe: The resolved recipe.
        registry: Where its names are looked up.
        split: The split.
        limit: Samples in all; every dataset gets an equal share of them, and one at least.

    Raises:
        ConfigError: If `limit` is below 1.
        UsageError: If a dataset cannot be opened, or has no such split.
    """
    if limit < 1:
        raise ConfigError("limit", limit, expected="a whole number >= 1")
    if not recipe.dataset:
        raise DataError("the recipe names no dataset", expected="at least one")
    objective: Objective = construct_component(registry, "objective", recipe.objective)
    share = -(-limit // len(recipe.dataset))
    sections: list[str] = []
    results: list[bool] = []
    for name, choice in zip(labels_of(recipe.dataset), recipe.dataset, strict=True):
        dataset = open_split(choice, split, registry, MODALITIES)
        figures = list(_figures(dataset, share, tasks_for(objective, choice, name), results))
        sections.append(section(f"{name}, {split}", figures, _told(dataset, len(figures))))
    return Preview(page("Data preview", sections), len(results), results.count(False))


def _figures(
    dataset: Dataset, count: int, tasks: Sequence[Task], results: list[bool]
) -> Iterator[str]:
    """Figures, one sample decoded at a time; whether each could be read goes to `results`."""
    for position, found in read_some(dataset, count):
        drawn = found if isinstance(found, Failure) else _drawn(position, found, tasks)
        results.append(isinstance(drawn, str))
        yield drawn if isinstance(drawn, str) else _bad(drawn)


def _drawn(position: int, sample: Sample, tasks: Sequence[Task]) -> str | Failure:
    """A sample as a figure, or what is wrong with it."""
    try:
        if sample.audio is not None:
            require_sound(sample.audio)
        return figure(sample, list(_lines(sample, tasks)), reduction=_REDUCTION)
    # What a stranger's dataset hands out as a picture or sound may be none.
    except Exception as error:  # noqa: BLE001
        return Failure(position, sample.id, f"{type(error).__name__}: {error}", is_skippable=False)


def _bad(failure: Failure) -> str:
    lines = [failure.id or f"record {failure.position}", f"cannot be read: {failure.reason}"]
    return figure(None, lines, kind="bad")


def _lines(sample: Sample, tasks: Sequence[Task]) -> Iterator[str]:
    yield sample.id
    if sample.image is not None:
        width, height = sample.image.size
        yield f"image: {width} x {height}"
    if sample.audio is not None:
        channels, length = sample.audio.waveform.shape
        seconds, rate = length / sample.audio.rate_hz, sample.audio.rate_hz
        cut = f", the first {LONGEST_S:g} s here" if seconds > LONGEST_S else ""
        yield f"audio: {seconds:.1f} s{cut}, {rate:,} Hz, {channels} channel{'s' * (channels > 1)}"
    others = [text for text in sample.references if text != sample.text]
    yield from (f"also: {text}" for text in others)
    served = tasks_served(tasks, brought_by(sample))
    if served:
        yield f"serves {', '.join(map(str, served))}"
    elif tasks:
        yield "serves no task of the recipe"


def _told(dataset: Dataset, shown: int) -> Sequence[str]:
    size = size_of(dataset)
    of_all = "the first of a stream" if size is None else f"of {size:,}"
    columns = [
        f"{column} ({role})" for column, role in dataset.column_roles().items() if role is not None
    ]
    lines = [f"{shown} records, {of_all}"]
    return [*lines, f"columns: {', '.join(columns)}"] if columns else lines
