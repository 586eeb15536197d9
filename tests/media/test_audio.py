"""Sounds from files and back, and every file that is refused."""

import builtins
import os

import numpy as np
import pytest
import soundfile

from omniflow.errors import DataError, UsageError
from omniflow.interfaces import Audio
from omniflow.media.audio import decode_audio, read_audio, write_wav


@pytest.fixture
def tone():
    time_s = np.arange(8000) / 8000
    both = [np.sin(2 * np.pi * hertz * time_s) for hertz in (440, 660)]
    return Audio((0.5 * np.stack(both)).astype(np.float32), 8000)


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        read_audio(path, **options)
    assert caught.value.where == str(path)
    return caught.value.problem


# Lossy formats keep the shape of a tone, not its samples.
@pytest.mark.parametrize(
    ("end", "worst"), [("wav", 4e-5), ("flac", 4e-5), ("ogg", 0.1), ("mp3", 0.1)]
)
def test_common_formats_are_read_with_all_channels(tmp_path, tone, end, worst):
    path = tmp_path / f"tone.{end}"
    soundfile.write(path, tone.waveform.T, tone.rate_hz)
    found = read_audio(path)
    assert found.rate_hz == 8000
    assert found.waveform.dtype == np.float32
    assert found.waveform.shape[0] == 2
    if end != "mp3":  # An encoder of this format puts silence around the sound.
        assert found.waveform.shape[1] == 8000
    middle = slice(2000, 6000)
    if end == "mp3":
        assert np.abs(found.waveform[:, middle]).max() == pytest.approx(0.5, abs=worst)
    else:
        assert np.abs(found.waveform - tone.waveform)[:, middle].max() < worst


@pytest.mark.parametrize("end", ["wav", "flac", "mp3"])
def test_bytes_are_read_as_their_file(tmp_path, tone, end):
    path = tmp_path / f"a.{end}"
    soundfile.write(path, tone.waveform.T, tone.rate_hz)
    content, expected = path.read_bytes(), read_audio(path)
    found = decode_audio(content)
    assert found.rate_hz == expected.rate_hz
    np.testing.assert_array_equal(found.waveform, expected.waveform)
    for damaged in (b"", b"words"):
        with pytest.raises(DataError) as caught:
            decode_audio(damaged, where="record 7")
        assert caught.value.where == "record 7"


def test_what_was_written_is_read_back(tmp_path, tone):
    write_wav(tmp_path / "a" / "tone.wav", tone)
    found = read_audio(tmp_path / "a" / "tone.wav")
    assert found.rate_hz == tone.rate_hz
    np.testing.assert_allclose(found.waveform, tone.waveform, atol=0.5 / 32_768 + 1e-9)
    write_wav(tmp_path / "again.wav", found)
    again = read_audio(tmp_path / "again.wav")
    np.testing.assert_array_equal(again.waveform, found.waveform)
    assert soundfile.info(tmp_path / "again.wav").subtype == "PCM_16"


def test_what_is_too_loud_is_clipped(tmp_path):
    write_wav(tmp_path / "loud.wav", Audio(np.full((1, 200), 3.0, np.float32), 16_000))
    assert read_audio(tmp_path / "loud.wav").waveform.max() == 32_767 / 32_768
    write_wav(tmp_path / "loud.wav", Audio(np.full((1, 200), -3.0, np.float32), 16_000))
    assert read_audio(tmp_path / "loud.wav").waveform.min() == -1.0


def test_failed_write_leaves_the_old_file(tmp_path, tone):
    path = tmp_path / "tone.wav"
    write_wav(path, tone)
    before = path.read_bytes()
    with pytest.raises(DataError, match="not finite"):
        write_wav(path, Audio(np.full((1, 200), np.nan, np.float32), 16_000))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["tone.wav"]


def test_folder_cannot_be_written_to(tmp_path, tone):
    (tmp_path / "tone.wav").mkdir()
    with pytest.raises(UsageError, match="cannot be written"):
        write_wav(tmp_path / "tone.wav", tone)


def test_missing_file(tmp_path):
    assert refusal(tmp_path / "no.wav") == "there is no such file"


def test_folder(tmp_path):
    assert refusal(tmp_path) == "is not a regular file"


def test_empty_file(tmp_path):
    (tmp_path / "empty.wav").touch()
    assert refusal(tmp_path / "empty.wav") == "the file is empty"


def test_text_is_no_sound(tmp_path):
    (tmp_path / "text.wav").write_text("once upon a time" * 100)
    assert refusal(tmp_path / "text.wav").startswith("cannot be read as a sound (")


def test_truncated_file(tmp_path, tone):
    path = tmp_path / "tone.flac"
    soundfile.write(path, tone.waveform.T, tone.rate_hz)
    path.write_bytes(path.read_bytes()[:30])
    assert refusal(path).startswith("cannot be read as a sound (")


def test_mp3_without_a_frame_is_there_all_the_same(tmp_path):
    (tmp_path / "tag.mp3").write_bytes(b"ID3\x04\0\0\0\0\0\x0a" + bytes(10))
    expected = "cannot be read as a sound (its decoder finds nothing in it)"
    assert refusal(tmp_path / "tag.mp3") == expected


@pytest.mark.parametrize("samples", [0, 1, 100])
def test_sound_too_short_to_be_heard(tmp_path, samples):
    soundfile.write(tmp_path / "click.wav", np.zeros(samples), 16_000)
    assert refusal(tmp_path / "click.wav") == f"the sound has {samples} samples"


def test_101_samples_are_a_sound(tmp_path):
    soundfile.write(tmp_path / "click.wav", np.zeros(101), 16_000)
    assert read_audio(tmp_path / "click.wav").waveform.shape == (1, 101)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite(tmp_path, value):
    samples = np.zeros(200, np.float32)
    samples[7] = value
    soundfile.write(tmp_path / "nan.wav", samples, 16_000, subtype="FLOAT")
    assert refusal(tmp_path / "nan.wav") == "the sound has samples that are not finite"


def test_samples_whose_mean_would_overflow(tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.full(200, 1e38, np.float32), 16_000, subtype="FLOAT")
    assert refusal(tmp_path / "loud.wav") == "the sound has samples as large as 1e+38"


def test_sound_beyond_the_limit_is_refused_unread(tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(3600 * 1000), 1000)
    assert refusal(tmp_path / "long.flac") == "the sound lasts 3600 s"
    assert read_audio(tmp_path / "long.flac", limit_s=3600).waveform.shape == (1, 3_600_000)


def test_absurd_number_of_channels_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr("omniflow.media.audio._MOST_SAMPLES", 1000)
    soundfile.write(tmp_path / "wide.wav", np.zeros((300, 4)), 16_000)
    assert refusal(tmp_path / "wide.wav") == "the sound has 300 samples in each of 4 channels"


def test_missing_package_is_told_with_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "soundfile":
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"omniflow-zoo\[audio\]"):
        read_audio(tmp_path / "tone.wav")
