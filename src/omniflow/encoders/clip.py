"""CLIP encoder: the projected embedding of text or image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from omniflow.cache.key import files_digest
from omniflow.errors import ConfigError
from omniflow.interfaces.encoder import Encoder
from omniflow.models.clip_towers import (
    CLIP_FILES,
    ClipText,
    ClipVision,
    read_clip_processor,
    read_clip_tokenizer,
    read_tower,
    read_tower_config,
)
from omniflow.pretrained import PretrainedSource

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Sample


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
        self._source = PretrainedSource(path, revision=revision)
        self._config = read_tower_config(self._source, modality)
        self.modalities = (modality,)
        if modality == "text":
            self._tokenizer = read_clip_tokenizer(self._source)
        else:
            self._processor = read_clip_processor(self._source)
        self._source.check_weights()

    @property
    def width(self) -> int:
        """Size of one embedding."""
        width: int = self._config.projection_dim
        return width

    def load_weights(self) -> None:
        """Read the tower that the constructor only looked up."""
        tower = read_tower(self._source, self.modalities[0])
        self.tower: nn.Module = (
            ClipText(tower, self._tokenizer)
            if self.modalities == ("text",)
            else ClipVision(tower, self._processor)
        )

    @torch.no_grad()
    def encode(self, samples: Sequence[Sample], modality: str) -> Tensor:
        """Embed one modality of every sample: [batch, width]."""
        embeddings: Tensor
        if modality == "text":
            _, embeddings = self.tower([sample.text for sample in samples])
        else:
            embeddings = self.tower([sample.image for sample in samples])
        return embeddings

    def work_identity(self, modality: str) -> Mapping[str, str]:
        """The files of the model, and the precision of its weights."""
        dtype = next(self.tower.parameters()).dtype
        return {"files": files_digest(self._source.files(*CLIP_FILES)), "dtype": str(dtype)}
