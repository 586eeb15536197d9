import pytest

from omniflow.scenes.grammar import Relation
from omniflow.scenes.layout import place_of, relations_of


def square(x, y, radius=6):
    return x - radius, y - radius, x + radius, y + radius


@pytest.mark.parametrize(
    ("x", "y", "place"),
    [
        (32, 32, "middle"),
        (12, 33, "left"),
        (52, 30, "right"),
        (30, 11, "top"),
        (33, 54, "bottom"),
        (9, 9, "top left"),
        (52, 9, "top right"),
        (9, 52, "bottom left"),
        (52, 52, "bottom right"),
    ],
)
def test_places(x, y, place):
    assert place_of(square(x, y)) == place


def test_two_things_are_beside_or_above_each_other():
    assert relations_of([square(40, 30), square(20, 32)], []) == {Relation(1, "left of", 0)}
    assert relations_of([square(30, 10), square(32, 30)], []) == {Relation(0, "above", 1)}


def test_a_third_thing_stands_beside_the_other_two_together():
    # The third is right of the first as well, but the line goes through the middle of the two.
    boxes = [square(10, 10), square(50, 12), square(30, 40)]
    assert relations_of(boxes, []) == {
        Relation(0, "left of", 1),
        Relation(0, "above", 2),
        Relation(1, "above", 2),
    }


def test_a_third_thing_stands_beside_what_lies_inside_another():
    boxes = [square(20, 30, 6), square(20, 30, 13), square(52, 31)]
    inside = Relation(0, "inside", 1)
    assert relations_of(boxes, [inside]) == {
        inside,
        Relation(0, "left of", 2),
        Relation(1, "left of", 2),
    }


def test_nothing_relates_to_nothing():
    assert relations_of([], []) == frozenset()
    assert relations_of([square(3, 3)], []) == frozenset()
