"""Vocoder: log-mel to waveform."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn

from omniflow.checkpoints import read_json
from omniflow.errors import CheckpointError, ConfigError, UnknownNameError
from omniflow.models.log_mel import LogMelConfig
from omniflow.pretrained import PretrainedSource

#: What files call a SpeechT5HifiGan: until release 5 of transformers, and since.
_HIFIGAN = ("hifigan", "speecht5_hifigan")


class Vocoder(nn.Module, ABC):
    """Base of every vocoder."""

    #: Samples a second of what it makes.
    sample_rate_hz: int
    #: Bands of the log-mel that it reads.
    mel_bins: int

    @abstractmethod
    def synthesise(self, log_mels: Tensor) -> Tensor:
        """Waveforms [batch, samples] in [-1, 1] from log-mels [batch, frames, mel_bins]."""


class HifiGan(Vocoder):
    """transformers' SpeechT5HifiGan, which is the vocoder of AudioLDM2.

    Args:
        source: Folder or Hub id with its configuration and weights.
        config: Front end whose log-mels it is to read.

    Raises:
        CheckpointError: If a file is missing or damaged.
        ConfigError: If it was made for another front end.
    """

    def __init__(self, source: PretrainedSource, config: LogMelConfig) -> None:
        from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

        super().__init__()
        sizes = source.read_config(SpeechT5HifiGanConfig, former_types=_HIFIGAN)
        facts = {
            "mel_bins": sizes.model_in_dim,
            "hop_length": math.prod(sizes.upsample_rates),
            "sample_rate_hz": sizes.sampling_rate,
        }
        for name, value in facts.items():
            if getattr(config, name) != value:
                raise ConfigError(
                    name,
                    getattr(config, name),
                    expected=f"{value}, as the vocoder reads",
                    where=source.path,
                )
        self.mel_bins = sizes.model_in_dim
        self.sample_rate_hz = sizes.sampling_rate
        self.network = source.read_model(SpeechT5HifiGan, sizes)

    @torch.no_grad()
    def synthesise(self, log_mels: Tensor) -> Tensor:
        """Waveforms [batch, frames * hop_length] in [-1, 1] from log-mels [batch, frames, bins]."""
        # One at a time: the inner states are hundreds of times larger than the sound.
        waveforms: list[Tensor] = [self.network(log_mel[None].float())[0] for log_mel in log_mels]
        return torch.stack(waveforms)


def load_vocoder(folder: Path, config: LogMelConfig) -> Vocoder:
    """The vocoder of a folder, as `model_type` in its `config.json` says.

    Args:
        folder: Folder of a SpeechT5HifiGan, or with a `config.json` alone that says
            `griffin-lim`, and may say its `iterations` and `seed`.
        config: Front end whose log-mels it is to read.

    Raises:
        CheckpointError: If a file is missing or damaged, or it is another kind of vocoder.
        UsageError: If an option is unknown or impossible, or it was made for another front end.
    """
    file = folder / "config.json"
    content = read_json(file)
    found = content.get("model_type") if isinstance(content, dict) else None
    if found in _HIFIGAN:
        return HifiGan(PretrainedSource(str(folder)), config)
    if found != "griffin-lim":
        raise CheckpointError(
            f"its model_type is {found!r}", where=str(file), expected="hifigan or griffin-lim"
        )
    from omniflow.models.griffin_lim import GriffinLim

    known = ["iterations", "seed"]
    options = {name: value for name, value in content.items() if name != "model_type"}
    for name in options:
        if name not in known:
            raise UnknownNameError("option of the griffin-lim", name, known, where=str(file))
    return GriffinLim(config, **options)
