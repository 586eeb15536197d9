"""The T5 encoder: against the reference states and a slow mean, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from omniflow.encoders.t5 import T5Encoder
from omniflow.errors import CheckpointError, ConfigError
from omniflow.interfaces import Sample

DATA = Path(__file__).parents[1] / "parity" / "data" / "pipeline_tiny"
FOLDER = DATA / "external" / "flan_t5"
PROMPT = json.loads((DATA / "cases.json").read_text())["cases"]["t2i_noguide"]["prompt"]
TEXTS = (PROMPT, "", "a cat", "a much longer line of text than the other three")


@pytest.fixture(scope="module")
def encoder():
    encoder = T5Encoder(path=str(FOLDER))
    encoder.load_weights()
    return encoder


@pytest.fixture
def folder(tmp_path):
    """A copy of the checkpoint that a test may damage."""
    return Path(shutil.copytree(FOLDER, tmp_path / "t5", copy_function=shutil.copyfile))


def samples(*texts):
    return [Sample(str(number), text=text) for number, text in enumerate(texts)]


def test_states_under_the_mean_are_the_reference(encoder):
    reference = load_file(DATA / "encoders.safetensors")
    # The reference reads 24 tokens with the padding attended to.
    ids = encoder._tokenizer(PROMPT, padding="max_length", max_length=24, return_tensors="pt")
    assert torch.equal(ids.input_ids, reference["prompt.t5_ids"][:, :24])
    states = encoder.tower(ids.input_ids).last_hidden_state
    torch.testing.assert_close(states, reference["prompt.t5_sequence_24"], atol=1e-4, rtol=0)


def test_embedding_is_the_mean_over_the_text_alone(encoder):
    found = encoder.encode(samples(*TEXTS), "text")
    expected = torch.cat(
        [
            encoder.tower(encoder._tokenizer(text, return_tensors="pt").input_ids)
            .last_hidden_state.mean(dim=1)
            for text in TEXTS
        ]
    )  # fmt: skip
    assert found.dtype == torch.float32
    # Masked padding adds float32 zeros to sums of up to 50 states.
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_text_beyond_max_tokens_is_cut():
    encoder = T5Encoder(path=str(FOLDER), max_tokens=6)
    encoder.load_weights()
    # One letter is two tokens here, space and letter; the end of text is the sixth.
    first, second, third = encoder.encode(samples("a b ccccc", "a b cxyz z", "a d cxyz"), "text")
    torch.testing.assert_close(first, second)
    assert not torch.allclose(first, third, atol=1e-4)


def test_width_is_known_before_any_weight_is_read():
    encoder = T5Encoder(path=str(FOLDER))
    assert encoder.width == 32
    assert encoder.modalities == ("text",)
    assert list(encoder.parameters()) == []


def test_nothing_in_it_trains(encoder):
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.encode(samples("a"), "text").requires_grad
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}


def test_loading_prints_and_logs_nothing(capfd):
    encoder = T5Encoder(path=str(FOLDER))
    encoder.load_weights()
    encoder.encode(samples("a" * 200), "text")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
)
def test_missing_file_is_named_before_weights_are_read(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        T5Encoder(path=str(folder))
    assert str(caught.value) == f"{folder}: {name} is missing"


@pytest.mark.parametrize("text", ["{", "{}", '{"model": {"type": "Unigram", "vocab": 3}}'])
def test_damaged_tokenizer_is_refused(folder, text):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(CheckpointError, match="its tokenizer cannot be read"):
        T5Encoder(path=str(folder))


def test_impossible_configuration_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "d_model": "wide"}))
    with pytest.raises(CheckpointError, match="its configuration cannot be read") as caught:
        T5Encoder(path=str(folder))
    assert caught.value.where == str(folder)


def test_weights_of_another_model_are_refused(folder):
    save_file({"weight": torch.zeros(2)}, folder / "model.safetensors")
    encoder = T5Encoder(path=str(folder))
    with pytest.raises(CheckpointError, match="tensors are missing"):
        encoder.load_weights()


def test_weights_in_parts_are_read(folder, encoder):
    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    parts = {"model-00001-of-00002.safetensors": names[::2]}
    parts["model-00002-of-00002.safetensors"] = names[1::2]
    for file, held in parts.items():
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    (folder / "model.safetensors").unlink()
    in_parts = T5Encoder(path=str(folder))
    in_parts.load_weights()
    assert torch.equal(
        in_parts.encode(samples(*TEXTS), "text"), encoder.encode(samples(*TEXTS), "text")
    )


def test_max_tokens_is_at_least_one():
    with pytest.raises(ConfigError, match="max_tokens is 0, expected a whole number >= 1"):
        T5Encoder(path=str(FOLDER), max_tokens=0)
