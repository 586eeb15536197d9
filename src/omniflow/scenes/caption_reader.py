"""A caption back into a scene: every phrasing of `write_caption`, and most broken ones.

The words become marks (a thing, a relation, "it", "from left to right" ...), and a few rules say
what the marks mean together. Words that mean nothing are skipped, so a sentence that breaks off
or repeats itself still says what it says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal, NamedTuple

from omniflow.scenes.caption import PHRASES, PLACE_PHRASES, SHAPE_WORDS, SIZE_WORDS
from omniflow.scenes.grammar import BACKGROUNDS, COLOURS, Relation
from omniflow.scenes.reading import Reading, SeenThing

_MarkKind = Literal["thing", "relation", "it", "them", "order", "between", "place", "fresh"]


class _Mark(NamedTuple):
    """Something that means something; `value` is a relation, an order or a place."""

    kind: _MarkKind
    value: str = ""
    thing: int = -1


@dataclass(frozen=True)
class _Phrase:
    words: tuple[str, ...]
    mark: _Mark


def _phrases() -> tuple[_Phrase, ...]:
    """Everything but things that has a meaning, longest first."""
    table: list[tuple[str, _Mark]] = [
        ("it", _Mark("it")),
        ("them", _Mark("them")),
        ("both", _Mark("them")),
        ("between", _Mark("between")),
        # What comes after these does not go on with the thing before.
        ("there is", _Mark("fresh")),
        ("there are", _Mark("fresh")),
        ("is", _Mark("fresh")),
    ]
    for kind, spellings in PHRASES.items():
        table += [(spelling, _Mark("relation", kind)) for spelling in spellings]
    for place, spellings in PLACE_PHRASES.items():
        table += [(spelling, _Mark("place", place)) for spelling in spellings]
    for first, last, kind in _ORDERS:
        table.append((f"from {first} to {last}", _Mark("order", kind)))
    by_length = sorted(table, key=lambda entry: -len(entry[0].split()))
    return tuple(_Phrase(tuple(spelling.split()), mark) for spelling, mark in by_length)


_ORDERS = (
    ("left", "right", "left of"),
    ("right", "left", "right of"),
    ("top", "bottom", "above"),
    ("bottom", "top", "below"),
)
_MIRRORED = {"right of": "left of", "below": "above", "around": "inside", "behind": "in front of"}
_SIZES = {word: size for size, words in SIZE_WORDS.items() for word in words if word}
# "plus sign" is the one shape of two words; "plus" alone says as much.
_SHAPES = {word.split()[0]: shape for shape, words in SHAPE_WORDS.items() for word in words}
_PHRASES = _phrases()
_LONGEST = max(len(phrase.words) for phrase in _PHRASES)


def read_caption(text: str) -> Reading:
    """What `text` says, as far as it can be made out; never an error.

    A background that is not mentioned is white, a size medium, the place of a lone thing the
    middle, as in `write_caption`; a text without things says nothing of all that. Things of one
    colour that do not contradict one another are the same thing. Where relations contradict one
    another, the first one said counts.
    """
    words = re.findall(r"[a-z]+(?:-[a-z]+)*|,", text.lower())
    # A stuttering model says "the the"; no caption repeats a word at once.
    words = [word for word, _ in groupby(words)]
    words, background = _take_background(words)
    things, marks = _marks(words)
    if not things:
        return Reading(background=background if str(background) in text.lower() else None)
    things, marks = _merge_repeated(things, marks)
    relations = _Relations(len(things))
    _read_orders(marks, relations)
    _read_relations(marks, relations)
    place = None
    if len(things) == 1:
        place = next((mark.value for mark in marks if mark.kind == "place"), "middle")
    return Reading(
        tuple(replace(thing, size=thing.size or "medium") for thing in things),
        background,
        place,
        relations.completed(),
    )


def _take_background(words: list[str]) -> tuple[list[str], str | None]:
    """The words without "on a grey background", and the background."""
    if "background" in words:
        end = words.index("background")
        start = max(end - 3, 0)
        colour = words[end - 1] if end else ""
        phrase = words[start:end]
        kept = start if phrase[:1] in (["on"], ["against"]) else max(end - 1, 0)
        # A colour in front of "background" that is none is still no thing.
        return words[:kept] + words[end + 1 :], colour if colour in BACKGROUNDS else None
    named = [word for word in words if word in BACKGROUNDS]
    return words, named[0] if named else "white"


def _marks(words: list[str]) -> tuple[list[SeenThing], list[_Mark]]:
    """The things, and what means something in the order in which it is said."""
    collector = _Collector()
    position = 0
    while position < len(words):
        word = words[position]
        attribute = _attribute(word)
        phrase = None
        if attribute is not None:
            collector.describe(*attribute, is_after_article=words[position - 1] in ("a", "an"))
        elif word not in ("a", "an"):
            collector.close()
            phrase = _phrase_at(words, position)
            if phrase is not None:
                collector.marks.append(phrase.mark)
        position += len(phrase.words) if phrase else 1
    collector.close()
    return collector.things, collector.marks


class _Collector:
    """Puts things together from words, and keeps the order of all that was said."""

    def __init__(self) -> None:
        self.things: list[SeenThing] = []
        self.marks: list[_Mark] = []
        self._current = SeenThing()

    def describe(self, name: str, value: str, *, is_after_article: bool) -> None:
        """Add an attribute to the current thing, or begin the next one with it."""
        if is_after_article and getattr(self._current, name) not in (None, value):
            self.close()
        self._current = replace(self._current, **{name: value})
        if name == "shape":
            self.close()

    def close(self) -> None:
        """No more words for the current thing; a size alone is none."""
        if self._current.colour or self._current.shape:
            self.marks.append(_Mark("thing", thing=len(self.things)))
            self.things.append(self._current)
        self._current = SeenThing()


def _attribute(word: str) -> tuple[str, str] | None:
    if word in COLOURS:
        return "colour", word
    if word in _SIZES:
        return "size", _SIZES[word]
    return ("shape", _SHAPES[word]) if word in _SHAPES else None


def _phrase_at(words: list[str], position: int) -> _Phrase | None:
    ahead = tuple(words[position : position + _LONGEST])
    return next((p for p in _PHRASES if ahead[: len(p.words)] == p.words), None)


def _merge_repeated(
    things: list[SeenThing], marks: list[_Mark]
) -> tuple[list[SeenThing], list[_Mark]]:
    kept: list[SeenThing] = []
    new_index = []
    for thing in things:
        for index, other in enumerate(kept):
            if thing.colour is not None and thing.colour == other.colour and _agree(thing, other):
                kept[index] = SeenThing(
                    other.shape or thing.shape, other.colour, other.size or thing.size
                )
                new_index.append(index)
                break
        else:
            new_index.append(len(kept))
            kept.append(thing)
    merged = [
        mark._replace(thing=new_index[mark.thing]) if mark.kind == "thing" else mark
        for mark in marks
    ]
    return kept, merged


def _agree(thing: SeenThing, other: SeenThing) -> bool:
    pairs = ((thing.shape, other.shape), (thing.size, other.size))
    return all(None in pair or pair[0] == pair[1] for pair in pairs)


class _Relations:
    """Relations between things; of two that contradict one another, the first stays."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.kinds: dict[tuple[int, int], str] = {}

    def add(self, subject: int, kind: str, object_: int) -> None:
        if kind in _MIRRORED:
            subject, kind, object_ = object_, _MIRRORED[kind], subject
        if subject != object_ and not {(subject, object_), (object_, subject)} & self.kinds.keys():
            self.kinds[subject, object_] = kind

    def completed(self) -> frozenset[Relation]:
        """With what follows: left of something left of a third, beside what holds another."""
        for _ in range(2):
            for (first, second), kind in list(self.kinds.items()):
                for (third, fourth), other in list(self.kinds.items()):
                    if kind == other and second == third and kind in ("left of", "above"):
                        self.add(first, kind, fourth)
                    elif kind == "inside" and other in ("left of", "above"):
                        if second == third:
                            self.add(first, other, fourth)
                        elif second == fourth:
                            self.add(third, other, first)
        return frozenset(
            Relation(subject, kind, object_) for (subject, object_), kind in self.kinds.items()
        )


