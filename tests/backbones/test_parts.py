"""Parts around the transformer: found early, read late, outside of the module's tree."""

import json
import logging
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import omniflow
from omniflow.backbones.image_grid import ImageGrid
from omniflow.backbones.published import PublishedBackbone
from omniflow.errors import CheckpointError, ConfigError, UsageError
from omniflow.interfaces import Audio


@pytest.fixture(scope="module")
def external(parity_data):
    return parity_data / "pipeline_tiny" / "external"


@pytest.fixture
def folder(random_backbone, tmp_path):
    """A copy that a test may spoil."""
    return shutil.copytree(random_backbone, tmp_path / "model")


@pytest.fixture
def whole(folder, external):
    """A folder that brings every part along."""
    shutil.copytree(external / "clip_vit_l", folder / "text_encoder")
    shutil.copytree(external / "languagebind_audio", folder / "audio_encoder")
    shutil.copytree(external / "audioldm2" / "vae", folder / "audio_vae")
    (folder / "vocoder").mkdir()
    (folder / "vocoder" / "config.json").write_text(
        json.dumps({"model_type": "griffin-lim", "iterations": 1})
    )
    return folder


def loaded(folder, **options):
    backbone = PublishedBackbone(path=str(folder), **options)
    backbone.load_weights()
    return backbone


def rewrite(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


PICTURE = Image.new("RGB", (70, 50), (200, 30, 60))
SOUND = Audio(np.sin(np.arange(8000) / 9).astype(np.float32)[None], 16000)


def test_a_folder_serves_all_streams_with_what_it_brings_along(whole):
    backbone = loaded(whole)
    assert backbone.modalities == ("image", "text", "audio")
    assert backbone.condition_text(["a dog", ""]).states.shape == (2, 77, 56)
    assert backbone.pool_image([PICTURE]).shape == (1, 56)
    assert backbone.pool_audio([SOUND]).shape == (1, 56)
    latents = backbone.encode_image([PICTURE, PICTURE])
    assert latents.shape[1:] == backbone.latent_shape("image") == (16, 8, 8)
    assert [picture.size for picture in backbone.decode_image(latents)] == [(64, 64)] * 2
    latents = backbone.encode_audio([SOUND])
    assert latents.shape[1:] == backbone.latent_shape("audio") == (8, 256, 16)
    (heard,) = backbone.decode_audio(latents)
    assert (heard.waveform.shape, heard.rate_hz) == ((1, 1024 * 160), 16000)


def test_parts_are_no_part_of_the_module(whole):
    backbone = loaded(whole)
    names, count = set(backbone.state_dict()), len(list(backbone.parameters()))
    backbone.condition_text(["a dog"])
    backbone.encode_image([PICTURE])
    assert set(backbone.state_dict()) == names
    assert len(list(backbone.parameters())) == count


def test_nothing_is_read_before_it_is_needed(whole):
    for name in ("vae", "audio_vae", "text_encoder", "audio_encoder", "text_encoder_2"):
        for file in (whole / name).glob("*.safetensors"):
            file.write_bytes(b"spoilt")
    backbone = loaded(whole)
    tokens = backbone.tokenise(["a dog"], max_length=8)
    backbone.encode_text(tokens.prompt_ids, tokens.is_empty)
    with pytest.raises(CheckpointError, match="weights cannot be read"):
        backbone.encode_image([PICTURE])
    with pytest.raises(CheckpointError, match="weights cannot be read"):
        backbone.condition_text(["a dog"])


def test_encoders_follow_the_precision_and_autoencoders_do_not(whole):
    backbone = loaded(whole, dtype="bf16")
    condition = backbone.condition_text(["a dog"])
    assert condition.states.dtype == condition.pooled.dtype == torch.float32
    parts = backbone._parts
    assert next(parts.clip_text.parameters()).dtype == torch.bfloat16
    assert backbone.pool_audio([SOUND]).dtype == torch.float32
    assert next(parts.audio_tower.parameters()).dtype == torch.bfloat16
    assert next(parts.image_autoencoder.parameters()).dtype == torch.float32


def test_offloaded_encoders_come_back(whole):
    backbone = loaded(whole)
    before = backbone.condition_text(["a dog"]).pooled
    backbone.offload_encoders()
    torch.testing.assert_close(backbone.condition_text(["a dog"]).pooled, before)


def test_a_vision_tower_can_come_from_elsewhere(folder, external):
    backbone = loaded(folder, clip=str(external / "clip_vit_l"))
    assert backbone.pool_image([PICTURE])[:, :24].any()


def test_a_text_tower_of_another_clip_is_passed_over(folder):
    # As in folders derived from Stable Diffusion 3.
    shutil.copytree(folder / "text_encoder_2", folder / "text_encoder")
    backbone = loaded(folder)
    with pytest.raises(UsageError, match="laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K"):
        backbone.pool_image([PICTURE])


def test_a_folder_without_an_image_vae_has_no_pictures(folder):
    shutil.rmtree(folder / "vae")
    backbone = loaded(folder)
    assert backbone.modalities == ("text", "audio")
    # A stand-in for an absent picture still has a shape.
    assert backbone.latent_shape("image") == (16, 16, 16)
    with pytest.raises(UsageError, match="vae/ is missing, which a picture needs") as caught:
        backbone.decode_image(torch.zeros(1, 16, 8, 8))
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["text_encoder_2", "tokenizer_2"])
def test_a_given_text_needs_the_second_clip(name, whole):
    shutil.rmtree(whole / name)
    with pytest.raises(UsageError, match=f"{name}/ is missing, which a given text needs"):
        loaded(whole).condition_text(["a dog"])


