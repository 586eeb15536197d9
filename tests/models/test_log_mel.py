"""The log-mel front end: its constants, its window, its closed forms."""

import json
import math

import numpy as np
import pytest
import torch

from omniflow.errors import CheckpointError, ConfigError, DataError, UnknownNameError
from omniflow.interfaces import Audio
from omniflow.models.audio_segment import audio_segment
from omniflow.models.log_mel import LogMelConfig, log_mel, mel_filterbank

SHORT = LogMelConfig(frames=16, hop_length=128)


def ramp(samples, rate_hz=16_000):
    return Audio(np.linspace(-1, 1, samples, dtype=np.float32)[None], rate_hz)


def test_silence_is_the_floor():
    found = log_mel(torch.zeros(2, SHORT.samples), SHORT)
    torch.testing.assert_close(found, torch.full((2, 16, 64), math.log(1e-5)))


def test_tone_is_the_filterbank_times_the_window_s_transform():
    # A tone on Fourier bin 100 under a periodic Hann window: N/4 there, half of it beside.
    waveform = torch.cos(2 * torch.pi * 100 * torch.arange(SHORT.samples) / 1024)[None]
    bank = mel_filterbank(SHORT)
    bands = 256 * bank[:, 100] + 128 * (bank[:, 99] + bank[:, 101])
    found = log_mel(waveform, SHORT)[0, 8].exp()
    loud = bands > 0.1
    assert loud.sum() >= 2
    torch.testing.assert_close(found[loud], bands[loud], rtol=1e-3, atol=0)


def test_segment_has_no_mean_and_a_peak_of_one_half():
    found = audio_segment(ramp(SHORT.samples), SHORT)
    assert found.mean().item() == pytest.approx(0, abs=1e-6)
    assert found.abs().max().item() == pytest.approx(0.5)


def test_short_sound_is_followed_by_zeros():
    found = audio_segment(ramp(500), SHORT)
    assert found.shape == (SHORT.samples,)
    assert found[:500].abs().max() == 0.5
    assert torch.equal(found[500:], torch.zeros(SHORT.samples - 500))


def test_silence_stays_silence():
    found = audio_segment(Audio(np.zeros((1, 500), np.float32), 16_000), SHORT)
    assert torch.equal(found, torch.zeros(SHORT.samples))


def test_only_the_first_channel_is_used():
    both = np.stack([ramp(500).waveform[0], np.ones(500, np.float32)])
    assert torch.equal(audio_segment(Audio(both, 16_000), SHORT), audio_segment(ramp(500), SHORT))


@pytest.mark.parametrize("rate_hz", [11_025, 44_100])
def test_window_of_the_published_models_is_10_24_seconds_of_the_sound(rate_hz):
    config = LogMelConfig()
    samples = int(rate_hz * 10.24)
    sound = ramp(samples + 7, rate_hz)
    first = Audio(sound.waveform[:, :samples], rate_hz)
    assert torch.equal(audio_segment(sound, config), audio_segment(first, config))


def test_window_starts_at_a_sample_of_the_sound():
    sound = ramp(10_000, 44_100)
    later = Audio(sound.waveform[:, 7:], 44_100)
    assert torch.equal(audio_segment(sound, SHORT, start=7), audio_segment(later, SHORT))


@pytest.mark.parametrize("start", [-1, 8])
def test_window_beyond_the_sound_is_refused(start):
    with pytest.raises(ConfigError, match=rf"start is {start}, expected a sample in \[0, 7\]"):
        audio_segment(ramp(SHORT.samples + 7), SHORT, start=start)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (ramp(100), "the sound has 100 samples"),
        (
            Audio(np.zeros(500, np.float32), 16_000),
            r"shape \[500\], expected \[channels, samples\]",
        ),
        (Audio(np.zeros((0, 500), np.float32), 16_000), r"shape \[0, 500\]"),
        (Audio(np.full((1, 500), np.inf, np.float32), 16_000), "not finite"),
        (ramp(500, rate_hz=0), "the rate is 0 Hz"),
    ],
)
def test_sound_that_cannot_be_used_is_refused(audio, message):
    with pytest.raises(DataError, match=message):
        audio_segment(audio, SHORT)


def test_config_survives_a_file(tmp_path):
    assert LogMelConfig.from_folder(tmp_path) == LogMelConfig()
    content = {**SHORT.to_dict(), "_comment": "short"}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(content))
    assert LogMelConfig.from_folder(tmp_path) == SHORT


def test_config_file_that_is_no_object_is_refused(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text("[]")
    with pytest.raises(CheckpointError, match="it holds a list, expected a JSON object"):
        LogMelConfig.from_folder(tmp_path)


def test_unknown_key_is_refused():
    with pytest.raises(UnknownNameError, match="mel_bands"):
        LogMelConfig.from_dict({"mel_bands": 64})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, "frames is 0, expected a whole number >= 1"),
        ({"mel_bins": 64.0}, r"mel_bins is 64\.0"),
        ({"hop_length": True}, "hop_length is True"),
        ({"fmin_hz": "0"}, "fmin_hz is '0', expected a number"),
        ({"fmax_hz": 8001.0}, "at most 8000"),
        ({"fmin_hz": 9000.0}, r"more than fmin_hz, 9000\.0"),
        ({"fmin_hz": math.nan}, "fmin_hz"),
        ({"filter_length": 1023}, "an even number"),
        ({"hop_length": 2048}, "at least hop_length, 2048"),
        ({"frames": 3}, "more than 512 samples in a segment"),
    ],
)
def test_impossible_constants_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        LogMelConfig(**changes)
