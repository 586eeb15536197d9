"""A scene as a picture: where its shapes stand, and how they are drawn.

Positions are in units of a picture that is 64 wide; x grows to the right, y downwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from omniflow.scenes.grammar import ROOM, Scene, Thing

CANVAS = 64.0
COLOUR_VALUES = {
    "red": (220, 38, 38),
    "orange": (249, 134, 22),
    "yellow": (250, 214, 32),
    "green": (34, 153, 66),
    "cyan": (48, 200, 214),
    "blue": (37, 84, 220),
    "purple": (132, 54, 180),
    "pink": (246, 140, 196),
}
BACKGROUND_VALUES = {
    "white": (255, 255, 255),
    "grey": (150, 150, 150),
    "black": (16, 16, 16),
    "beige": (236, 218, 185),
}

_MARGIN = 2.0
_GAP = 2.0
_SUPERSAMPLING = 4

Point = tuple[float, float]


@dataclass(frozen=True)
class _Block:
    """Shapes that keep their distances: their centres, and (left, top, right, bottom) of all."""

    centres: tuple[Point, ...]
    box: tuple[float, float, float, float]

    def length(self, axis: int) -> float:
        return self.box[axis + 2] - self.box[axis]

    def moved(self, dx: float, dy: float) -> _Block:
        left, top, right, bottom = self.box
        return _Block(
            tuple((x + dx, y + dy) for x, y in self.centres),
            (left + dx, top + dy, right + dx, bottom + dy),
        )

    def joined(self, other: _Block) -> _Block:
        left, top, right, bottom = zip(self.box, other.box, strict=True)
        box = (min(left), min(top), max(right), max(bottom))
        return _Block(self.centres + other.centres, box)


def draw_picture(scene: Scene, rng: Random, image_size: int) -> Image.Image:
    """An RGB picture of `scene`, `image_size` pixels wide and high; `rng` draws the positions."""
    pixels = image_size * _SUPERSAMPLING
    canvas = Image.new("RGB", (pixels, pixels), BACKGROUND_VALUES[scene.background])
    pen = ImageDraw.Draw(canvas)
    scale = pixels / CANVAS
    centres = arrange(scene, rng)
    # The first thing is the inner one, or the one in front: it is drawn last.
    for thing, (x, y) in reversed(list(zip(scene.things, centres, strict=True))):
        corners = [((x + dx) * scale, (y + dy) * scale) for dx, dy in outline(thing)]
        pen.polygon(corners, fill=COLOUR_VALUES[thing.colour])
    return canvas.reduce(_SUPERSAMPLING)


def arrange(scene: Scene, rng: Random) -> tuple[Point, ...]:
    """The centres of the scene's things, drawn at random among those that make it true.

    Things that stand beside or above one another share no column or row of pixels; a nested thing
    shows its holder all around. Overlapping things share about half of the smaller one: neither
    lies wholly inside the other, which would be another relation.
    """
    blocks = [_block(thing) for thing in scene.things]
    if scene.pair is None:
        return _at_place(blocks[0], str(scene.place), rng).centres
    third_axis = 0 if scene.third in ("left of", "right of") else 1
    if scene.pair == "inside":
        group = _nested(scene, blocks, rng)
    elif scene.pair == "in front of":
        group = _overlapping(scene, blocks, rng)
    else:
        axis = 0 if scene.pair == "left of" else 1
        in_line = scene.third is not None and third_axis == axis
        kept_free = blocks[2].length(axis) + _GAP if in_line else 0.0
        group = _in_line(blocks[0], blocks[1], axis, kept_free, rng)
    if scene.third in ("right of", "below"):
        group = _in_line(group, blocks[2], third_axis, 0.0, rng)
    elif scene.third is not None:
        group = _in_line(blocks[2], group, third_axis, 0.0, rng)
        group = _Block((*group.centres[1:], group.centres[0]), group.box)
    return group.moved(*(_free_shift(group, axis, rng) for axis in (0, 1))).centres


def _at_place(block: _Block, place: str, rng: Random) -> _Block:
    shifts = []
    for axis, (low, high) in enumerate((("left", "right"), ("top", "bottom"))):
        if low in place:
            shifts.append(_MARGIN - block.box[axis] + 5.0 * rng.random())
        elif high in place:
            shifts.append(CANVAS - _MARGIN - block.box[axis + 2] - 5.0 * rng.random())
        else:
            shifts.append(CANVAS / 2 + 8.0 * (rng.random() - 0.5))
    return block.moved(shifts[0], shifts[1])


def _in_line(first: _Block, second: _Block, axis: int, kept_free: float, rng: Random) -> _Block:
    """`second` after `first` along `axis`, roughly centred across it."""
    lengths = first.length(axis) + second.length(axis)
    spare = CANVAS - 2 * _MARGIN - lengths - _GAP - kept_free
    gap = _GAP + rng.random() * min(max(spare, 0.0), 12.0)
    shift = [0.0, 0.0]
    shift[axis] = first.box[axis + 2] + gap - second.box[axis]
    across = 1 - axis
    centres = [(block.box[across] + block.box[across + 2]) / 2 for block in (first, second)]
    shift[across] = centres[0] - centres[1] + 8.0 * (rng.random() - 0.5)
    return first.joined(second.moved(*shift))


def _nested(scene: Scene, blocks: list[_Block], rng: Random) -> _Block:
    inner, outer = scene.things[:2]
    reach = max(math.hypot(x, y) for x, y in outline(inner))
    slack = max(ROOM[outer.shape] * outer.radius - reach - 1.0, 0.0) * rng.random()
    turn = 2 * math.pi * rng.random()
    return blocks[0].moved(slack * math.cos(turn), slack * math.sin(turn)).joined(blocks[1])


def _overlapping(scene: Scene, blocks: list[_Block], rng: Random) -> _Block:
    front, behind = scene.things[:2]
    best = blocks[0].joined(blocks[1])
    best_miss = math.inf
    # Stars and crosses have bays, so the distance doesn't tell how much overlaps: try and see.
    for _ in range(40):
        distance = (front.radius + behind.radius) * (0.35 + 0.45 * rng.random())
        turn = 2 * math.pi * rng.random()
        offset = (distance * math.cos(turn), distance * math.sin(turn))
        miss = abs(_overlap(front, behind, offset) - 0.45)
        if miss < best_miss:
            best, best_miss = blocks[0].joined(blocks[1].moved(*offset)), miss
        if miss < 0.18:
            break
    return best


def _overlap(front: Thing, behind: Thing, offset: Point) -> float:
    """Area that both cover when `behind` is `offset` away, as a share of the smaller thing's."""
    masks = _mask(front, (0.0, 0.0)), _mask(behind, offset)
    return float((masks[0] & masks[1]).sum() / min(mask.sum() for mask in masks))