def test_audio_of_another_shape_than_the_hubs_needs_a_vae_of_its_own(folder, external):
    rewrite(folder / "transformer" / "config.json", audio_height=128)
    assert PublishedBackbone(path=str(folder)).modalities == ("image", "text")
    shutil.copytree(external / "audioldm2" / "vae", folder / "audio_vae")
    assert PublishedBackbone(path=str(folder)).modalities == ("image", "text", "audio")


def test_a_part_that_is_named_must_be_there(folder):
    for option in ("clip", "audio_encoder", "audio_vae", "vocoder"):
        with pytest.raises(CheckpointError, match="there is no such folder"):
            PublishedBackbone(path=str(folder), **{option: "./nowhere"})


def test_a_vae_for_another_transformer_is_refused(folder):
    rewrite(folder / "vae" / "config.json", latent_channels=4)
    with pytest.raises(ConfigError, match="latent_channels is 4, expected 16"):
        PublishedBackbone(path=str(folder))


def test_long_texts_are_cut_with_a_warning_that_quotes_them(whole, caplog):
    backbone = loaded(whole)
    text = "dog " * 10_000
    with caplog.at_level(logging.WARNING):
        states = backbone.condition_text(["a dog", text]).states
    assert states.shape[1] == 77
    (record,) = caplog.records
    assert "CLIP reads 77 tokens of the prompt 'dog dog" in record.getMessage()
    assert "left out: " in record.getMessage()
    assert len(record.getMessage()) < 600


def test_pictures_and_their_size(folder):
    backbone = PublishedBackbone(path=str(folder), image_size=32)
    assert backbone.latent_shape("image") == (16, 4, 4)
    assert backbone.latent_shape("image", height=64, width=96) == (16, 8, 12)
    assert backbone.latent_shape("text") == (6, 16)
    for name in ("height", "width"):
        with pytest.raises(ConfigError, match=f"{name} is 40, expected a multiple of 16, at most"):
            backbone.latent_shape("image", **{name: 40})
        with pytest.raises(ConfigError, match=f"{name} is 512, expected .* at most 256"):
            backbone.latent_shape("image", **{name: 512})
    with pytest.raises(ConfigError, match="image_size is 20, expected a multiple of 16"):
        PublishedBackbone(path=str(folder), image_size=20)


def test_the_default_size_is_at_most_512(folder):
    rewrite(folder / "vae" / "config.json", sample_size=1024)
    rewrite(folder / "transformer" / "config.json", sample_size=128, pos_embed_max_size=192)
    assert PublishedBackbone(path=str(folder)).latent_shape("image") == (16, 64, 64)
    rewrite(folder / "transformer" / "config.json", pos_embed_max_size=16)
    assert PublishedBackbone(path=str(folder)).latent_shape("image") == (16, 32, 32)


def test_sizes_may_differ_along_the_sides():
    grid = ImageGrid(size=32, factor=8, patch_size=1, most_patches=8)
    assert grid.latent_size(None, 64) == (4, 8)
    assert grid.latent_size(24, None) == (3, 4)


def test_an_embedding_wider_than_the_slot_is_refused(whole):
    backbone = loaded(whole)
    backbone.pooled_dim = 20
    with pytest.raises(UsageError, match="its embedding is 24 wide, expected at most"):
        backbone.pool_image([PICTURE])


@pytest.mark.parametrize(
    ("task", "damaged"),
    [("t2i", "vae/diffusion_pytorch_model.safetensors"), ("t2a", "vocoder/config.json")],
)
def test_a_damaged_decoder_is_found_before_the_first_step(whole, task, damaged):
    (whole / damaged).write_bytes(b"not what it was")
    model = omniflow.build(
        backbone={"name": "folder", "path": str(whole)}, head="linear", refiner="none"
    )
    steps = []
    with pytest.raises(CheckpointError, match=damaged.split("/")[1]):
        model.generate(task, prompt="a dog", steps=2, progress=lambda *at: steps.append(at))
    assert steps == []
