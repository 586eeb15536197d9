"""What counts towards a key, and what does not."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from omniflow.cache.key import (
    KEY_BYTES,
    SampleKeys,
    audio_key,
    files_digest,
    image_key,
    space_digest,
    tensor_keys,
    tensors_digest,
    text_key,
)
from omniflow.cache.place import cache_folder
from omniflow.interfaces import Audio, Sample

PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
WAVE = np.linspace(-1, 1, 20, dtype=np.float32)


@given(st.text(), st.text())
def test_texts_share_a_key_only_if_they_are_equal(first, second):
    assert (text_key(first) == text_key(second)) == (first == second)
    assert len(text_key(first)) == KEY_BYTES


def test_a_lone_surrogate_has_a_key():
    assert text_key("\ud800") != text_key("?")


def palette_picture(colour):
    picture = Image.new("P", (2, 2))
    picture.putpalette([*colour, *([0] * 765)])
    return picture


def turned(picture):
    picture = picture.copy()
    picture.info["exif"] = b"Exif\x00\x00turned"
    return picture


@pytest.mark.parametrize(
    "other",
    [
        Image.fromarray(PIXELS.reshape(2, 8, 3)),
        Image.fromarray(PIXELS + 1),
        Image.fromarray(PIXELS).convert("L"),
        Image.fromarray(PIXELS).convert("RGBA"),
        turned(Image.fromarray(PIXELS)),
    ],
    ids=["shape", "pixels", "grey", "alpha", "orientation"],
)
def test_other_pictures_have_other_keys(other):
    assert image_key(other) != image_key(Image.fromarray(PIXELS))


def test_a_palette_counts():
    assert image_key(palette_picture((255, 0, 0))) != image_key(palette_picture((0, 255, 0)))


def test_the_same_picture_from_a_file_has_the_same_key(tmp_path):
    picture = Image.fromarray(PIXELS)
    picture.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as stored:
        assert image_key(stored) == image_key(picture)


@pytest.mark.parametrize(
    "other",
    [
        Audio(WAVE[None], 8000),
        Audio(WAVE[None] / 2, 16000),
        Audio(WAVE.reshape(2, 10), 16000),
        Audio(WAVE[None].astype(np.float64), 16000),
        Audio(WAVE[None, :-1], 16000),
    ],
    ids=["rate", "values", "channels", "dtype", "length"],
)
def test_other_sounds_have_other_keys(other):
    assert audio_key(other) != audio_key(Audio(WAVE[None], 16000))


def test_rows_of_tensors_have_keys_of_their_own():
    ids, flags = torch.tensor([[1, 2], [1, 2], [1, 3]]), torch.tensor([False, True, False])
    keys = tensor_keys(ids, flags)
    assert len(set(keys)) == 3
    assert tensor_keys(ids[2:], flags[2:]) == keys[2:]
    # The same numbers after other padding, or in another format, are another content.
    assert tensor_keys(torch.tensor([[1, 2, 0]]), flags[:1]) != keys[:1]
    assert tensor_keys(ids[:1].int(), flags[:1]) != keys[:1]


def test_contents_of_one_sample_are_told_apart_and_hashed_once():
    sample = Sample("a", text="a", image=Image.fromarray(PIXELS), audio=Audio(WAVE[None], 16000))
    keys = SampleKeys([sample, Sample("b", text="a")])
    assert len({keys.of(name, [0])[0] for name in ("text", "image", "audio")}) == 3
    assert keys.of("text", [1, 0]) == [text_key("a")] * 2
    sample.image.putpixel((0, 0), (9, 9, 9))
    assert keys.of("image", [0]) != SampleKeys([sample]).of("image", [0])


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3))
def test_a_space_depends_on_every_fact_and_on_no_order(identity):
    assert space_digest(dict(reversed(identity.items()))) == space_digest(identity)
    assert space_digest({**identity, "more": ""}) != space_digest(identity)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["weight"].mul_(1 + 1e-6),
        lambda state: state.update(weight=state["weight"].bfloat16()),
        lambda state: state.update(weight=state["weight"].view(4, 3)),
        lambda state: state.update(other=state.pop("weight")),
    ],
    ids=["value", "dtype", "shape", "name"],
)
def test_any_change_of_weights_is_seen(change):
    state = {"weight": torch.arange(12.0).view(3, 4) + 1, "bias": torch.ones(3)}
    before = tensors_digest(state.items())
    assert tensors_digest(reversed(state.items())) == before
    change(state)
    assert tensors_digest(state.items()) != before


def test_a_file_that_changed_within_the_process_is_hashed_anew(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    before = files_digest({"weights": file})
    assert files_digest({"other": file}) != before
    state = file.stat()
    file.write_bytes(b"abd")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert files_digest({"weights": file}) != before


def test_the_place_is_what_is_said_then_the_environment_then_xdg():
    environ = {"OMNIFLOW_CACHE": "/kept", "XDG_CACHE_HOME": "/xdg"}
    assert cache_folder("/said", environ) == Path("/said")
    assert cache_folder(None, environ) == Path("/kept")
    assert cache_folder(None, {"XDG_CACHE_HOME": "/xdg"}) == Path("/xdg/omniflow")
    assert cache_folder(None, {"XDG_CACHE_HOME": "relative"}) == Path.home() / ".cache/omniflow"
    assert cache_folder(None, {"OMNIFLOW_CACHE": ""}) == Path.home() / ".cache/omniflow"
