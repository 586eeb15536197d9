"""The towers of CLIP models, with what prepares texts and pictures for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omniflow.checkpoints import read_json

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.pretrained import PretrainedSource

_ONE_FILE = "tokenizer.json"
_TWO_FILES = ("vocab.json", "merges.txt")

#: Everything that is read of a CLIP model beside its weights.
CLIP_TOKENIZER_FILES = ("tokenizer*", *_TWO_FILES, "special_tokens_map.json")
CLIP_FILES = ("config.json", "preprocessor_config.json", *CLIP_TOKENIZER_FILES)

#: Characters of a cut text that a warning quotes.
_QUOTED = 200

log = logging.getLogger(__name__)


class ClipText(nn.Module):
    """A text tower with its projection and its tokenizer; padding is attended to.

    Args:
        tower: CLIPTextModelWithProjection of transformers.
        tokenizer: Its tokenizer.
    """

    def __init__(self, tower: nn.Module, tokenizer: Any) -> None:
        super().__init__()
        self.tower = tower
        self.tokenizer = tokenizer

    @property
    def max_tokens(self) -> int:
        """Tokens that every text is padded or cut to."""
        config: Any = self.tower.config
        return int(config.max_position_embeddings)

    def tokenise(self, texts: Sequence[str]) -> Tensor:
        """Ids [batch, max_tokens] on the CPU."""
        tokens = self.tokenizer(
            list(texts),
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        )
        ids: Tensor = tokens.input_ids
        return ids

    @torch.no_grad()
    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """States of the last layer but one [batch, max_tokens, width], and projected embeddings.

        The states come before the final norm, as Stable Diffusion reads them; the embeddings
        [batch, projection] are not normalised.
        """
        device = next(self.tower.parameters()).device
        output = self.tower(self.tokenise(texts).to(device), output_hidden_states=True)
        return output.hidden_states[-2], output.text_embeds

    def warn_of_cuts(self, texts: Sequence[str]) -> None:
        """Say what the tower will not read of texts that are too long for it."""
        for text, ids in zip(
            texts, self.tokenizer(list(texts), verbose=False)["input_ids"], strict=True
        ):
            if len(ids) > self.max_tokens:
                left_out = self.tokenizer.decode(ids[self.max_tokens - 1 : -1])
                log.warning(
                    "CLIP reads %d tokens of the prompt %r; left out: %r",
                    self.max_tokens,
                    _shortened(text),
                    _shortened(left_out),
                )


class ClipVision(nn.Module):
    """A vision tower with its projection and its image processor.

    Args:
        tower: CLIPVisionModelWithProjection of transformers.
        processor: Its image processor.
    """

    def __init__(self, tower: nn.Module, processor: Any) -> None:
        super().__init__()
        self.tower = tower
        self.processor = processor

    @torch.no_grad()
    def forward(self, images: Sequence[Image]) -> Tensor:
        """Projected embeddings [batch, projection], not normalised."""
        weight = next(self.tower.parameters())
        pixels = self.processor(list(images), return_tensors="pt").pixel_values
        embeddings: Tensor = self.tower(pixels.to(weight)).image_embeds
        return embeddings


def read_clip_tokenizer(source: PretrainedSource) -> Any:
    """The tokenizer of a CLIP model.

    Raises:
        CheckpointError: If a file is missing or damaged.
    """
    from transformers import CLIPTokenizer

    # Newer folders hold one file, older ones words and merges apart.
    folder = source.folder(_ONE_FILE, *_TWO_FILES)
    names = (_ONE_FILE,) if (folder / _ONE_FILE).is_file() else _TWO_FILES
    return source.read_tokenizer(CLIPTokenizer, *names, "tokenizer_config.json")


def read_clip_processor(source: PretrainedSource) -> Any:
    """The image processor of a CLIP model, over Pillow.

    Raises:
        CheckpointError: If its configuration is missing or damaged.
    """
    from transformers import CLIPImageProcessorPil

    file = source.require("preprocessor_config.json") / "preprocessor_config.json"
    return CLIPImageProcessorPil.from_dict(read_json(file))


def read_tower_config(source: PretrainedSource, modality: str) -> Any:
    """The configuration of one tower of a folder or Hub id that holds both.

    Args:
        source: Where it comes from.
        modality: text or image.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    from transformers import CLIPConfig

    config = source.read_config(CLIPConfig)
    own = config.text_config if modality == "text" else config.vision_config
    # Some published models leave the towers at the library's default and mean this one.
    own.projection_dim = config.projection_dim
    return own


def read_tower(source: PretrainedSource, modality: str) -> nn.Module:
    """The tower itself, with its projection; arguments and errors as above."""
    from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

    kinds = {"text": CLIPTextModelWithProjection, "image": CLIPVisionModelWithProjection}
    return source.read_model(kinds[modality], read_tower_config(source, modality))


def read_text_tower(source: PretrainedSource) -> nn.Module:
    """The text tower, with its projection, of a folder that holds nothing else.

    Raises:
        CheckpointError: If a file is missing or damaged.
    """
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    return source.read_model(CLIPTextModelWithProjection, source.read_config(CLIPTextConfig))


def _shortened(text: str) -> str:
    return text if len(text) <= _QUOTED else text[:_QUOTED] + "..."
