"""The front ends of audio against the reference implementation."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from omniflow.interfaces import Audio
from omniflow.models.audio_segment import audio_segment
from omniflow.models.log_mel import LogMelConfig, log_mel, mel_filterbank

DATA = Path(__file__).parent / "data" / "audio_frontend"
META = json.loads((DATA / "meta.json").read_text())
CONFIG = LogMelConfig()
CLIPS = ("mono16k", "stereo44k")


@pytest.fixture(scope="module")
def reference():
    return load_file(DATA / "expected.safetensors")


def read(name):
    waveform, rate_hz = soundfile.read(DATA / f"{name}.wav", dtype="float32", always_2d=True)
    return Audio(np.ascontiguousarray(waveform.T), rate_hz)


@pytest.fixture(scope="module")
def long_clip():
    mono = read("mono16k")
    return Audio(np.tile(mono.waveform, 6), mono.rate_hz)


def test_mel_filterbank(reference):
    found = mel_filterbank(CONFIG)
    assert found.shape == (64, 513)
    torch.testing.assert_close(found[:, ::4], reference["mel_filterbank"], atol=1e-7, rtol=1e-5)


@pytest.mark.parametrize("name", CLIPS)
def test_waveform_is_resampled_centred_and_scaled(reference, name):
    expected = reference[f"{name}.waveform_16k_normalised_head"]
    found = audio_segment(read(name), CONFIG)
    assert found.shape == (163_840,)
    torch.testing.assert_close(found[: len(expected)], expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("name", CLIPS)
def test_log_mel(reference, name):
    expected = reference[f"{name}.log_mel_head"]
    found = log_mel(audio_segment(read(name), CONFIG)[None], CONFIG)[0]
    assert found.shape == (1024, 64)
    # Near silence the logarithm magnifies the rounding of the resampled waveform.
    tolerance = 2e-4 if name == "mono16k" else 2e-3
    torch.testing.assert_close(found[: len(expected)], expected, atol=tolerance, rtol=0)
    tail = found[len(expected) :]
    torch.testing.assert_close(tail, torch.full_like(tail, META["log_mel"][name]["tail_value"]))
    assert found.double().sum().item() == pytest.approx(META["log_mel"][name]["sum"], abs=1.0)


def test_log_mel_of_a_window(reference, long_clip):
    start = META["log_mel"]["long"]["crop_start"]
    found = log_mel(audio_segment(long_clip, CONFIG, start=start)[None], CONFIG)[0]
    torch.testing.assert_close(found[::8], reference["long.log_mel_stride8"], atol=2e-4, rtol=0)
