"""LanguageBind encoder: the projected embedding of a sound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from omniflow.cache.key import files_digest
from omniflow.interfaces.encoder import Encoder
from omniflow.models.languagebind_config import read_audio_tower_config
from omniflow.pretrained import PretrainedSource

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Sample


class LanguageBindEncoder(Encoder):
    """The audio tower of LanguageBind with its projection; the embedding is not normalised.

    The whole sound is heard, its first channel: short ones are repeated, of long ones the
    beginning, the middle and the end are looked at.

    Args:
        path: A local folder, or a Hub id.
        revision: Branch, tag or commit on the Hub; its main branch when null.

    Raises:
        CheckpointError: If a file of a local folder is missing or damaged, or the model is of a
            variant that is not supported.
        UsageError: If the Hub cannot be reached or does not have the model.
        ConfigError: If a folder comes with a revision.
    """

    modalities = ("audio",)

    def __init__(
        self, *, path: str = "LanguageBind/LanguageBind_Audio_FT", revision: str | None = None
    ) -> None:
        super().__init__()
        self._source = PretrainedSource(path, revision=revision)
        self._config, self._pixels = read_audio_tower_config(self._source)
        self._source.check_weights()

    @property
    def width(self) -> int:
        """Size of one embedding."""
        width: int = self._config.projection_dim
        return width

    def load_weights(self) -> None:
        """Read the tower that the constructor only looked up."""
        from omniflow.models.languagebind import read_languagebind

        self.tower: nn.Module = read_languagebind(self._source, self._config, self._pixels)

    def encode(self, samples: Sequence[Sample], modality: str) -> Tensor:
        """Embed the sound of every sample, of any rate, channel count and length: [batch, width].

        Raises:
            DataError: If a sound cannot be used.
        """
        embeddings: Tensor = self.tower([sample.audio for sample in samples])
        return embeddings

    def work_identity(self, modality: str) -> Mapping[str, str]:
        """The files of the model, and the precision of its weights."""
        dtype = next(self.tower.parameters()).dtype
        return {"files": files_digest(self._source.files("config.json")), "dtype": str(dtype)}
