from random import Random

import numpy as np
import pytest
import torch

from omniflow.interfaces.dataset import Audio
from omniflow.models.griffin_lim import GriffinLim
from omniflow.models.log_mel import LogMelConfig, log_mel
from omniflow.scenes.grammar import BACKGROUNDS, PLACES, SHAPES, Scene, Thing, draw_scene
from omniflow.scenes.reading import Reading, compare
from omniflow.scenes.sound import RATE_HZ, render_sound
from omniflow.scenes.sound_reader import read_sound

# The front end of small audio models: 1.024 s, a frame each 8 ms.
FRONT_END = LogMelConfig(frames=128, hop_length=128)


def scenes(count):
    return [
        draw_scene(Random(f"sound/{seed}"), ("train", "validation", "test")[seed % 3])
        for seed in range(count)
    ]


def accuracy(spoil, count):
    return np.mean(
        [compare(read_sound(spoil(render_sound(one))), one).accuracy for one in scenes(count)]
    )


def through_log_mel(audio, noise=0.0):
    """The sound after its phases were lost: log-mel, least squares and Griffin-Lim."""
    waveform = audio.waveform * (0.5 / np.abs(audio.waveform).max())
    padded = torch.zeros(1, FRONT_END.samples)
    padded[:, : waveform.shape[1]] = torch.from_numpy(waveform)
    bands = log_mel(padded, FRONT_END)
    bands = bands + noise * torch.randn(bands.shape, generator=torch.Generator().manual_seed(0))
    restored = GriffinLim(FRONT_END, iterations=16).synthesise(bands)
    return Audio(restored.numpy(), FRONT_END.sample_rate_hz)


def resampled(audio, rate_hz):
    spectrum = np.fft.rfft(audio.waveform[0])
    samples = round(audio.waveform.shape[1] * rate_hz / RATE_HZ)
    longer = np.fft.irfft(np.pad(spectrum, (0, samples // 2 + 1 - len(spectrum))), samples)
    return longer * samples / audio.waveform.shape[1]


def test_clean_sounds_are_read():
    assert accuracy(lambda audio: audio, 24) >= 0.98


def test_sounds_are_read_after_a_log_mel():
    assert accuracy(through_log_mel, 12) >= 0.95


def test_sounds_are_read_after_a_noisy_log_mel():
    assert accuracy(lambda audio: through_log_mel(audio, noise=0.5), 8) >= 0.95


def test_white_noise_does_not_disturb():
    rng = np.random.default_rng(0)

    def noisy(audio):
        return Audio(audio.waveform + rng.normal(0, 0.01, audio.waveform.shape), audio.rate_hz)

    assert accuracy(noisy, 8) >= 0.95


@pytest.mark.parametrize("place", PLACES)
def test_a_lone_thing_is_heard_at_every_place(place):
    for number, shape in enumerate(SHAPES):
        size = ("small", "medium", "large")[number % 3]
        scene = Scene((Thing(shape, "yellow", size),), BACKGROUNDS[number % 4], place)
        assert read_sound(render_sound(scene)) == Reading.of(scene)


def test_loudness_rate_and_channels_do_not_matter():
    things = Thing("star", "red", "small"), Thing("circle", "pink", "large")
    scene = Scene(things, "black", None, "inside")
    audio = render_sound(scene)
    stereo = np.stack([resampled(audio, 44_100)] * 2)
    for waveform, rate_hz in (
        (audio.waveform * 0.02, RATE_HZ),
        (audio.waveform * 3.0, RATE_HZ),
        (audio.waveform[0], RATE_HZ),
        (stereo, 44_100),
    ):
        assert read_sound(Audio(waveform, rate_hz)) == Reading.of(scene)


def test_what_follows_after_a_second_is_not_listened_to():
    scene = Scene((Thing("cross", "green", "medium"),), "white", "bottom")
    longer = np.concatenate([render_sound(scene).waveform, render_sound(scene).waveform], axis=1)
    assert read_sound(Audio(longer, RATE_HZ)) == Reading.of(scene)


@pytest.mark.parametrize("samples", [0, 1, 16_000])
def test_silence_says_nothing(samples):
    assert read_sound(Audio(np.zeros((1, samples), np.float32), RATE_HZ)) == Reading()


def test_samples_that_are_no_numbers_are_silence():
    assert read_sound(Audio(np.full((1, 16_000), np.nan), RATE_HZ)) == Reading()


def test_noise_reads_as_something():
    noise = np.random.default_rng(0).normal(0, 0.3, (1, 16_000))
    assert isinstance(read_sound(Audio(noise, RATE_HZ)), Reading)


def test_different_scenes_sound_different():
    heard = {}
    for scene in scenes(200):
        sound = render_sound(scene).waveform.round(4).tobytes()
        assert heard.setdefault(sound, scene) == scene
