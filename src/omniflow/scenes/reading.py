"""What was read from a caption, a picture or a sound, and how much of a scene it gets right.

Readings are compared as scenes: "a above b" and "b below a" are one relation, and the order in
which things are named means nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, permutations

from omniflow.scenes.grammar import Relation, Scene

#: What is compared, in the order in which figures are reported.
ATTRIBUTES = ("shape", "colour", "size", "relation", "place", "background", "count")


@dataclass(frozen=True, slots=True)
class SeenThing:
    """A thing as far as it could be made out; what could not is None."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A scene as far as it could be made out.

    Args:
        things: In any order.
        background: One of `BACKGROUNDS`; None when it could not be told.
        place: Where a lone thing stands; None when there are more, or it could not be told.
        relations: At most one for two things, in the words of `RELATIONS`.
    """

    things: tuple[SeenThing, ...] = ()
    background: str | None = None
    place: str | None = None
    relations: frozenset[Relation] = frozenset()

    @classmethod
    def of(cls, scene: Scene) -> Reading:
        """All that there is to read from `scene`."""
        things = tuple(SeenThing(thing.shape, thing.colour, thing.size) for thing in scene.things)
        return cls(things, scene.background, scene.place, frozenset(scene.relations))

    def between(self, first: int, second: int) -> tuple[str, bool] | None:
        """Kind of the relation of two things, and whether `first` is its subject."""
        for subject, kind, object_ in self.relations:
            if {subject, object_} == {first, second}:
                return kind, subject == first
        return None


@dataclass(frozen=True, slots=True)
class Comparison:
    """How many attributes are right, of those that are true or were read for nothing.

    Args:
        right: Attribute -> how many of them were read and are true.
        total: Attribute -> how many are true, and how many more were read of things that are not
            there. An attribute that does not apply (the place of a pair) has none.
    """

    right: dict[str, int]
    total: dict[str, int]

    @property
    def accuracy(self) -> float:
        """Right attributes / all attributes, in [0, 1]."""
        return sum(self.right.values()) / sum(self.total.values())

    @property
    def exact(self) -> bool:
        """Whether the whole scene is right, and nothing else was read."""
        return self.right == self.total


def compare(read: Reading, truth: Reading | Scene) -> Comparison:
    """What is right in `read`.

    Attributes are the shape, colour and size of each true thing, the relation of each two, the
    place of a lone thing, the background and the number of things. Things are matched by colour,
    as the colours of a scene differ; what is left is matched so that most attributes are right.
    A thing too many adds its attributes, and its relations, to those that are wrong.
    """
    expected = Reading.of(truth) if isinstance(truth, Scene) else truth
    return max(
        (_matched(read, expected, match) for match in _assignments(read, expected)),
        key=lambda found: (found.right["colour"], sum(found.right.values())),
    )


def _assignments(read: Reading, truth: Reading) -> Iterator[tuple[int | None, ...]]:
    """For each true thing the index of a read one, as many as there are, in all ways."""
    wanted = len(truth.things)
    indices: list[int | None] = list(range(len(read.things)))
    indices += [None] * max(wanted - len(indices), 0)
    yield from permutations(indices, wanted)


def _matched(read: Reading, truth: Reading, match: tuple[int | None, ...]) -> Comparison:
    right = dict.fromkeys(ATTRIBUTES, 0)
    total = dict.fromkeys(ATTRIBUTES, 0)
    for thing, index in zip(truth.things, match, strict=True):
        seen = SeenThing() if index is None else read.things[index]
        for attribute in ("shape", "colour", "size"):
            true_value = getattr(thing, attribute)
            total[attribute] += true_value is not None
            right[attribute] += true_value is not None and getattr(seen, attribute) == true_value
    for first, second in combinations(range(len(truth.things)), 2):
        relation, pair = truth.between(first, second), (match[first], match[second])
        total["relation"] += relation is not None
        if relation is not None and pair[0] is not None and pair[1] is not None:
            right["relation"] += read.between(pair[0], pair[1]) == relation
    _count_superfluous(read, match, total)
    for attribute, read_value, true_value in (
        ("place", read.place, truth.place),
        ("background", read.background, truth.background),
        ("count", len(read.things), len(truth.things)),
    ):
        total[attribute] += true_value is not None
        right[attribute] += true_value is not None and read_value == true_value
    return Comparison(right, total)


def _count_superfluous(read: Reading, match: tuple[int | None, ...], total: dict[str, int]) -> None:
    for index, thing in enumerate(read.things):
        if index not in match:
            for attribute in ("shape", "colour", "size"):
                total[attribute] += getattr(thing, attribute) is not None
    total["relation"] += sum(
        subject not in match or object_ not in match for subject, _, object_ in read.relations
    )
