"""CLIP encoder: the projected embedding of text or image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from omniflow.checkpoints import read_json
from omniflow.errors import ConfigError
from omniflow.interfaces.encoder import Encoder
from omniflow.pretrained import PretrainedSource

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Sample

_ONE_FILE = "tokenizer.json"
_TWO_FILES = ("vocab.json", "merges.txt")


class CLIPEncoder(Encoder):
    """One tower of a CLIP model with its projection; the embedding is not normalised.

    Text is read as the backbone's own CLIP reads it: padded to 77 tokens without an attention
    mask, cut after them.

    Args:
        path: A local folder, or a Hub id.
        modality: Which tower.
        revision: Branch, tag or commit on the Hub; its main branch when null.

    Raises:
        CheckpointError: If a file of a local folder is missing or damaged.
        UsageError: If the Hub cannot be reached or does not have the model.
        ConfigError: If `modality` is neither of the two, or a folder comes with a revision.
    """

    def __init__(
        self,
        *,
        path: str = "laion/CLIP-ViT-L-14-DataComp.XL-s13B-b90K",
        modality: Literal["text", "image"] = "text",
        revision: str | None = None,
    ) -> None:
        super().__init__()
        if modality not in ("text", "image"):
            raise ConfigError("modality", modality, expected="text or image")
        from transformers import CLIPConfig

        self._source = PretrainedSource(path, revision=revision)
        config = self._source.read_config(CLIPConfig)
        self._config = config.text_config if modality == "text" else config.vision_config
        # Some published models leave the towers at the library's default and mean this one.
        self._config.projection_dim = config.projection_dim
        self.modalities = (modality,)
        if modality == "text":
            self._tokenizer = _tokenizer(self._source)
        else:
            self._processor = _processor(self._source)
        self._source.check_weights()

    @property
    def width(self) -> int:
        """Size of one embedding."""
        width: int = self._config.projection_dim
        return width

    def load_weights(self) -> None:
        """Read the tower that the constructor only looked up."""
        from transformers import CLIPTextModelWithProjection, CLIPVisionModelWithProjection

        tower = {"text": CLIPTextModelWithProjection, "image": CLIPVisionModelWithProjection}
        self.tower: nn.Module = self._source.read_model(tower[self.modalities[0]], self._config)

    @torch.no_grad()
    def encode(self, samples: Sequence[Sample], modality: str) -> Tensor:
        """Embed one modality of every sample: [batch, width]."""
        device = next(self.tower.parameters()).device
        embeddings: Tensor
        if modality == "text":
            tokens = self._tokenizer(
                [sample.text for sample in samples],
                padding="max_length",
                max_length=self._config.max_position_embeddings,
                truncation=True,
                return_tensors="pt",
            )
            embeddings = self.tower(tokens.input_ids.to(device)).text_embeds
        else:
            images = self._processor([sample.image for sample in samples], return_tensors="pt")
            embeddings = self.tower(images.pixel_values.to(device)).image_embeds
        return embeddings


def _tokenizer(source: PretrainedSource) -> Any:
    from transformers import CLIPTokenizer

    # Newer folders hold one file, older ones words and merges apart.
    folder = source.folder(_ONE_FILE, *_TWO_FILES)
    names = (_ONE_FILE,) if (folder / _ONE_FILE).is_file() else _TWO_FILES
    return source.read_tokenizer(CLIPTokenizer, *names, "tokenizer_config.json")


def _processor(source: PretrainedSource) -> Any:
    from transformers import CLIPImageProcessorPil

    file = source.require("preprocessor_config.json") / "preprocessor_config.json"
    return CLIPImageProcessorPil.from_dict(read_json(file))
