"""The audio and image autoencoders against the reference implementation."""

from pathlib import Path

import pytest
import soundfile
import torch
from PIL import Image
from safetensors.torch import load_file

from omniflow.interfaces import Audio
from omniflow.models.audio_autoencoder import AudioAutoencoder
from omniflow.models.autoencoder import LatentAutoencoder
from omniflow.models.griffin_lim import GriffinLim
from omniflow.models.image_autoencoder import ImageAutoencoder
from omniflow.models.log_mel import LogMelConfig

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def reference():
    return load_file(DATA / "audio_vae_tiny" / "expected.safetensors")


@pytest.fixture(scope="module")
def autoencoder():
    return LatentAutoencoder(DATA / "audio_vae_tiny")


def test_latents_of_the_mean(autoencoder, reference):
    found = autoencoder.encode(reference["log_mel"])
    torch.testing.assert_close(found, reference["scaled_latent_of_mean"], atol=1e-5, rtol=1e-5)


def test_sampled_latents(autoencoder, reference):
    noise = torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    std = torch.exp(0.5 * reference["posterior_logvar"])
    expected = (reference["posterior_mean"] + std * noise) * 0.4110932946205139
    found = autoencoder.encode(reference["log_mel"], noise)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_decoded_log_mel(autoencoder, reference):
    found = autoencoder.decode_inputs(reference["scaled_latent_of_mean"])
    torch.testing.assert_close(found, reference["decoded"], atol=1e-4, rtol=1e-5)


@pytest.fixture(scope="module")
def pipeline():
    return load_file(DATA / "pipeline_tiny" / "encoders.safetensors")


@pytest.fixture(scope="module")
def image_autoencoder():
    return ImageAutoencoder(DATA / "pipeline_tiny" / "checkpoint" / "vae")


def test_image_latents(image_autoencoder, pipeline):
    image = Image.open(DATA / "pipeline_tiny" / "input_image.png")
    noise = load_file(DATA / "pipeline_tiny" / "noise.safetensors")["posterior_image"]
    pixels = image_autoencoder.pixels([image], 64)
    mean, std = pipeline["image.vae_mean"], pipeline["image.vae_std"]
    found = image_autoencoder.encode(pixels)
    torch.testing.assert_close(found, mean * 1.5305, atol=1e-5, rtol=1e-5)
    sampled = image_autoencoder.encode(pixels, noise)
    torch.testing.assert_close(sampled, (mean + std * noise) * 1.5305, atol=1e-5, rtol=1e-5)


def test_image_latents_of_grey(image_autoencoder, pipeline):
    found = image_autoencoder.encode(torch.zeros(1, 3, 64, 64))
    expected = pipeline["image.vae_mean_of_zero_pixels"] * 1.5305
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_audio_latents_of_the_pipeline(pipeline):
    autoencoder = AudioAutoencoder(
        DATA / "pipeline_tiny" / "external" / "audioldm2" / "vae",
        LogMelConfig(),
        GriffinLim(LogMelConfig()),
    )
    waveform, rate_hz = soundfile.read(DATA / "audio_frontend" / "mono16k.wav", dtype="float32")
    found = autoencoder.encode(autoencoder.log_mel([Audio(waveform[None], rate_hz)]))
    assert found.shape == (1, *autoencoder.latent_shape) == (1, 8, 256, 16)
    expected = pipeline["audio.vae_mean_stride"] * autoencoder.scaling_factor
    torch.testing.assert_close(found[:, :, ::4, ::2], expected, atol=1e-4, rtol=1e-4)