def _mask(thing: Thing, centre: Point) -> np.ndarray:
    """Where a thing is, around the origin, in quarters of a unit."""
    side = 4 * int(CANVAS)
    mask = Image.new("1", (side, side))
    corners = [
        (side / 2 + 4 * (centre[0] + dx), side / 2 + 4 * (centre[1] + dy))
        for dx, dy in outline(thing)
    ]
    ImageDraw.Draw(mask).polygon(corners, fill=1)
    return np.asarray(mask)


def _free_shift(block: _Block, axis: int, rng: Random) -> float:
    free = max(CANVAS - 2 * _MARGIN - block.length(axis), 0.0)
    return _MARGIN - block.box[axis] + free * rng.random()


def _block(thing: Thing) -> _Block:
    across, down = zip(*outline(thing), strict=True)
    return _Block(((0.0, 0.0),), (min(across), min(down), max(across), max(down)))


def outline(thing: Thing) -> list[Point]:
    """The corners of a thing around the origin, in order."""
    return [(x * thing.radius, y * thing.radius) for x, y in _unit_outline(thing.shape)]


@cache
def _unit_outline(shape: str) -> tuple[Point, ...]:
    """Corners of a shape of radius 1 around its centre, about equally heavy to the eye."""
    if shape == "circle":
        return _ring(72, (0.95,))
    if shape == "triangle":
        return _ring(3, (1.08,))
    if shape == "star":
        return _ring(10, (1.05, 0.45))
    if shape == "diamond":
        return ((0.0, -1.0), (0.8, 0.0), (0.0, 1.0), (-0.8, 0.0))
    if shape == "square":
        return ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85))
    long, short = 0.95, 0.32
    quarter = ((-short, -long), (short, -long), (short, -short))
    corners = list(quarter)
    for _ in range(3):
        quarter = tuple((-y, x) for x, y in quarter)  # type: ignore[assignment]
        corners.extend(quarter)
    return tuple(corners)


def _ring(count: int, radii: tuple[float, ...]) -> tuple[Point, ...]:
    """Corners on circles around the centre, the first one on top."""
    points = []
    for corner in range(count):
        radius, turn = radii[corner % len(radii)], 2 * math.pi * corner / count
        points.append((radius * math.sin(turn), -radius * math.cos(turn)))
    return tuple(points)
