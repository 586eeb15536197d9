"""What a visitor of the page gives and asks for."""

import pytest

from omniflow.demo.making import Wish, make
from omniflow.demo.models import OfferedModels
from omniflow.errors import ConfigError, UnknownNameError, UsageError


def wish(text="", image=None, audio=None, made=("image",), seed=0):
    return Wish(text, image, audio, made, seed, steps=2, guidance=None)


@pytest.mark.parametrize(
    ("said", "task"),
    [
        (wish("a red circle"), "t2i"),
        (wish("  \n"), "2i"),
        (wish(image="a.png", made=["text"]), "i2t"),
        (wish(image="a.png", audio="a.wav", made=["text"]), "ia2t"),
        (wish("a red circle", made=["audio", "image"]), "t2ia"),
    ],
)
def test_what_is_filled_in_is_given(said, task):
    assert str(said.task()) == task


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (wish("a", made=[]), "nothing is to be made, expected at least one of text, image, audio"),
        (wish("a", made=["text"]), "text cannot be given and made at once"),
        (wish("a", "b.png", made=["image", "text"]), "image and text cannot be given and made"),
    ],
)
def test_wishes_that_make_no_sense_are_refused(said, told):
    with pytest.raises(UsageError, match=told):
        make(None, said)


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(ConfigError, match="seed is -1"):
        make(None, wish(seed=-1))


def test_models_are_read_when_asked_for_and_one_is_held():
    read = []

    def reader(name):
        return lambda: read.append(name) or f"model {name}"

    models = OfferedModels({name: reader(name) for name in ("tiny", "runs/a")})
    assert models.names == ["tiny", "runs/a"]
    assert read == []
    assert [models.get("tiny"), models.get("tiny")] == ["model tiny", "model tiny"]
    assert models.get("runs/a") == "model runs/a"
    assert models.get("tiny") == "model tiny"
    assert read == ["tiny", "runs/a", "tiny"]
    with pytest.raises(UnknownNameError, match="no model is called 'runs/b'"):
        models.get("runs/b")
