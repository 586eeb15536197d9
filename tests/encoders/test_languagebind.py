"""The LanguageBind encoder: what it hears, and what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from omniflow.encoders.languagebind import LanguageBindEncoder
from omniflow.errors import CheckpointError, DataError
from omniflow.interfaces import Audio, Sample

DATA = Path(__file__).parents[1] / "parity" / "data"
FOLDER = DATA / "languagebind_audio_tiny"
POSITIONS = "vision_model.embeddings.position_embedding.weight"


@pytest.fixture(scope="module")
def encoder():
    return loaded(FOLDER)


@pytest.fixture
def folder(tmp_path):
    """A copy of the checkpoint that a test may damage."""
    return Path(shutil.copytree(FOLDER, tmp_path / "bind", copy_function=shutil.copyfile))


def loaded(folder):
    encoder = LanguageBindEncoder(path=str(folder))
    encoder.load_weights()
    return encoder


def noise(samples, seed=0, channels=1):
    waveform = np.random.default_rng(seed).normal(0, 0.1, (channels, samples))
    return Audio(waveform.astype(np.float32), 16_000)


def change_vision(folder, **changes):
    content = json.loads((folder / "config.json").read_text())
    content["vision_config"].update(changes)
    (folder / "config.json").write_text(json.dumps(content))


def test_width_is_known_before_any_weight_is_read():
    encoder = LanguageBindEncoder(path=str(FOLDER))
    assert encoder.width == 12
    assert encoder.modalities == ("audio",)
    assert list(encoder.parameters()) == []


def test_sounds_of_any_length_share_a_batch(encoder):
    sounds = [noise(300), noise(9000, seed=1), noise(40_000, seed=2)]
    samples = [Sample(str(number), audio=sound) for number, sound in enumerate(sounds)]
    together = encoder.encode(samples, "audio")
    assert together.shape == (3, 12)
    alone = torch.cat([encoder.encode([sample], "audio") for sample in samples])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_only_the_first_channel_is_heard(encoder):
    both = noise(9000, channels=2)
    first = Audio(both.waveform[:1], 16_000)
    assert torch.equal(encoder.tower([both]), encoder.tower([first]))


def test_nothing_in_it_trains(encoder):
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    assert not encoder.tower([noise(9000)]).requires_grad


def test_weights_may_be_a_pickle_of_tensors(folder, encoder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    found = loaded(folder)
    assert torch.equal(found.tower([noise(9000)]), encoder.tower([noise(9000)]))


def test_pickle_that_would_run_code_is_refused(folder, tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    (folder / "model.safetensors").unlink()
    torch.save({"visual_projection.weight": Harmful()}, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"more than tensors(.|\n)*nothing .* executed"):
        loaded(folder)
    assert not (tmp_path / "harm").exists()


def test_no_weights_at_all(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors is missing"):
        LanguageBindEncoder(path=str(folder))


def test_missing_tensor_is_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing\n.*visual_projection"):
        loaded(folder)


def test_position_table_of_another_picture_is_refused(folder):
    change_vision(folder, target_length=98)
    with pytest.raises(CheckpointError) as caught:
        loaded(folder)
    assert (
        f"{folder}: its position table has 13 rows, expected 15: 2 x 7 patches and a class token"
    ) in str(caught.value)
    assert caught.value.where == str(folder)


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_position_table_of_a_square_is_resized_when_it_is_read(folder, kind):
    """Equal values at every place of a square are equal at every place of any grid."""
    tensors = load_file(folder / "model.safetensors")
    token, patch = tensors[POSITIONS][:2]
    tensors[POSITIONS] = torch.stack([token, *[patch] * 16])
    if kind == "safetensors":
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    else:
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
    resized = loaded(folder)
    tensors[POSITIONS] = torch.stack([token, *[patch] * 12])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    expected = loaded(folder).tower([noise(9000)])
    torch.testing.assert_close(resized.tower([noise(9000)]), expected, atol=1e-5, rtol=0)
    assert not any(parameter.requires_grad for parameter in resized.parameters())


def test_missing_position_table_is_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors[POSITIONS]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing\n.*position_embedding"):
        loaded(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"add_time_attn": True}, "add_time_attn is true, expected false"),
        ({"num_mel_bins": 0}, "num_mel_bins is 0, expected at least the patch size, 14"),
        ({"target_length": "84"}, "target_length is '84'"),
        ({"audio_sample_rate": 48_000}, "audio_sample_rate is 48000, expected 16000"),
        ({"audio_std": 0}, "audio_std is 0"),
        ({"audio_mean": "loud"}, "audio_mean is 'loud'"),
    ],
)
def test_variant_that_is_not_supported_is_refused(folder, changes, message):
    change_vision(folder, **changes)
    with pytest.raises(CheckpointError) as caught:
        LanguageBindEncoder(path=str(folder))
    assert message in str(caught.value)
    assert caught.value.where == str(folder / "config.json")


def test_another_model_is_refused():
    clip = DATA / "pipeline_tiny" / "external" / "clip_vit_l"
    with pytest.raises(CheckpointError, match="model_type is 'clip', expected LanguageBindAudio"):
        LanguageBindEncoder(path=str(clip))


def test_activation_of_the_config_is_used(folder, encoder):
    change_vision(folder, hidden_act="quick_gelu")
    assert not torch.allclose(loaded(folder).tower([noise(9000)]), encoder.tower([noise(9000)]))


def test_sound_that_cannot_be_heard_is_refused(encoder):
    with pytest.raises(DataError, match="the sound has 100 samples, expected at least 101"):
        encoder.tower([noise(100)])
