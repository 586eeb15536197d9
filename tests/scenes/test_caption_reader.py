from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.scenes.caption import plain_caption, write_caption
from omniflow.scenes.caption_reader import read_caption
from omniflow.scenes.grammar import Relation, draw_scene
from omniflow.scenes.reading import Reading, SeenThing, compare

SPLITS = ("train", "validation", "test")


def named(text):
    """Relations of a caption, spelled with the colours of their things."""
    reading = read_caption(text)
    return {
        (reading.things[subject].colour, kind, reading.things[object_].colour)
        for subject, kind, object_ in reading.relations
    }


@pytest.mark.parametrize("split", SPLITS)
def test_every_caption_reads_as_its_scene(split):
    for seed in range(700):
        rng = Random(f"{split}/{seed}")
        scene = draw_scene(rng, split)
        caption = write_caption(scene, rng)
        assert compare(read_caption(caption), scene).exact, caption


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(SPLITS))
def test_all_captions_of_a_scene_read_alike(rng, split):
    scene = draw_scene(rng, split)
    readings = [read_caption(write_caption(scene, rng)) for _ in range(6)]
    for reading in readings:
        assert compare(reading, readings[0]).exact
        assert compare(readings[0], reading).exact


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_a_broken_off_caption_says_nothing_but_the_truth_of_its_things(rng, data):
    words = write_caption(draw_scene(rng, "train"), rng).split()
    scene = read_caption(" ".join(words))
    kept = data.draw(st.integers(0, len(words)))
    read = read_caption(" ".join(words[:kept]))
    assert len(read.things) <= len(scene.things)
    assert {thing.colour for thing in read.things} - {None} <= {
        thing.colour for thing in scene.things
    }


@settings(max_examples=60, deadline=None)
@given(st.text())
def test_any_text_reads_as_something(text):
    assert isinstance(read_caption(text), Reading)


def test_relations_do_not_depend_on_the_phrasing():
    above = {("red", "above", "blue")}
    assert named("a red circle above a blue square") == above
    assert named("a blue square beneath a red circle") == above
    assert named("a blue square with a red circle higher than it") == above
    assert named("below a red circle is a blue square") == above


def test_a_group_passes_its_side_on():
    expected = {
        ("red", "inside", "blue"),
        ("pink", "left of", "red"),
        ("pink", "left of", "blue"),
    }
    assert named("a pink star is left of a blue square that has a red circle inside it") == expected
    assert named("a blue square with a red circle inside it, right of a pink star") == expected
    assert named("a red circle inside a blue square, with a pink star left of them") == expected


def test_a_row_relates_all_three():
    row = {("red", "left of", "blue"), ("red", "left of", "pink"), ("blue", "left of", "pink")}
    assert named("a red circle, a blue square and a pink star from left to right") == row
    assert named("a pink star is right of a blue square, which is right of a red circle") == row
    assert (
        named("a blue square between a pink star on the right and a red circle on the left") == row
    )


def test_what_is_not_mentioned_is_what_the_grammar_says():
    assert read_caption("a red disc") == Reading(
        (SeenThing("circle", "red", "medium"),), "white", "middle"
    )


def test_a_text_without_things_says_nothing():
    for text in ("", "there is", "a dog runs across the field", "a big"):
        assert read_caption(text) == Reading()
    assert read_caption("on a grey background") == Reading(background="grey")


def test_a_stutter_is_forgiven():
    assert compare(
        read_caption("a a red red circle circle is is above above a blue a blue square"),
        read_caption("a red circle above a blue square"),
    ).exact


def test_a_thing_named_twice_is_one_thing():
    reading = read_caption("a red circle above a blue square above a red circle")
    assert [thing.colour for thing in reading.things] == ["red", "blue"]
    assert reading.relations == {Relation(0, "above", 1)}


def test_things_stay_without_their_relation():
    reading = read_caption("a large cyan star and a small yellow")
    assert reading.things == (
        SeenThing("star", "cyan", "large"),
        SeenThing(None, "yellow", "small"),
    )
    assert reading.relations == frozenset()


def test_a_background_of_no_known_colour_is_unknown():
    assert read_caption("a red circle in the middle on a blue background") == Reading(
        (SeenThing("circle", "red", "medium"),), None, "middle"
    )


@settings(max_examples=200)
@given(st.integers(0, 10_000))
def test_the_plain_caption_is_always_the_same_and_reads_as_its_scene(seed):
    scene = draw_scene(Random(seed), "train")
    caption = plain_caption(scene)
    assert caption == plain_caption(scene)
    assert compare(read_caption(caption), scene).exact
