"""Which scenes there are: one to three coloured shapes, how they stand, and the split of each.

Captions, pictures and sounds are made from a `Scene`; nothing in here knows about words on a page,
pixels or waveforms.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, TypeVar

T = TypeVar("T")

SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "medium", "large")
BACKGROUNDS = ("white", "grey", "black", "beige")
PLACES = (
    "middle", "left", "right", "top", "bottom",
    "top left", "top right", "bottom left", "bottom right",
)  # fmt: skip
RELATIONS = ("left of", "above", "inside", "in front of")
SIDES = ("left of", "right of", "above", "below")

#: Half the width of a shape, in a picture that is 64 wide.
RADII = {"small": 6.0, "medium": 9.0, "large": 13.0}

#: Radius of the largest circle inside a shape of radius 1, for shapes that can hold another one.
ROOM = {"circle": 0.95, "square": 0.85, "diamond": 0.62}

# Three diameters, two gaps and two margins must fit into 64: large + medium + small just do.
_LARGEST_ROW = 28.0

#: Sides where a third thing can stand, by the relation of the other two. Only one spelling of each
#: picture is kept: the row a, b, c is "a left of b, c right of them" and never the other way round.
THIRD_SIDES = {
    "left of": ("right of", "right of", "above", "below"),
    "above": ("below", "below", "left of", "right of"),
    "inside": SIDES,
}


@dataclass(frozen=True, slots=True)
class Thing:
    """One shape: each field is a word of `SHAPES`, `COLOURS` and `SIZES`."""

    shape: str
    colour: str
    size: str

    @property
    def radius(self) -> float:
        """Half its width, in a picture that is 64 wide."""
        return RADII[self.size]


class Relation(NamedTuple):
    """`things[subject]` is `kind` (one of `RELATIONS`) `things[object]`."""

    subject: int
    kind: str
    object: int


@dataclass(frozen=True, slots=True)
class Scene:
    """What a sample shows; the colours of its things all differ.

    Every picture has exactly one description, so equal scenes are the same combination.

    Args:
        things: One to three shapes.
        background: One of `BACKGROUNDS`.
        place: Where a lone thing stands, one of `PLACES`; None when there are more.
        pair: How the first thing stands to the second, one of `RELATIONS`; None for a lone thing.
        third: Where the third thing stands, seen from the first two, one of `SIDES`.
    """

    things: tuple[Thing, ...]
    background: str = "white"
    place: str | None = None
    pair: str | None = None
    third: str | None = None

    @property
    def relations(self) -> tuple[Relation, ...]:
        """Everything that holds between two things, in the four words of `RELATIONS`."""
        if self.pair is None:
            return ()
        found = [Relation(0, self.pair, 1)]
        for other in (0, 1) if self.third else ():
            if self.third in ("left of", "above"):
                found.append(Relation(2, self.third, other))
            else:
                found.append(Relation(other, _OPPOSITE[str(self.third)], 2))
        return tuple(found)

    @property
    def combination(self) -> str:
        """The things and how they stand, as one line; the background is left out."""
        things = ", ".join(f"{thing.size} {thing.colour} {thing.shape}" for thing in self.things)
        return f"{things}; {self.place}; {self.pair}; {self.third}"

    @property
    def split(self) -> str:
        """The split this combination belongs to: train for 8 in 10, whatever seed drew it.

        Decided by a hash of `combination`, so a held-out scene was never trained on, not even on
        another background or in other words.
        """
        digest = hashlib.blake2b(self.combination.encode(), digest_size=4).digest()
        tenth = int.from_bytes(digest, "big") % 10
        return ("validation", "test")[tenth] if tenth < 2 else "train"


_OPPOSITE = {"right of": "left of", "below": "above"}


def pick(rng: Random, choices: Sequence[T]) -> T:
    """One of `choices`, all equally likely.

    `Random.random` gives the same numbers in every version of Python; `Random.choice` doesn't
    promise to.
    """
    return choices[int(rng.random() * len(choices))]


def draw_scene(rng: Random, split: str) -> Scene:
    """A random scene of `split`: 15 % lone things, 45 % pairs, 40 % threes."""
    while True:
        scene = _draw(rng)
        if scene.split == split and is_drawable(scene):
            return scene


def _draw(rng: Random) -> Scene:
    share = rng.random()
    count = 1 if share < 0.15 else 2 if share < 0.6 else 3
    background = pick(rng, BACKGROUNDS) if rng.random() < 0.5 else "white"
    colours = list(COLOURS)
    things = tuple(
        Thing(pick(rng, SHAPES), colours.pop(int(rng.random() * len(colours))), pick(rng, SIZES))
        for _ in range(count)
    )
    if count == 1:
        return Scene(things, background, place=pick(rng, PLACES))
    if count == 2:
        return Scene(things, background, pair=pick(rng, RELATIONS))
    pair = pick(rng, RELATIONS[:3])
    return Scene(things, background, pair=pair, third=pick(rng, THIRD_SIDES[pair]))


def is_drawable(scene: Scene) -> bool:
    """Whether a picture has room for `scene`."""
    if scene.pair == "inside":
        inner, outer = scene.things[:2]
        # Some of the outer colour must show all around the inner thing.
        return inner.radius * 1.1 + 1.0 <= ROOM.get(outer.shape, 0.0) * outer.radius
    if (scene.pair, scene.third) in (("left of", "right of"), ("above", "below")):
        return sum(thing.radius for thing in scene.things) <= _LARGEST_ROW
    return True
