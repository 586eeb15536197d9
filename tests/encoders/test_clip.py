"""The CLIP encoder: its embeddings against the reference, and what it refuses."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from omniflow.encoders.clip import CLIPEncoder
from omniflow.errors import CheckpointError, ConfigError
from omniflow.interfaces import Sample

DATA = Path(__file__).parents[1] / "parity" / "data" / "pipeline_tiny"
FOLDER = DATA / "external" / "clip_vit_l"
PROMPT = json.loads((DATA / "cases.json").read_text())["cases"]["t2i_noguide"]["prompt"]


@pytest.fixture(scope="module")
def reference():
    return load_file(DATA / "encoders.safetensors")


@pytest.fixture(scope="module")
def text_encoder():
    return loaded(CLIPEncoder(path=str(FOLDER)))


@pytest.fixture(scope="module")
def image_encoder():
    return loaded(CLIPEncoder(path=str(FOLDER), modality="image"))


@pytest.fixture
def folder(tmp_path):
    """A copy of the checkpoint that a test may damage."""
    return Path(shutil.copytree(FOLDER, tmp_path / "clip", copy_function=shutil.copyfile))


def loaded(encoder):
    encoder.load_weights()
    return encoder


def samples(*texts):
    return [Sample(str(number), text=text) for number, text in enumerate(texts)]


def change_json(file, **changes):
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, **changes}))


def test_text_embedding_is_the_first_part_of_the_reference_pooled_vector(text_encoder, reference):
    found = text_encoder.encode(samples(PROMPT, ""), "text")
    expected = torch.cat([reference[f"{name}.clip_pooled"][:, :24] for name in ("prompt", "empty")])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_image_embedding_is_the_reference(image_encoder, reference):
    image = Image.open(DATA / "input_image.png")
    found = image_encoder.encode([Sample("0", image=image)], "image")
    torch.testing.assert_close(found, reference["image.clip_embed"], atol=1e-4, rtol=0)


def test_images_of_any_size_share_a_batch(image_encoder):
    image = Image.open(DATA / "input_image.png")
    wide = Image.new("RGB", (90, 40), "red")
    together = image_encoder.encode([Sample("0", image=image), Sample("1", image=wide)], "image")
    alone = [image_encoder.encode([Sample("0", image=each)], "image") for each in (image, wide)]
    # Another batch size takes another matrix kernel.
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=1e-5)


def test_embedding_is_not_normalised(text_encoder):
    norms = text_encoder.encode(samples("a", "b c"), "text").norm(dim=1)
    assert not torch.allclose(norms, torch.ones(2), atol=0.05)


def test_text_beyond_77_tokens_is_cut(text_encoder):
    # One letter is one token here; begin and end of text take two of the 77.
    first, second = "b " * 75, "b " * 75 + "c " * 40
    embeddings = text_encoder.encode(samples(first, second, "b " * 74), "text")
    torch.testing.assert_close(embeddings[0], embeddings[1])
    assert not torch.allclose(embeddings[0], embeddings[2], atol=1e-4)


def test_width_is_the_projection_before_any_weight_is_read(folder):
    encoder = CLIPEncoder(path=str(folder))
    assert encoder.width == 24
    assert encoder.modalities == ("text",)
    assert list(encoder.parameters()) == []


@pytest.mark.parametrize("modality", ["text", "image"])
def test_projection_of_the_whole_model_overrules_the_towers(folder, modality):
    config = json.loads((folder / "config.json").read_text())
    del config["text_config"]["projection_dim"], config["vision_config"]["projection_dim"]
    (folder / "config.json").write_text(json.dumps(config))
    encoder = loaded(CLIPEncoder(path=str(folder), modality=modality))
    assert encoder.width == 24
    assert all(tensor.isfinite().all() for tensor in encoder.parameters())


def test_nothing_in_it_trains(text_encoder):
    assert not any(parameter.requires_grad for parameter in text_encoder.parameters())
    assert not text_encoder.encode(samples("a"), "text").requires_grad


def test_half_precision_files_are_held_in_full_precision(image_encoder):
    assert {parameter.dtype for parameter in image_encoder.parameters()} == {torch.float32}


def test_loading_prints_and_logs_nothing(folder, capfd):
    # The reports of the library go to stderr through its own handler.
    encoder = CLIPEncoder(path=str(folder), modality="image")
    encoder.load_weights()
    encoder.encode([Sample("0", image=Image.new("RGB", (30, 30)))], "image")
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_in_one_file_reads_the_same(folder, text_encoder):
    text_encoder._tokenizer.save_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        (folder / name).unlink()
    encoder = loaded(CLIPEncoder(path=str(folder)))
    torch.testing.assert_close(
        encoder.encode(samples(PROMPT), "text"), text_encoder.encode(samples(PROMPT), "text")
    )


@pytest.mark.parametrize(
    ("modality", "name"),
    [
        ("text", "config.json"),
        ("text", "vocab.json"),
        ("text", "merges.txt"),
        ("text", "tokenizer_config.json"),
        ("text", "model.safetensors"),
        ("image", "preprocessor_config.json"),
        ("image", "model.safetensors"),
    ],
)
def test_missing_file_is_named_before_weights_are_read(folder, modality, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError) as caught:
        CLIPEncoder(path=str(folder), modality=modality)
    assert str(caught.value) == f"{folder}: {name} is missing"


def test_image_tower_needs_no_tokenizer_and_text_tower_no_image_settings(folder):
    (folder / "preprocessor_config.json").unlink()
    assert loaded(CLIPEncoder(path=str(folder))).width == 24
    shutil.copyfile(FOLDER / "preprocessor_config.json", folder / "preprocessor_config.json")
    (folder / "vocab.json").unlink()
    assert loaded(CLIPEncoder(path=str(folder), modality="image")).width == 24


def test_pickle_of_another_name_is_not_read(folder):
    (folder / "model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"it is a pickle: open_clip_pytorch_model\.bin"):
        CLIPEncoder(path=str(folder))


def test_truncated_weights_are_refused(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:20_000])
    with pytest.raises(CheckpointError, match="weights cannot be read") as caught:
        loaded(CLIPEncoder(path=str(folder)))
    assert caught.value.where == str(folder)


def test_missing_tensor_is_named(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["text_projection.weight"]
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"1 tensors are missing\n.*text_projection\.weight"):
        loaded(CLIPEncoder(path=str(folder)))


def test_tensor_of_another_shape_is_refused(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["text_projection.weight"] = torch.zeros(16, 24)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="weights cannot be read"):
        loaded(CLIPEncoder(path=str(folder)))


def test_another_kind_of_model_is_refused(folder):
    change_json(folder / "config.json", model_type="bert")
    with pytest.raises(CheckpointError, match=r"its model_type is 'bert', expected clip$"):
        CLIPEncoder(path=str(folder))


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "preprocessor_config.json"])
def test_damaged_settings_are_refused(folder, name):
    (folder / name).write_text("{")
    modality = "image" if name == "preprocessor_config.json" else "text"
    with pytest.raises(CheckpointError) as caught:
        CLIPEncoder(path=str(folder), modality=modality)
    assert str(folder) in caught.value.where


def test_folder_that_is_not_there_is_told():
    with pytest.raises(CheckpointError, match=r"^\./no/such/clip: there is no such folder$"):
        CLIPEncoder(path="./no/such/clip")


def test_folder_has_no_revision():
    with pytest.raises(ConfigError, match="revision is 'v1', expected null"):
        CLIPEncoder(path=str(FOLDER), revision="v1")


def test_modality_is_text_or_image():
    with pytest.raises(ConfigError, match="modality is 'audio', expected text or image"):
        CLIPEncoder(path=str(FOLDER), modality="audio")
