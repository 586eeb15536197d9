"""Which colours a picture of a scene has, and how much of each pixel each of them covers.

Edges are soft: a pixel between a red thing and a white ground looks pink. So a colour only counts
when some of its pixels cannot be a mixture of two other colours that are close by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from omniflow.scenes.picture import BACKGROUND_VALUES, COLOUR_VALUES

# Distances of colours are Euclidean, in RGB of 0..255; the closest two of the palette are 82 apart.
_PURE = 60.0
_MIXTURE = 22.0
_ANY_BACKGROUND = 90.0
_NEARBY = 2
_LEAST_PIXELS = 6


@dataclass(frozen=True)
class Colours:
    """What a picture is made of.

    Args:
        background: Its name; None when it is no background of a scene.
        coverage: Colour -> share of each pixel that it covers [height, width], in [0, 1].
    """

    background: str | None
    coverage: Mapping[str, np.ndarray]


def find_colours(pixels: np.ndarray) -> Colours:
    """Unmix a picture [height, width, 3] of values 0..255 into its colours."""
    edge = np.concatenate([pixels[:2], pixels[-2:], pixels[2:-2, :2].swapaxes(0, 1),
                           pixels[2:-2, -2:].swapaxes(0, 1)], axis=1)  # fmt: skip
    ground = np.median(edge.reshape(-1, 3), axis=0)
    palette = {"": ground} | {name: np.array(value) for name, value in COLOUR_VALUES.items()}
    pure = _pure_pixels(pixels, palette)
    present = _present(pixels, palette, pure)
    values = {name: _typical(pixels, pure[name], palette[name]) for name in present}
    near = {name: grown(mask, _NEARBY) for name, mask in _pure_pixels(pixels, values).items()}
    coverage = _unmix(pixels, values, near)
    return Colours(_background_name(ground), {name: coverage[name] for name in present if name})


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """`mask` [height, width] and everything up to so many pixels beside it."""
    return np.asarray(_windows(mask, pixels).any(axis=0))


def shrunk(mask: np.ndarray) -> np.ndarray:
    """The pixels of `mask` [height, width] whose eight neighbours belong to it."""
    return np.asarray(_windows(mask, 1).all(axis=0))


def _windows(mask: np.ndarray, reach: int) -> np.ndarray:
    """`mask` shifted to all places within `reach`: [shifts, height, width]."""
    height, width = mask.shape
    padded = np.pad(mask, reach)
    span = range(2 * reach + 1)
    return np.stack([padded[y : y + height, x : x + width] for y in span for x in span])


def _background_name(ground: np.ndarray) -> str | None:
    distances = {
        name: float(np.linalg.norm(ground - value)) for name, value in BACKGROUND_VALUES.items()
    }
    nearest = min(distances, key=lambda name: distances[name])
    return nearest if distances[nearest] < _ANY_BACKGROUND else None


def _pure_pixels(pixels: np.ndarray, palette: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Colour -> the pixels nearest to it, without lone ones."""
    names = list(palette)
    distances = np.stack([np.linalg.norm(pixels - palette[name], axis=2) for name in names])
    nearest = distances.argmin(axis=0)
    close = distances.min(axis=0) < _PURE
    masks = {}
    for index, name in enumerate(names):
        mask = (nearest == index) & close
        masks[name] = mask & (_windows(mask, 1).sum(axis=0) >= 3)
    return masks


def _present(
    pixels: np.ndarray, palette: Mapping[str, np.ndarray], pure: Mapping[str, np.ndarray]
) -> list[str]:
    """The background and the colours that no mixture of the others explains."""
    order = sorted(COLOUR_VALUES, key=lambda name: (-shrunk(pure[name]).sum(), -pure[name].sum()))
    present = [""]
    for name in order:
        rest = pure[name].copy()
        if rest.sum() < _LEAST_PIXELS:
            continue
        for pair in combinations(present, 2):
            nearby = grown(pure[pair[0]], _NEARBY) & grown(pure[pair[1]], _NEARBY)
            misfit = _mixture(pixels, palette[pair[0]], palette[pair[1]])[1]
            rest &= ~(nearby & (misfit < _MIXTURE))
        if rest.sum() >= _LEAST_PIXELS:
            present.append(name)
    return present


def _typical(pixels: np.ndarray, mask: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The colour as this picture has it: the median over its inner pixels, if there are enough."""
    core = pixels[shrunk(mask)]
    return np.median(core, axis=0) if len(core) >= 9 else value


def _mixture(
    pixels: np.ndarray, first: np.ndarray, second: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Share of `first` that fits each pixel best, and the distance that is left."""
    line = first - second
    share = np.clip((pixels - second) @ line / (line @ line), 0.0, 1.0)
    misfit = np.linalg.norm(pixels - second - share[..., None] * line, axis=2)
    return share, misfit


def _unmix(
    pixels: np.ndarray, values: Mapping[str, np.ndarray], near: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Colour -> its share of each pixel, which is a mixture of at most two colours nearby."""
    best = np.full(pixels.shape[:2], np.inf)
    coverage = {name: np.zeros(pixels.shape[:2]) for name in values}
    for name, value in values.items():
        misfit = np.where(near[name], np.linalg.norm(pixels - value, axis=2), np.inf)
        _settle(coverage, best, misfit, {name: np.ones_like(best)})
    for first, second in combinations(values, 2):
        share, misfit = _mixture(pixels, values[first], values[second])
        misfit = np.where(near[first] & near[second], misfit, np.inf)
        _settle(coverage, best, misfit, {first: share, second: 1.0 - share})
    return coverage


def _settle(
    coverage: dict[str, np.ndarray],
    best: np.ndarray,
    misfit: np.ndarray,
    shares: Mapping[str, np.ndarray],
) -> None:
    better = misfit < best
    best[better] = misfit[better]
    for name, values in coverage.items():
        values[better] = shares[name][better] if name in shares else 0.0
