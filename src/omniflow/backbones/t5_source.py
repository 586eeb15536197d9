"""Where the T5 of the text VAE comes from: the model's own folder, a named one, or the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniflow.backbones.layout import Part, PublishedFolder
from omniflow.errors import CheckpointError, UsageError
from omniflow.pretrained import PretrainedSource

#: T5 of the published models, for folders that do not bring their own.
T5_ID = "google/flan-t5-large"

_TOKENIZER_FILES = ("tokenizer*", "special_tokens_map.json", "spiece.model")


@dataclass(frozen=True)
class T5Source:
    """A T5 encoder with its tokenizer; the weights are fetched when they are asked for.

    Args:
        encoder: Its configuration and weights.
        tokenizer: Files of its tokenizer.
        config: The configuration.
    """

    encoder: Part
    tokenizer: Part
    config: Mapping[str, Any]

    @property
    def tokenizer_folder(self) -> Path:
        """The local folder that holds the tokenizer."""
        return self.tokenizer.folder(*_TOKENIZER_FILES)

    def files(self) -> dict[str, Path]:
        """What shapes a result beside the weights, by the name under which it counts."""
        folder = self.tokenizer_folder
        named = {
            f"{self.tokenizer.name or 't5'}/{file.name}": file
            for pattern in _TOKENIZER_FILES
            for file in folder.glob(pattern)
        }
        config = self.encoder.folder("config.json") / "config.json"
        return {**named, f"{self.encoder.name or 't5'}/config.json": config}


def find_t5(folder: PublishedFolder, width: int, *, path: str | None = None) -> T5Source:
    """The T5 that is named, else the model's own of the right width, else the published one.

    Args:
        folder: The model that it belongs to.
        width: Width of its states.
        path: A folder or a Hub id that holds configuration, tokenizer and weights side by side.

    Raises:
        UsageError: If the Hub is needed and cannot be reached.
        CheckpointError: If a configuration is missing or unreadable.
    """
    encoder, tokenizer = folder.part("text_encoder_3"), folder.part("tokenizer_3")
    if path is None and (encoder.folder("config.json") / "config.json").is_file():
        config = encoder.config()
        has_tokenizer = (tokenizer.folder(*_TOKENIZER_FILES) / "tokenizer_config.json").is_file()
        # Folders derived from Stable Diffusion 3 bring another T5, which this model never read.
        if config.get("d_model") == width and has_tokenizer:
            return T5Source(encoder, tokenizer, config)
    try:
        part = Part(PretrainedSource(path or T5_ID))
        return T5Source(part, part, part.config())
    except CheckpointError:
        raise
    except UsageError as error:
        raise UsageError(
            f"the tokenizer and configuration of {path or T5_ID} cannot be read",
            where=folder.source.path,
            expected=f"a network connection, or tokenizer_3/ and text_encoder_3/ of width {width}",
            notes=[error.problem, *error.notes],
        ) from error