def _read_orders(marks: list[_Mark], relations: _Relations) -> None:
    """Rows and columns: "a, b and c from left to right", "b between a on the left and c ..."."""
    named = [mark.thing for mark in marks if mark.kind == "thing"]
    order = next((mark.value for mark in marks if mark.kind == "order"), None)
    if any(mark.kind == "between" for mark in marks) and len(named) >= 3:
        place = next((mark.value for mark in marks if mark.kind == "place"), None)
        named = [named[1], named[0], named[2]]
        order = {"left": "left of", "right": "right of", "top": "above", "bottom": "below"}.get(
            str(place)
        )
    if order is not None:
        for position, first in enumerate(named):
            for second in named[position + 1 :]:
                relations.add(first, order, second)


def _read_relations(marks: list[_Mark], relations: _Relations) -> None:
    for position, mark in enumerate(marks):
        if mark.kind != "relation":
            continue
        before = [other.thing for other in marks[:position] if other.kind == "thing"]
        after = [other.thing for other in marks[position + 1 :] if other.kind == "thing"]
        follower = marks[position + 1].kind if position + 1 < len(marks) else None
        if not before:
            # "below a there is b": all that follows the first thing is below it.
            subjects, objects = after[1:], after[:1]
        elif follower == "it":
            subjects, objects = before[-1:], before[-2:-1]
        elif follower == "them":
            subjects, objects = before[-1:], before[:-1]
        elif marks[position - 1].kind == "it":
            # "a with b inside it, below c": both are.
            subjects, objects = before, after[:1]
        else:
            subjects, objects = before[-1:], after[:1]
        for subject in subjects:
            for object_ in objects:
                relations.add(subject, mark.value, object_)
