"""A scene in words: fluent lower-case English, many phrasings, one meaning.

No caption fits two different scenes: a size, place or background that isn't mentioned is medium,
the middle or white.
"""

from __future__ import annotations

from random import Random

from omniflow.scenes.grammar import Scene, Thing, pick

#: Words for an attribute; a word that stands there twice is twice as likely.
SIZE_WORDS = {
    "small": ("small", "small", "little", "tiny"),
    "medium": ("", "", "", "", "", "medium-sized"),
    "large": ("large", "large", "big"),
}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "circle", "disc"),
    "square": ("square", "square", "square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "diamond": ("diamond", "diamond", "diamond", "rhombus"),
    "cross": ("cross", "cross", "cross", "plus sign"),
}

#: Phrases for a relation, read from the subject to the object.
PHRASES = {
    "left of": ("left of", "to the left of", "on the left side of"),
    "right of": ("right of", "to the right of", "on the right side of"),
    "above": ("above", "above", "higher than"),
    "below": ("below", "under", "beneath"),
    "inside": ("inside", "inside", "within"),
    "around": ("around", "surrounding"),
    "in front of": ("in front of", "overlapping", "partly covering"),
    "behind": ("behind", "partly hidden behind", "partly covered by"),
}
_REVERSED = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "inside": "around",
    "in front of": "behind",
}
_FRONTED = {
    "left of": "to the left of",
    "right of": "to the right of",
    "above": "above",
    "below": "below",
    "inside": "inside",
    "in front of": "in front of",
    "behind": "behind",
}
PLACE_PHRASES = {
    "middle": ("in the middle", "in the centre", "in the middle of the picture"),
    "left": ("on the left", "on the left side", "at the left edge"),
    "right": ("on the right", "on the right side", "at the right edge"),
    "top": ("at the top", "near the top", "at the top of the picture"),
    "bottom": ("at the bottom", "near the bottom", "at the bottom of the picture"),
    "top left": ("in the top left corner", "in the upper left corner"),
    "top right": ("in the top right corner", "in the upper right corner"),
    "bottom left": ("in the bottom left corner", "in the lower left corner"),
    "bottom right": ("in the bottom right corner", "in the lower right corner"),
}
_FRAMES = (
    "{}", "{}", "{}", "there is {}", "a picture of {}", "an image of {}", "the picture shows {}",
    "we see {}", "here is {}",
)  # fmt: skip
# Threes are long enough without an introduction.
_SHORT_FRAMES = ("{}", "{}", "{}", "there is {}", "we see {}")
_LIST_FRAMES = ("{}", "{}", "{}", "there are {}", "we see {}")
_BACKGROUND_PHRASES = ("on a {} background", "on a {} background", "against a {} background")


def write_caption(scene: Scene, rng: Random) -> str:
    """One of the many captions of `scene`."""
    names = tuple(_name(thing, rng) for thing in scene.things)
    if scene.pair is None:
        clause = _alone(names[0], str(scene.place), rng)
    elif scene.third is None:
        clause = _pair(scene.pair, names[0], names[1], rng)
    elif (scene.pair, scene.third) == ("left of", "right of"):
        clause = _line(names, ("left", "right"), ("on the left", "on the right"), rng)
    elif (scene.pair, scene.third) == ("above", "below"):
        clause = _line(names, ("top", "bottom"), ("at the top", "at the bottom"), rng)
    elif scene.pair == "inside":
        clause = _nest_and_third(names, scene.third, rng)
    else:
        clause = _pair_and_third(names, scene.pair, scene.third, rng)
    return _on_background(clause, scene.background, rng)


class _SameChoice(Random):
    """Takes the same place in every list, about the middle."""

    def random(self) -> float:
        return 0.4


def plain_caption(scene: Scene) -> str:
    """The one of the captions of `scene` that says equal things alike, whatever the scene."""
    return write_caption(scene, _SameChoice())


def _name(thing: Thing, rng: Random) -> str:
    size, shape = pick(rng, SIZE_WORDS[thing.size]), pick(rng, SHAPE_WORDS[thing.shape])
    words = f"{size} {thing.colour} {shape}".lstrip()
    return f"an {words}" if words.startswith("orange") else f"a {words}"


