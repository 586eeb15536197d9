"""Tasks: every spelling is read, one is written."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniflow.errors import ConfigError
from omniflow.tasks import COMMON_TASKS, LETTERS, Task

SIDES = [
    "".join(letters)
    for count in range(4)
    for letters in itertools.combinations(LETTERS, count)
]  # fmt: skip
TASKS = [f"{given}2{made}" for given in SIDES for made in SIDES if made]


def test_there_are_as_many_tasks_as_subsets():
    assert len(TASKS) == 8 * 7
    assert set(COMMON_TASKS) <= set(TASKS)


@pytest.mark.parametrize("text", TASKS)
def test_canonical_spelling_comes_back(text):
    assert str(Task.parse(text)) == text


def test_modalities_are_named_in_spelling_order():
    assert Task.parse("tai2at") == Task(("image", "audio", "text"), ("audio", "text"))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("i+t2t", "it2t"),
        ("t+i2t", "it2t"),
        ("ti2t", "it2t"),
        ("ta2t", "at2t"),
        ("T2I", "t2i"),
        (" i2t\n", "i2t"),
        ("t+a+i2a+t", "iat2at"),
    ],
)
def test_other_spellings_mean_the_same(text, canonical):
    assert str(Task.parse(text)) == canonical


@given(st.sampled_from(TASKS), st.randoms(), st.sampled_from(["", "+"]), st.booleans())
def test_order_plus_and_case_do_not_matter(text, random, joint, is_upper):
    sides = [joint.join(random.sample(side, len(side))) for side in text.split("2")]
    spelled = "2".join(sides)
    assert Task.parse(spelled.upper() if is_upper else spelled) == Task.parse(text)


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("i2", "i2t"),
        ("ii2t", "i2t"),
        ("i2tt", "i2t"),
        ("v2t", "t2t"),
        ("it2", "it2t"),
        ("i-2-t", "i2t"),
        ("t2t2t", "t2t"),
        ("t2iaa", "t2ia"),
        ("t2i,a", "t2ia"),
        ("itt2a", "it2a"),
        ("i2a-t", "i2at"),
        ("a2it2", "a2it"),
        ("2iatt", "2iat"),
    ],
)
def test_what_is_nearly_a_task_is_refused_with_the_nearest(text, nearest):
    with pytest.raises(ConfigError) as caught:
        Task.parse(text, where="--task")
    assert str(caught.value).startswith(
        f"--task: task is {text!r}, expected given letters, 2, made"
    )
    assert caught.value.nearest[0] == nearest


@pytest.mark.parametrize("text", ["", "2", "+2+", "t", "image2text", "t 2 i", "t2i\nt2i"])
def test_what_is_no_task_is_refused(text):
    with pytest.raises(ConfigError, match="such as i2t"):
        Task.parse(text)
