"""Resampling against tones whose samples are known, and a slow evaluation of the same sum."""

import math

import numpy as np
import pytest

from omniflow.media.resample import resample


def tone(rate_hz, hertz=300.0, duration_s=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(int(rate_hz * duration_s)) / rate_hz)[None]


@pytest.mark.parametrize("from_hz", [8000, 11_025, 22_050, 24_000, 44_100, 48_000, 44_101])
def test_tone_stays_the_same_tone(from_hz):
    found = resample(tone(from_hz).astype(np.float32), from_hz, 16_000)
    assert found.dtype == np.float32
    expected = tone(16_000)[:, : found.shape[1]]
    # Silence begins at the ends; a filter of 6 zero crossings passes a tone within half a percent.
    inner = slice(200, -200)
    assert found.dtype == np.float32
    np.testing.assert_allclose(
        found[:, : expected.shape[1]][:, inner], expected[:, inner], atol=5e-3
    )


@pytest.mark.parametrize(("from_hz", "to_hz"), [(44_100, 16_000), (8000, 16_000), (3, 7)])
def test_every_sample_is_the_sum_of_its_definition(from_hz, to_hz):
    waveform = np.random.default_rng(0).standard_normal((2, 50)).astype(np.float32)
    found = resample(waveform, from_hz, to_hz)
    assert found.shape == (2, math.ceil(50 * to_hz / from_hz))
    band = 0.99 * min(1.0, to_hz / from_hz)
    for number in range(found.shape[1]):
        offsets = np.clip((np.arange(50) - number * from_hz / to_hz) * band, -6, 6)
        weights = np.sinc(offsets) * np.cos(offsets * np.pi / 12) ** 2 * band
        np.testing.assert_allclose(found[:, number], waveform @ weights, atol=1e-5)


def test_chunks_join_without_a_seam(monkeypatch):
    waveform = np.random.default_rng(0).standard_normal((1, 5000)).astype(np.float32)
    whole = resample(waveform, 44_100, 16_000)
    monkeypatch.setattr("omniflow.media.resample._CHUNK", 7)
    np.testing.assert_allclose(resample(waveform, 44_100, 16_000), whole, atol=1e-6)


def test_equal_rates_change_nothing():
    waveform = tone(16_000)
    assert resample(waveform, 16_000, 16_000) is waveform


def test_what_lies_above_the_new_band_is_gone():
    found = resample(tone(48_000, hertz=11_000.0).astype(np.float32), 48_000, 16_000)
    assert np.abs(found[:, 100:-100]).max() < 0.01
