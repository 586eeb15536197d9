"""Scenes that differ from one another in one thing, as captions that are nearly right do.

Random scenes are told apart by their colours alone; a tower that has to tell these apart must see
which shape has which colour and how they stand.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from omniflow.scenes.grammar import (
    COLOURS,
    PLACES,
    RELATIONS,
    SHAPES,
    THIRD_SIDES,
    Scene,
    Thing,
    draw_scene,
    is_drawable,
    pick,
)

#: Attempts after which a scene that has few variations gives way to those of another.
PATIENCE = 200


def similar_scenes(rng: Random, count: int) -> list[Scene]:
    """Different drawable scenes of the train split, most of them variations of the first."""
    found = {scene.combination: scene for scene in [draw_scene(rng, "train")]}
    attempts = 0
    while len(found) < count:
        attempts += 1
        near = attempts < PATIENCE
        scene = vary(pick(rng, [*found.values()]) if near else draw_scene(rng, "train"), rng)
        if scene.split == "train" and is_drawable(scene):
            found.setdefault(scene.combination, scene)
    return [*found.values()]


def vary(scene: Scene, rng: Random) -> Scene:
    """The scene with another shape (6 in 10), or colour, or things swapped, or placed otherwise."""
    things, kind = list(scene.things), rng.random()
    first, second = int(rng.random() * len(things)), int(rng.random() * len(things))
    one, other = things[first], things[second]
    if kind < 0.6:
        things[first] = replace(one, shape=pick(rng, SHAPES))
    elif kind < 0.7:
        taken = {thing.colour for thing in things}
        things[first] = replace(one, colour=pick(rng, [c for c in COLOURS if c not in taken]))
    elif kind < 0.8:
        things[first], things[second] = _exchanged(one, other, "shape")
    elif kind < 0.9:
        things[first], things[second] = _exchanged(one, other, "colour")
    else:
        return _moved(scene, rng)
    return replace(scene, things=tuple(things))


def _exchanged(one: Thing, other: Thing, name: str) -> tuple[Thing, Thing]:
    values = getattr(one, name), getattr(other, name)
    return replace(one, **{name: values[1]}), replace(other, **{name: values[0]})


def _moved(scene: Scene, rng: Random) -> Scene:
    if scene.pair is None:
        return replace(scene, place=pick(rng, PLACES))
    if scene.third is not None:
        return replace(scene, third=pick(rng, THIRD_SIDES[scene.pair]))
    return replace(scene, pair=pick(rng, RELATIONS))
