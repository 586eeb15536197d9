"""LanguageBind's processor and audio tower against the reference implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from omniflow.encoders.languagebind import LanguageBindEncoder
from omniflow.interfaces import Audio, Sample
from omniflow.models.audio_segment import audio_segment
from omniflow.models.kaldi_fbank import kaldi_fbank
from omniflow.models.languagebind import resized_positions
from omniflow.models.languagebind_pixels import PixelConfig, sound_pixels
from omniflow.models.log_mel import LogMelConfig

DATA = Path(__file__).parent / "data"
TINY = DATA / "languagebind_audio_tiny"
META = json.loads((DATA / "audio_frontend" / "meta.json").read_text())
PUBLISHED = PixelConfig(mel_bins=112, frames=1036, mean=-4.2677393, std=4.5689974)
# The logarithm magnifies rounding in bands that are nearly silent.
WORST = 3e-4


@pytest.fixture(scope="module")
def sounds():
    return load_file(DATA / "audio_frontend" / "expected.safetensors")


@pytest.fixture(scope="module")
def reference():
    return load_file(TINY / "expected.safetensors")


@pytest.fixture(scope="module")
def encoder():
    return loaded(TINY)


def loaded(folder):
    encoder = LanguageBindEncoder(path=str(folder))
    encoder.load_weights()
    return encoder


def read(name):
    file = DATA / "audio_frontend" / f"{name}.wav"
    waveform, rate_hz = soundfile.read(file, dtype="float32", always_2d=True)
    return Audio(np.ascontiguousarray(waveform.T), rate_hz)


@pytest.fixture(scope="module")
def long_clip():
    mono = read("mono16k")
    return Audio(np.tile(mono.waveform, 6), mono.rate_hz)


@pytest.mark.parametrize("name", ["mono16k", "stereo44k"])
def test_short_sound_fills_all_three_channels(sounds, name):
    found = sound_pixels(read(name), PUBLISHED)
    assert found.shape == (3, 112, 1036)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    expected = sounds[f"{name}.languagebind_ch0_stride4"]
    # Another order of summation in the resampler shows in the quietest bands.
    worst = WORST if name == "mono16k" else 2e-3
    torch.testing.assert_close(found[0, ::4, ::4], expected, atol=worst, rtol=0)
    last = sounds[f"{name}.languagebind_ch0_last4frames"]
    torch.testing.assert_close(found[0, :, -4:], last, atol=worst, rtol=0)


def test_long_sound_gives_three_windows(sounds, long_clip):
    found = sound_pixels(long_clip, PUBLISHED)
    expected = sounds["long.languagebind_stride4x8"]
    torch.testing.assert_close(found[:, ::4, ::8], expected, atol=WORST, rtol=0)
    assert found.double().sum().item() == pytest.approx(META["languagebind"]["long"]["sum"], abs=1)


def test_sound_of_exactly_one_window(sounds, long_clip):
    found = sound_pixels(Audio(long_clip.waveform[:, :165_760], 16_000), PUBLISHED)
    expected = sounds["exact.languagebind_ch0_stride4"]
    torch.testing.assert_close(found[0, ::4, ::4], expected, atol=WORST, rtol=0)


@pytest.mark.parametrize(("samples", "frames"), [(165_761, 1034), (165_920, 1035), (165_999, 1035)])
def test_sound_just_above_one_window_is_padded_with_zeros(long_clip, samples, frames):
    found = sound_pixels(Audio(long_clip.waveform[:, :samples], 16_000), PUBLISHED)
    assert torch.equal(found[0], found[2])
    padding = torch.full((112, 1036 - frames), 4.2677393 / 4.5689974)
    torch.testing.assert_close(found[0, :, frames:], padding)
    assert not torch.isclose(found[0, :, frames - 1], padding[:, 0], atol=1e-3).all()


@pytest.mark.parametrize("name", ["mono16k", "stereo44k"])
def test_filter_bank_of_audio_mae(sounds, name):
    segment = audio_segment(read(name), LogMelConfig())
    found = (kaldi_fbank(segment - segment.mean(), mel_bins=128) + 4.2677393) / (2 * 4.5689974)
    expected = sounds[f"{name}.kaldi128_every8"]
    torch.testing.assert_close(found[::8][: len(expected)], expected, atol=2e-3, rtol=0)


@torch.no_grad()
def test_embeddings(encoder, reference):
    found = encoder.tower.tower(reference["pixel_values"])
    torch.testing.assert_close(found.image_embeds, reference["image_features"], atol=1e-5, rtol=0)
    states = found.last_hidden_state
    torch.testing.assert_close(states, reference["last_hidden_state"], atol=5e-5, rtol=0)
    nothing = encoder.tower.embed_nothing()
    torch.testing.assert_close(nothing, reference["image_features_of_zeros"], atol=1e-5, rtol=0)


def test_position_table_of_a_square_is_resized_to_the_grid(reference):
    rows, columns = json.loads((TINY / "keys.json").read_text())["grid"]
    found = resized_positions(reference["position_table_before"], rows, columns)
    torch.testing.assert_close(found, reference["position_table_after"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_embeddings_in_half_precision(reference):
    tower = loaded(TINY).tower.bfloat16()
    found = tower.embed(reference["pixel_values"]).float()
    # Three significant digits.
    torch.testing.assert_close(found, reference["image_features_bf16"], atol=0.03, rtol=0.02)


def test_from_a_sound_to_its_embedding():
    encoder = loaded(DATA / "pipeline_tiny" / "external" / "languagebind_audio")
    expected = load_file(DATA / "pipeline_tiny" / "encoders.safetensors")
    found = encoder.encode([Sample("0", audio=read("mono16k"))], "audio")
    torch.testing.assert_close(found, expected["audio.languagebind_embed"], atol=1e-4, rtol=0)
