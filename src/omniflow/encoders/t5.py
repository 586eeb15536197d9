"""T5 encoder: the mean state of a text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from omniflow.cache.key import files_digest
from omniflow.errors import ConfigError
from omniflow.interfaces.encoder import Encoder
from omniflow.pretrained import PretrainedSource

if TYPE_CHECKING:
    from omniflow.interfaces.dataset import Sample


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


class T5Encoder(Encoder):
    """Mean over the last states of a T5 encoder; padding is neither attended to nor counted.

    Args:
        path: A local folder, or a Hub id.
        max_tokens: Tokens that are read, the end of text included; longer text is cut.
        revision: Branch, tag or commit on the Hub; its main branch when null.

    Raises:
        CheckpointError: If a file of a local folder is missing or damaged.
        UsageError: If the Hub cannot be reached or does not have the model.
        ConfigError: If `max_tokens` is below 1, or a folder comes with a revision.
    """

    modalities = ("text",)

    def __init__(
        self,
        *,
        path: str = "google/flan-t5-large",
        max_tokens: int = 77,
        revision: str | None = None,
    ) -> None:
        super().__init__()
        if max_tokens < 1:
            raise ConfigError("max_tokens", max_tokens, expected="a whole number >= 1")
        from transformers import PreTrainedTokenizerFast, T5Config

        self.max_tokens = max_tokens
        self._source = PretrainedSource(path, revision=revision)
        self._config = self._source.read_config(T5Config)
        self._tokenizer = self._source.read_tokenizer(PreTrainedTokenizerFast, *_TOKENIZER_FILES)
        self._source.check_weights()

    @property
    def width(self) -> int:
        """Size of one embedding."""
        width: int = self._config.d_model
        return width

    def load_weights(self) -> None:
        """Read the weights that the constructor only looked up."""
        from transformers import T5EncoderModel

        self.tower: nn.Module = self._source.read_model(T5EncoderModel, self._config)

    @torch.no_grad()
    def encode(self, samples: Sequence[Sample], modality: str) -> Tensor:
        """Embed the text of every sample: [batch, width]."""
        device = next(self.tower.parameters()).device
        tokens = self._tokenizer(
            [sample.text for sample in samples],
            # Not to the longest of the batch: that would show in the last digits of the others.
            padding="max_length",
            max_length=self.max_tokens,
            truncation=True,
            return_tensors="pt",
        ).to(device)
        states: Tensor = self.tower(tokens.input_ids, tokens.attention_mask).last_hidden_state
        is_text = tokens.attention_mask[..., None].to(states.dtype)
        means: Tensor = (states * is_text).sum(1) / is_text.sum(1)
        return means

    def work_identity(self, modality: str) -> Mapping[str, str]:
        """The files of the model, the precision of its weights, and how much of a text is read."""
        names = ("config.json", "special_tokens_map.json", *_TOKENIZER_FILES)
        return {
            "files": files_digest(self._source.files(*names)),
            "dtype": str(next(self.tower.parameters()).dtype),
            "max_tokens": str(self.max_tokens),
        }
