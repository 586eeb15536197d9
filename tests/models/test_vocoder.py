"""Vocoders: what they make of a log-mel, and what is refused."""

import json
import shutil
import time

import pytest
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from omniflow.datasets.scenes import ScenesDataset
from omniflow.errors import CheckpointError, ConfigError, UnknownNameError
from omniflow.models.audio_segment import audio_segment
from omniflow.models.griffin_lim import GriffinLim, fit_spectrum
from omniflow.models.log_mel import LogMelConfig, log_mel, mel_filterbank
from omniflow.models.vocoder import load_vocoder

SECOND = LogMelConfig(frames=128, hop_length=128)
HIFIGAN = LogMelConfig(frames=16, hop_length=8, filter_length=64, mel_bins=10)


@pytest.fixture(scope="module")
def scenes():
    dataset = ScenesDataset(split="validation", size=2, image=False)
    return torch.stack([audio_segment(sample.audio, SECOND) for sample in dataset])


@pytest.fixture(scope="module")
def hifigan(tmp_path_factory):
    torch.manual_seed(0)
    sizes = SpeechT5HifiGanConfig(
        model_in_dim=10,
        sampling_rate=16_000,
        upsample_initial_channel=8,
        upsample_rates=[4, 2],
        upsample_kernel_sizes=[8, 4],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1, 3]],
        normalize_before=False,
    )
    model = SpeechT5HifiGan(sizes).eval()
    folder = tmp_path_factory.mktemp("vocoder")
    model.save_pretrained(folder)
    return folder, model


def griffin_lim_folder(folder, **options):
    (folder / "config.json").write_text(json.dumps({"model_type": "griffin-lim", **options}))
    return folder


def test_sound_of_griffin_lim_has_the_log_mel_it_was_made_of(scenes):
    wanted = log_mel(scenes, SECOND)
    made = GriffinLim(SECOND).synthesise(wanted)
    assert made.shape == scenes.shape
    assert made.abs().max() <= 1
    error = (log_mel(made, SECOND) - wanted).abs()
    # Measured 0.12 on average, 0.19 where something sounds; silence would be 3 away from it.
    assert error.mean() < 0.16
    assert error[wanted > -6].mean() < 0.25


def test_more_rounds_come_closer(scenes):
    wanted = log_mel(scenes, SECOND)
    errors = [
        (log_mel(GriffinLim(SECOND, iterations=n).synthesise(wanted), SECOND) - wanted).abs().mean()
        for n in (1, 6, 24)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_griffin_lim_repeats_itself_whatever_the_batch(scenes):
    wanted = log_mel(scenes, SECOND)
    vocoder = GriffinLim(SECOND, iterations=4)
    torch.manual_seed(1)
    together = vocoder.synthesise(wanted)
    torch.manual_seed(2)
    assert torch.equal(vocoder.synthesise(wanted), together)
    alone = vocoder.synthesise(wanted[1:])
    # Another batch size takes another matrix kernel.
    torch.testing.assert_close(alone[0], together[1], atol=1e-3, rtol=0)


def test_griffin_lim_keeps_silence_silent():
    silence = log_mel(torch.zeros(1, SECOND.samples), SECOND)
    assert GriffinLim(SECOND, iterations=8).synthesise(silence).abs().max() < 1e-3


def test_griffin_lim_makes_a_second_of_sound_in_well_under_a_second(scenes):
    wanted = log_mel(scenes[:1], SECOND)
    started = time.process_time()
    GriffinLim(SECOND).synthesise(wanted)
    # Measured 0.2 s; processor time counts the threads of a library too.
    assert time.process_time() - started < 1.0


def test_fitting_a_spectrum_never_raises_the_error():
    generator = torch.Generator().manual_seed(0)
    bank = mel_filterbank(SECOND)
    bands = bank @ torch.rand(1, 513, 3, generator=generator)
    guess = torch.rand(1, 513, 3, generator=generator)
    errors = []
    for _ in range(10):
        errors.append((bank @ guess - bands).square().sum().item())
        guess = fit_spectrum(guess, bands, bank, steps=1)
        assert (guess >= 0).all()
    assert errors == sorted(errors, reverse=True)
    exact = fit_spectrum(guess, bands, bank, steps=500)
    torch.testing.assert_close(bank @ exact, bands, rtol=0.01, atol=1e-4)


def test_folder_says_which_vocoder(tmp_path):
    found = load_vocoder(griffin_lim_folder(tmp_path, iterations=5, seed=3), SECOND)
    assert isinstance(found, GriffinLim)
    assert (found.iterations, found.seed, found.mel_bins) == (5, 3, 64)
    assert found.sample_rate_hz == 16_000


@torch.no_grad()
def test_hifigan_is_loaded_and_read_frame_by_bin(hifigan):
    folder, model = hifigan
    vocoder = load_vocoder(folder, HIFIGAN)
    log_mels = torch.randn(3, 16, 10, generator=torch.Generator().manual_seed(0))
    found = vocoder.synthesise(log_mels)
    assert found.shape == (3, 16 * 8)
    torch.testing.assert_close(found, model(log_mels), atol=1e-6, rtol=1e-5)
    assert not any(parameter.requires_grad for parameter in vocoder.parameters())


def test_hifigan_under_its_former_name_is_loaded(hifigan, tmp_path):
    folder = shutil.copytree(hifigan[0], tmp_path / "former")
    content = json.loads((folder / "config.json").read_text())
    # transformers called it so before its release 5.
    (folder / "config.json").write_text(json.dumps({**content, "model_type": "hifigan"}))
    assert load_vocoder(folder, HIFIGAN).mel_bins == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hop_length": 16}, "hop_length is 16, expected 8, as the vocoder reads"),
        ({"mel_bins": 20}, "mel_bins is 20, expected 10"),
        ({"sample_rate_hz": 24_000}, "sample_rate_hz is 24000, expected 16000"),
    ],
)
def test_hifigan_of_another_front_end_is_refused(hifigan, changes, message):
    config = LogMelConfig(**{**HIFIGAN.to_dict(), **changes})
    with pytest.raises(ConfigError, match=message):
        load_vocoder(hifigan[0], config)


def test_folder_without_a_config_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        load_vocoder(tmp_path, SECOND)


def test_unknown_kind_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "vocos"}')
    with pytest.raises(CheckpointError, match="'vocos', expected hifigan or griffin-lim"):
        load_vocoder(tmp_path, SECOND)


def test_unknown_option_is_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="iterations"):
        load_vocoder(griffin_lim_folder(tmp_path, iteration=5), SECOND)


@pytest.mark.parametrize(("name", "value"), [("iterations", 0), ("iterations", "9"), ("seed", -1)])
def test_impossible_option_is_refused(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value!r}, expected a whole number"):
        load_vocoder(griffin_lim_folder(tmp_path, **{name: value}), SECOND)