def _on_background(clause: str, background: str, rng: Random) -> str:
    if background == "white" and rng.random() < 0.85:
        return clause
    phrase = pick(rng, _BACKGROUND_PHRASES).format(background)
    if (
        rng.random() < 0.4
        and clause.startswith(("a ", "an ", "there ", "we "))
        and (not clause.startswith(("a picture of", "an image of")))
    ):
        return f"{phrase}, {clause}"
    return f"{clause} {phrase}"


def _alone(name: str, place: str, rng: Random) -> str:
    phrase = pick(rng, PLACE_PHRASES[place])
    style = pick(rng, ("noun", "noun", "sentence", "fronted"))
    if style == "sentence":
        return f"{name} is {phrase}"
    if style == "fronted":
        return f"{phrase} there is {name}"
    return pick(rng, _FRAMES).format(f"{name} {phrase}")


def _pair(relation: str, first: str, second: str, rng: Random) -> str:
    subject, object_ = first, second
    if rng.random() < 0.4:
        subject, object_, relation = second, first, _REVERSED[relation]
    phrase = pick(rng, PHRASES[relation])
    style = pick(rng, ("noun", "noun", "noun", "with", "sentence", "sentence", "fronted"))
    if style == "sentence":
        return f"{subject} is {phrase} {object_}"
    if style == "fronted" and relation in _FRONTED:
        return f"{_FRONTED[relation]} {object_} {pick(rng, ('there is', 'is'))} {subject}"
    if style == "with":
        return pick(rng, _FRAMES).format(f"{object_} with {subject} {phrase} it")
    return pick(rng, _FRAMES).format(f"{subject} {phrase} {object_}")


def _line(
    names: tuple[str, ...], ends: tuple[str, str], places: tuple[str, str], rng: Random
) -> str:
    first, middle, last = names
    if rng.random() < 0.3:
        first, last, ends, places = last, first, ends[::-1], places[::-1]
    order = f"from {ends[0]} to {ends[1]}"
    style = pick(rng, ("list", "list", "ordered", "between", "chain"))
    if style == "list":
        return pick(rng, _LIST_FRAMES).format(f"{first}, {middle} and {last} {order}")
    if style == "ordered":
        return f"{order} there are {first}, {middle} and {last}"
    if style == "between":
        between = f"{middle} between {first} {places[0]} and {last} {places[1]}"
        return pick(rng, _SHORT_FRAMES).format(between)
    step = {"left": "left of", "right": "right of", "top": "above", "bottom": "below"}[ends[0]]
    return f"{first} is {step} {middle}, which is {step} {last}"


def _nest_and_third(names: tuple[str, ...], side: str, rng: Random) -> str:
    inner, outer, third = names
    phrase, back = pick(rng, PHRASES[side]), pick(rng, PHRASES[_REVERSED[side]])
    return pick(
        rng,
        (
            pick(rng, _SHORT_FRAMES).format(f"{inner} inside {outer}, with {third} {phrase} them"),
            pick(rng, _SHORT_FRAMES).format(f"{outer} with {inner} inside it, {back} {third}"),
            f"{third} is {phrase} {outer} that has {inner} inside it",
            f"{inner} is inside {outer}, and {third} is {phrase} them",
        ),
    )


def _pair_and_third(names: tuple[str, ...], pair: str, side: str, rng: Random) -> str:
    first, second, third = names
    if rng.random() < 0.4:
        first, second, pair = second, first, _REVERSED[pair]
    inner, phrase = pick(rng, PHRASES[pair]), pick(rng, PHRASES[side])
    return pick(
        rng,
        (
            pick(rng, _SHORT_FRAMES).format(
                f"{first} {inner} {second}, with {third} {phrase} them"
            ),
            pick(rng, _SHORT_FRAMES).format(f"{first} {inner} {second}, and {third} {phrase} both"),
            f"{first} is {inner} {second}, and {third} is {phrase} them",
            f"{_FRONTED[_REVERSED[side]]} {third} there is {first} {inner} {second}",
        ),
    )
