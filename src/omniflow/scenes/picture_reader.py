"""A picture back into a scene, by looking: no learned part.

Colours are unmixed, then every colour is explained as a shape. Things that touch hide one another,
so each order from front to back is tried, and the one that leaves least unexplained is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
from PIL import Image

from omniflow.scenes.grammar import Relation
from omniflow.scenes.layout import place_of, relations_of
from omniflow.scenes.picture_colours import find_colours, grown, shrunk
from omniflow.scenes.picture_shapes import SIDE, Fit, fit_shape
from omniflow.scenes.reading import Reading, SeenThing

# Pixels: less of a colour is dirt, more that a shape leaves over is another thing.
_LEAST_AREA = 10.0
_LEAST_REST = 9
# More things than this that touch one another are no scene; what lies in front isn't looked for.
_MOST_TOUCHING = 4
# A shape that shares less than this of its pixels with what is there is none of the shapes.
_LEAST_LIKENESS = 0.5
_INSIDE_SHARE = 0.82
_OVERLAP_SHARE = 0.08


@dataclass(frozen=True)
class _Found:
    """A thing: its colour, the shape that fits it, and what is seen of it [64, 64]."""

    colour: str
    fit: Fit
    coverage: np.ndarray

    @property
    def has_shape(self) -> bool:
        """Whether most of what is seen lies in the shape."""
        inside = np.minimum(self.fit.coverage, self.coverage).sum()
        return bool(inside >= _LEAST_LIKENESS * self.coverage.sum())

    @property
    def is_dirt(self) -> bool:
        """Whether this is a rim or specks: thin, and like no shape."""
        return not self.has_shape and shrunk(self.coverage > 0.5).sum() < _LEAST_REST

    @property
    def seen(self) -> SeenThing:
        if not self.has_shape:
            return SeenThing(colour=self.colour)
        return SeenThing(self.fit.shape, self.colour, self.fit.size)


def read_picture(picture: Image.Image) -> Reading:
    """What `picture` shows, as far as it can be made out; never an error.

    Args:
        picture: Of any size and mode; it is looked at in 64 x 64 pixels.
    """
    small = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)
    colours = find_colours(np.asarray(small, dtype=np.float64))
    coverage = {
        name: share for name, share in colours.coverage.items() if share.sum() >= _LEAST_AREA
    }
    found: list[_Found] = []
    for names in _clusters(coverage):
        for name, fit in _explain(names, coverage):
            found += _with_leftover(name, fit, coverage[name])
    found = [one for one in found if not one.is_dirt]
    boxes = [one.fit.box for one in found]
    return Reading(
        tuple(one.seen for one in found),
        colours.background,
        place_of(boxes[0]) if len(found) == 1 else None,
        relations_of(boxes, _touching(found)),
    )


def _clusters(coverage: Mapping[str, np.ndarray]) -> list[list[str]]:
    """Colours that touch one another, directly or through others."""
    clusters: list[list[str]] = []
    for name, share in coverage.items():
        around = grown(share > 0.5, 1)
        joined = [
            cluster
            for cluster in clusters
            if any((around & (coverage[other] > 0.5)).sum() >= 3 for other in cluster)
        ]
        clusters = [cluster for cluster in clusters if cluster not in joined]
        clusters.append([*(other for cluster in joined for other in cluster), name])
    return clusters


def _explain(names: Sequence[str], coverage: Mapping[str, np.ndarray]) -> list[tuple[str, Fit]]:
    """A shape for each colour, front to back."""
    orders = list(permutations(names)) if len(names) <= _MOST_TOUCHING else [tuple(names)]
    known: dict[tuple[str, ...], tuple[Fit, float]] = {}
    best: tuple[float, list[tuple[str, Fit]]] = (np.inf, [])
    for order in orders:
        visible = np.ones((SIDE, SIDE))
        total, fits = 0.0, []
        for position, name in enumerate(order):
            key = order[: position + 1]
            if key not in known:
                fit = fit_shape(coverage[name], visible)
                # What is seen in front of the things in front contradicts this order.
                hidden = float(((1.0 - visible) * coverage[name] ** 2).sum())
                known[key] = fit, fit.misfit + hidden
            fit, misfit = known[key]
            visible = visible * (1.0 - fit.coverage)
            total += misfit
            fits.append((name, fit))
        if total < best[0]:
            best = total, fits
    return best[1]


def _with_leftover(name: str, fit: Fit, coverage: np.ndarray) -> list[_Found]:
    """The thing, and a second one of its colour: no scene has two, but a model may draw them."""
    rest = np.where(grown(fit.coverage > 0.1, 1), 0.0, coverage)
    if shrunk(rest > 0.5).sum() < _LEAST_REST:
        return [_Found(name, fit, coverage)]
    second = fit_shape(rest, np.ones_like(rest))
    return [_Found(name, fit, coverage - rest), _Found(name, second, rest)]


def _touching(found: Sequence[_Found]) -> list[Relation]:
    """Things inside or in front of one another; `found` has what is in front first."""
    relations = []
    laid = [one.fit.coverage for one in found]
    for front in range(len(found)):
        for behind in range(front + 1, len(found)):
            shared = np.minimum(laid[front], laid[behind]).sum()
            areas = laid[front].sum(), laid[behind].sum()
            if shared / areas[0] >= _INSIDE_SHARE:
                relations.append(Relation(front, "inside", behind))
            elif shared / min(areas) >= _OVERLAP_SHARE:
                relations.append(Relation(front, "in front of", behind))
    return relations
