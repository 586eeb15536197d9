"""Which shape and size covers a part of a picture best: every one is laid over every place.

A template is a thing as `draw_picture` draws it, and the misfit is a sum of squared differences
over all pixels: the correlation theorem gives it for all places at once, and the best few are
then tried in quarters of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from omniflow.scenes.grammar import COLOURS, SHAPES, SIZES, Thing
from omniflow.scenes.picture import outline

#: Pictures are read at this size, in which one pixel is one unit of `draw_picture`.
SIDE = 64

_QUARTERS = 4
_SCALE = 4 * _QUARTERS
_REACH = 16
_TRIED = 4
_FINE = range(-3, 4)


@dataclass(frozen=True)
class Fit:
    """A shape laid over a picture.

    Args:
        shape: Its name.
        size: Its size.
        centre: x and y of its centre, in quarters of a pixel.
        misfit: Sum of squared differences of coverage that are left, in pixels.
    """

    shape: str
    size: str
    centre: tuple[int, int]
    misfit: float

    @property
    def coverage(self) -> np.ndarray:
        """The share of each pixel that it covers [64, 64]."""
        return _laid(self.shape, self.size, *self.centre)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom, in pixels."""
        across, down = zip(*outline(Thing(self.shape, COLOURS[0], self.size)), strict=True)
        x, y = self.centre[0] / _QUARTERS, self.centre[1] / _QUARTERS
        return x + min(across), y + min(down), x + max(across), y + max(down)


def fit_shape(coverage: np.ndarray, weight: np.ndarray) -> Fit:
    """The shape, size and place that fit `coverage` [64, 64] best where `weight` [64, 64] is 1.

    What is hidden behind other things has weight 0.
    """
    rough = _rough_misfits(coverage, weight)
    kinds = [(shape, size) for shape in SHAPES for size in SIZES]
    places = rough.reshape(len(kinds), -1).argmin(axis=1)
    order = np.argsort(rough.reshape(len(kinds), -1).min(axis=1))
    fits = []
    for index in order[:_TRIED]:
        y, x = divmod(int(places[index]), SIDE)
        fits.append(_fine_fit(coverage, weight, *kinds[int(index)], x * _QUARTERS, y * _QUARTERS))
    return min(fits, key=lambda fit: fit.misfit)


def _rough_misfits(coverage: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Misfit of all kinds of things at all whole centres [18, 64, 64]."""
    plain, squared = _template_spectra()
    seen = np.fft.rfft2(weight * coverage)
    misfits = np.fft.irfft2(np.fft.rfft2(weight) * squared - 2 * seen * plain, s=(SIDE, SIDE))
    misfits += float((weight * coverage**2).sum())
    return np.where(_centres_allowed(), misfits, np.inf)


@cache
def _template_spectra() -> tuple[np.ndarray, np.ndarray]:
    templates = np.stack([_laid(shape, size, 0, 0) for shape in SHAPES for size in SIZES])
    return np.fft.rfft2(templates).conj(), np.fft.rfft2(templates**2).conj()


@cache
def _centres_allowed() -> np.ndarray:
    """Where a thing lies inside the picture [18, 64, 64]."""
    steps = np.arange(SIDE)
    allowed = []
    for _ in SHAPES:
        for size in SIZES:
            radius = Thing(SHAPES[0], COLOURS[0], size).radius
            inside = (steps >= radius - 2) & (steps <= SIDE - radius + 2)
            allowed.append(inside[:, None] & inside[None, :])
    return np.stack(allowed)


def _fine_fit(
    coverage: np.ndarray, weight: np.ndarray, shape: str, size: str, x: int, y: int
) -> Fit:
    centres = [(x + dx, y + dy) for dy in _FINE for dx in _FINE]
    laid = np.stack([_laid(shape, size, *centre) for centre in centres])
    misfits = (weight * (coverage - laid) ** 2).sum(axis=(1, 2))
    best = int(misfits.argmin())
    return Fit(shape, size, centres[best], float(misfits[best]))


def _laid(shape: str, size: str, x: int, y: int) -> np.ndarray:
    """A thing around (x, y), in quarters of a pixel; what leaves the picture comes in again."""
    whole_x, part_x = divmod(x, _QUARTERS)
    whole_y, part_y = divmod(y, _QUARTERS)
    patch = _patch(shape, size, part_x, part_y)
    picture = np.zeros((SIDE, SIDE))
    rows = np.arange(whole_y - _REACH, whole_y + _REACH) % SIDE
    columns = np.arange(whole_x - _REACH, whole_x + _REACH) % SIDE
    picture[np.ix_(rows, columns)] = patch
    return picture


@cache
def _patch(shape: str, size: str, part_x: int, part_y: int) -> np.ndarray:
    """A thing around the middle of 32 x 32 pixels, moved on by quarters of a pixel."""
    side = 2 * _REACH * _SCALE
    mask = Image.new("L", (side, side))
    corners = [
        (
            side / 2 + _SCALE * dx + part_x * _SCALE / _QUARTERS,
            side / 2 + _SCALE * dy + part_y * _SCALE / _QUARTERS,
        )
        for dx, dy in outline(Thing(shape, COLOURS[0], size))
    ]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return np.asarray(mask.reduce(_SCALE), dtype=np.float64) / 255
