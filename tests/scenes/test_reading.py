from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.scenes.grammar import Relation, Scene, Thing, draw_scene
from omniflow.scenes.reading import Reading, SeenThing, compare

RED = SeenThing("circle", "red", "small")
BLUE = SeenThing("square", "blue", "large")
PINK = SeenThing("star", "pink", "medium")
PAIR = Reading((RED, BLUE), "white", None, frozenset({Relation(0, "above", 1)}))


@settings(max_examples=200, deadline=None)
@given(st.randoms(use_true_random=False), st.permutations(range(3)))
def test_the_order_of_things_means_nothing(rng, order):
    scene = draw_scene(rng, "train")
    order = [index for index in order if index < len(scene.things)]
    truth = Reading.of(scene)
    shuffled = Reading(
        tuple(truth.things[index] for index in order),
        truth.background,
        truth.place,
        frozenset(
            Relation(order.index(subject), kind, order.index(object_))
            for subject, kind, object_ in truth.relations
        ),
    )
    assert compare(shuffled, scene).exact
    assert compare(shuffled, scene).accuracy == 1.0


def test_two_different_scenes_are_never_equal():
    scenes = {draw_scene(Random(seed), "test") for seed in range(60)}
    for one in scenes:
        for other in scenes:
            assert compare(Reading.of(one), other).exact == (one == other)


@pytest.mark.parametrize(("count", "total"), [(1, 6), (2, 9), (3, 14)])
def test_a_scene_has_this_many_attributes(count, total):
    things = tuple(Thing("circle", colour, "small") for colour in ("red", "blue", "pink")[:count])
    scene = (
        Scene(things, place="top"),
        Scene(things, pair="above"),
        Scene(things, pair="above", third="below"),
    )[count - 1]
    found = compare(Reading(), scene)
    assert (sum(found.right.values()), sum(found.total.values())) == (0, total)
    assert found.accuracy == 0.0
    assert not found.exact


def test_single_mistakes_cost_one_attribute():
    wrong = {
        "shape": Reading((SeenThing("star", "red", "small"), BLUE), "white", None, PAIR.relations),
        "size": Reading((SeenThing("circle", "red", "large"), BLUE), "white", None, PAIR.relations),
        "relation": Reading(PAIR.things, "white", None, frozenset({Relation(1, "above", 0)})),
        "background": Reading(PAIR.things, "grey", None, PAIR.relations),
    }
    for attribute, reading in wrong.items():
        found = compare(reading, PAIR)
        assert found.accuracy == pytest.approx(8 / 9)
        assert [n for n in found.total if found.right[n] != found.total[n]] == [attribute]


def test_swapped_colours_are_two_wrong_shapes_and_sizes():
    swapped = Reading(
        (SeenThing("circle", "blue", "small"), SeenThing("square", "red", "large")),
        "white",
        None,
        frozenset({Relation(0, "above", 1)}),
    )
    found = compare(swapped, PAIR)
    # Matched by colour, so the relation is the wrong way round, too.
    assert found.right == PAIR_RIGHT | {"shape": 0, "size": 0, "relation": 0}


PAIR_RIGHT = dict(compare(PAIR, PAIR).right)


def test_a_thing_too_many_costs_its_attributes_its_relations_and_the_count():
    relations = PAIR.relations | {Relation(2, "left of", 0), Relation(2, "left of", 1)}
    found = compare(Reading((RED, BLUE, PINK), "white", None, relations), PAIR)
    assert found.accuracy == pytest.approx(8 / (9 + 3 + 2))
    assert found.right["count"] == 0


def test_a_thing_that_is_missing_costs_its_attributes_and_relations():
    found = compare(Reading((BLUE,), "white", "middle"), PAIR)
    # Shape, colour and size of one thing, and the background.
    assert found.accuracy == pytest.approx(4 / 9)


def test_a_thing_of_another_colour_is_still_compared():
    found = compare(Reading((SeenThing("circle", "green", "small"), BLUE), "white"), PAIR)
    assert (found.right["shape"], found.right["colour"], found.right["size"]) == (2, 1, 2)
