"""How things stand that were found at places: the relations that a scene could have.

Three things are read together. When "a is left of b, and c below them", c may also be left of b;
what the scene means shows in how well the parts are lined up.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from omniflow.scenes.grammar import Relation
from omniflow.scenes.picture import CANVAS

Box = tuple[float, float, float, float]

# Things and groups in line have their middles at most this far apart across the line.
_ALIGNED = 4.0


def place_of(box: Box) -> str:
    """Where a lone thing with this (left, top, right, bottom) stands, one of `PLACES`."""
    words = []
    for axis, (low, high) in ((1, ("top", "bottom")), (0, ("left", "right"))):
        start, end = box[axis], box[axis + 2]
        # Beside an edge the gap is 2 to 7; in the middle, the middle is at most 4 off.
        misses = {
            low: _outside(start, 2.0, 7.0),
            high: _outside(CANVAS - end, 2.0, 7.0),
            "": _outside((start + end) / 2, CANVAS / 2 - 4.0, CANVAS / 2 + 4.0),
        }
        words.append(min(misses, key=lambda word: misses[word]))
    return " ".join(word for word in words if word) or "middle"


def relations_of(boxes: Sequence[Box], touching: Sequence[Relation]) -> frozenset[Relation]:
    """The relation of every two things.

    Args:
        boxes: (left, top, right, bottom) of each thing.
        touching: Relations already known, of things inside or in front of one another.
    """
    if len(boxes) == 3 and len(touching) <= 1:
        known = {frozenset((relation.subject, relation.object)) for relation in touching}
        candidates = [
            _group(boxes, pair, touching)
            for pair in combinations(range(3), 2)
            if not known or frozenset(pair) in known
        ]
        return min(candidates, key=lambda found: found[0])[1]
    found = set(touching)
    done = {frozenset((relation.subject, relation.object)) for relation in touching}
    for first, second in combinations(range(len(boxes)), 2):
        if frozenset((first, second)) not in done:
            kind, forwards, _ = _side(boxes[first], boxes[second])
            found.add(Relation(first, kind, second) if forwards else Relation(second, kind, first))
    return frozenset(found)


def _group(
    boxes: Sequence[Box], pair: tuple[int, int], touching: Sequence[Relation]
) -> tuple[float, frozenset[Relation]]:
    """A misfit, and the relations when the third thing stands beside these two together."""
    first, second = pair
    third = 3 - first - second
    found = set(touching)
    misfit = 0.0
    if not touching:
        kind, forwards, misfit = _side(boxes[first], boxes[second])
        found.add(Relation(first, kind, second) if forwards else Relation(second, kind, first))
    both = boxes[first], boxes[second]
    box = (
        min(b[0] for b in both), min(b[1] for b in both),
        max(b[2] for b in both), max(b[3] for b in both),
    )  # fmt: skip
    kind, forwards, miss = _side(boxes[third], box)
    for other in pair:
        found.add(Relation(third, kind, other) if forwards else Relation(other, kind, third))
    return misfit + miss, frozenset(found)


def _side(first: Box, second: Box) -> tuple[str, bool, float]:
    """Relation of two boxes, whether `first` is its subject, and how badly they are lined up."""
    options = []
    for axis, kind in ((0, "left of"), (1, "above")):
        across = 1 - axis
        offset = abs(first[across] + first[across + 2] - second[across] - second[across + 2]) / 2
        crooked = max(offset - _ALIGNED, 0.0)
        for forwards, low, high in ((True, first, second), (False, second, first)):
            # The gap is at least 2; a little less is a matter of reading, not of drawing.
            overlap = max(1.0 - (high[axis] - low[axis + 2]), 0.0)
            options.append((2 * overlap + crooked, offset, kind, forwards))
    misfit, _, kind, forwards = min(options)
    return kind, forwards, misfit


def _outside(value: float, low: float, high: float) -> float:
    return max(low - value, value - high, 0.0)
