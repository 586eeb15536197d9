"""The autoencoders: pictures and sounds in, pictures and sounds out, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from omniflow.errors import CheckpointError, ConfigError, DataError, OmniFlowError
from omniflow.interfaces import Audio
from omniflow.models import autoencoder as module
from omniflow.models.audio_autoencoder import AudioAutoencoder
from omniflow.models.autoencoder import LatentAutoencoder
from omniflow.models.griffin_lim import GriffinLim
from omniflow.models.image_autoencoder import ImageAutoencoder
from omniflow.models.log_mel import LogMelConfig

DATA = Path(__file__).parents[1] / "parity" / "data"
IMAGE_VAE = DATA / "pipeline_tiny" / "checkpoint" / "vae"
AUDIO_VAE = DATA / "audio_vae_tiny"
WEIGHTS = "diffusion_pytorch_model"
SHORT = LogMelConfig(frames=32, hop_length=128)


@pytest.fixture(scope="module")
def image_vae():
    return ImageAutoencoder(IMAGE_VAE)


@pytest.fixture(scope="module")
def audio_vae():
    return AudioAutoencoder(AUDIO_VAE, SHORT, GriffinLim(SHORT, iterations=2))


@pytest.fixture
def folder(tmp_path):
    """A copy of the audio VAE that a test may damage."""
    return Path(shutil.copytree(AUDIO_VAE, tmp_path / "vae", copy_function=shutil.copyfile))


def noise(samples, rate_hz=16_000, seed=0):
    waveform = np.random.default_rng(seed).normal(0, 0.1, (1, samples)).astype(np.float32)
    return Audio(waveform, rate_hz)


def test_pixels_are_the_middle_square_in_minus_one_to_one(image_vae):
    # Left third black, middle white, right black; the middle square is all white.
    picture = Image.new("RGB", (96, 32))
    picture.paste("white", (32, 0, 64, 32))
    found = image_vae.pixels([picture, Image.new("L", (32, 40), 128)], 32)
    assert found.shape == (2, 3, 32, 32)
    assert torch.equal(found[0], torch.ones(3, 32, 32))
    torch.testing.assert_close(found[1], torch.full((3, 32, 32), 128 / 127.5 - 1))


@pytest.mark.parametrize(("width", "height"), [(100, 67), (67, 100), (33, 32), (31, 200), (5, 3)])
def test_pixels_are_resized_before_they_are_cut(image_vae, width, height):
    array = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    found = image_vae.pixels([Image.fromarray(array)], 32)[0]
    # The sizes and offsets of torchvision's Resize and CenterCrop, written out.
    long = int(32 * max(width, height) / min(width, height))
    size = (32, long) if width <= height else (long, 32)
    resized = np.asarray(Image.fromarray(array).resize(size, Image.Resampling.BILINEAR))
    top, left = round((size[1] - 32) / 2.0), round((size[0] - 32) / 2.0)
    expected = resized[top : top + 32, left : left + 32] / 127.5 - 1
    np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=1e-6)


@pytest.mark.parametrize("size", [0, 4, 60])
def test_square_without_whole_latents_is_refused(image_vae, size):
    with pytest.raises(ConfigError, match=f"size is {size}, expected a multiple of 8"):
        image_vae.pixels([Image.new("RGB", (64, 64))], size)


def test_decoded_pictures_are_the_network_s_output_in_bytes(image_vae):
    latents = torch.randn(2, 16, 4, 4, generator=torch.Generator().manual_seed(0))
    pictures = image_vae.decode(latents)
    with torch.no_grad():
        raw = image_vae.network.decode(latents / 1.5305 + 0.0609).sample
    expected = ((raw.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1)
    assert [picture.size for picture in pictures] == [(32, 32), (32, 32)]
    np.testing.assert_allclose(
        np.stack([np.asarray(picture) for picture in pictures]).astype(int),
        expected.numpy().astype(int),
        atol=1,
    )


def test_pixels_that_are_no_numbers_are_no_picture(image_vae):
    latents = torch.full((1, 16, 4, 4), float("nan"))
    with pytest.raises(OmniFlowError, match="image VAE: the pictures have pixels that are not"):
        image_vae.decode(latents)


def test_large_batches_go_through_in_slices_with_the_same_result(image_vae, monkeypatch):
    inputs = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = image_vae.encode(inputs)
    decoded = image_vae.decode_inputs(whole)
    monkeypatch.setattr(module, "_AREA_AT_ONCE", 2 * 16 * 16)
    seen = []
    image_vae.network.encoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    image_vae.network.decoder.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    torch.testing.assert_close(image_vae.encode(inputs), whole)
    torch.testing.assert_close(image_vae.decode_inputs(whole), decoded)
    assert seen == [2, 2, 1] * 2


def test_nothing_in_it_trains(audio_vae):
    assert not any(parameter.requires_grad for parameter in audio_vae.parameters())
    assert not audio_vae.network.training


def test_sound_to_latents_and_back(audio_vae):
    sounds = [noise(2000), noise(20_000, rate_hz=22_050, seed=1)]
    log_mels = audio_vae.log_mel(sounds)
    assert log_mels.shape == (2, 1, 32, 64)
    latents = audio_vae.encode(log_mels)
    assert latents.shape == (2, *audio_vae.latent_shape) == (2, 8, 8, 16)
    decoded = audio_vae.decode(latents)
    assert decoded.shape == log_mels.shape
    made = audio_vae.synthesise(decoded)
    assert [sound.waveform.shape for sound in made] == [(1, 32 * 128)] * 2
    assert {sound.rate_hz for sound in made} == {16_000}
    assert made[0].waveform.dtype == np.float32


def test_of_a_long_sound_the_beginning_is_heard(audio_vae):
    sound = noise(20_000)
    first = Audio(sound.waveform[:, : 32 * 128], 16_000)
    assert torch.equal(audio_vae.log_mel([sound]), audio_vae.log_mel([first]))


def test_sound_that_cannot_be_used_is_refused(audio_vae):
    with pytest.raises(DataError, match="not finite"):
        audio_vae.log_mel([Audio(np.full((1, 200), np.nan, np.float32), 16_000)])


def test_front_end_without_whole_latents_is_refused():
    config = LogMelConfig(frames=30)
    with pytest.raises(ConfigError, match="frames is 30, expected a multiple of 4"):
        AudioAutoencoder(AUDIO_VAE, config, GriffinLim(config))


def test_vocoder_of_other_bands_is_refused():
    with pytest.raises(ConfigError, match="mel_bins is 64, expected 32"):
        AudioAutoencoder(AUDIO_VAE, SHORT, GriffinLim(LogMelConfig(mel_bins=32)))


def test_weights_may_be_a_pickle_of_tensors(folder):
    tensors = load_file(folder / f"{WEIGHTS}.safetensors")
    (folder / f"{WEIGHTS}.safetensors").unlink()
    torch.save(tensors, folder / f"{WEIGHTS}.bin")
    inputs = torch.zeros(1, 1, 16, 16)
    expected = LatentAutoencoder(AUDIO_VAE).encode(inputs)
    assert torch.equal(LatentAutoencoder(folder).encode(inputs), expected)


def test_pickle_that_would_run_code_is_refused(folder, tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    (folder / f"{WEIGHTS}.safetensors").unlink()
    torch.save({"encoder.conv_in.bias": Harmful()}, folder / f"{WEIGHTS}.bin")
    with pytest.raises(CheckpointError, match="its weights cannot be read"):
        LatentAutoencoder(folder)
    assert not (tmp_path / "harm").exists()


def test_missing_files_are_named(folder):
    (folder / f"{WEIGHTS}.safetensors").unlink()
    with pytest.raises(CheckpointError, match=rf"{WEIGHTS}\.safetensors is missing"):
        LatentAutoencoder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: there is no such file"):
        LatentAutoencoder(folder)


def test_damaged_weights_are_refused(folder):
    file = folder / f"{WEIGHTS}.safetensors"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="its weights cannot be read") as caught:
        LatentAutoencoder(folder)
    assert caught.value.where == str(folder)


def test_missing_tensor_is_named(folder):
    file = folder / f"{WEIGHTS}.safetensors"
    tensors = load_file(file)
    del tensors["quant_conv.bias"]
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 tensors are missing\n.*quant_conv\.bias"):
        LatentAutoencoder(folder)


def test_another_model_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_class_name": "VQModel"}))
    with pytest.raises(CheckpointError, match="its class is 'VQModel', expected AutoencoderKL"):
        LatentAutoencoder(folder)
