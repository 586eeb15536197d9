"""CLIPScore: how near a picture and a text are to each other in the eyes of a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from omniflow.errors import ConfigError, DataError
from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import makes, require_references
from omniflow.pretrained import PretrainedSource
from omniflow.version import __version__

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

#: Pictures that are embedded at a time.
_BATCH = 16


class CLIPScore(Metric):
    """Mean of weight * max(cosine, 0) (Hessel et al., EMNLP 2021); in [0, 2.5] by default.

    For tasks that make a picture: the picture made and each of the references, of which the
    nearest counts. For texts about a picture (records with `image`): that picture and the text
    made; references are not read. Figures of two CLIP models do not compare.

    Args:
        path: A CLIP model: a local folder, or a Hub id.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        weight: Factor of the cosine; 2.5 as in the paper, 100 as in torchmetrics.
        prefix: What stands before every text; as in the paper.

    Raises:
        ConfigError: If `weight` is not above 0.
        CheckpointError: If a file of a local folder is missing or damaged.
        UsageError: If the Hub cannot be reached or does not have the model.
    """

    def __init__(
        self,
        *,
        path: str = "openai/clip-vit-base-patch32",
        revision: str | None = None,
        weight: float = 2.5,
        prefix: str = "A photo depicts ",
    ) -> None:
        if not weight > 0:
            raise ConfigError("weight", weight, expected="a number above 0")
        self._source = PretrainedSource(path, revision=revision)
        self._source.check_weights()
        self.path, self.weight, self.prefix = path, weight, prefix

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Mean over the records.

        Raises:
            DataError: If a record has no picture, or it cannot be read.
        """
        require_references(predictions, is_text=False)
        import numpy as np

        towers = _Towers(self._source)
        values = np.empty(len(predictions))
        for start in range(0, len(predictions), _BATCH):
            batch = predictions[start : start + _BATCH]
            values[start : start + len(batch)] = self._scored(batch, towers)
        return Score(
            value=float(values.mean()),
            signature={
                "implementation": "omniflow",
                "version": __version__,
                "measure": f"{self.weight:g} * max(cosine, 0)",
                "model": self.path,
                "revision": self._source.revision,
                "weights": towers.digest,
                "prefix": self.prefix,
                "references": "nearest, where the picture was made",
            },
            records=RecordFigures(values),
        )

    def _scored(self, batch: Sequence[Prediction], towers: _Towers) -> NDArray[np.float64]:
        import numpy as np

        texts = [
            record.references if makes(record, "image") else (record.prediction,)
            for record in batch
        ]
        pictures = towers.of_images([_opened(record) for record in batch])
        words = towers.of_texts([self.prefix + text for group in texts for text in group])
        cosines = np.einsum(
            "nd,nd->n", np.repeat(pictures, [len(group) for group in texts], axis=0), words
        )
        ends = np.cumsum([len(group) for group in texts])
        nearest = [part.max() for part in np.split(cosines, ends[:-1])]
        scored: NDArray[np.float64] = self.weight * np.maximum(nearest, 0.0)
        return scored


class _Towers:
    """Both towers of a CLIP model, read when figures are computed."""

    def __init__(self, source: PretrainedSource) -> None:
        from omniflow.cache.key import files_digest
        from omniflow.models.clip_towers import (
            CLIP_FILES,
            ClipText,
            ClipVision,
            read_clip_processor,
            read_clip_tokenizer,
            read_tower,
        )

        self._text = ClipText(read_tower(source, "text"), read_clip_tokenizer(source))
        self._vision = ClipVision(read_tower(source, "image"), read_clip_processor(source))
        self.digest = files_digest(source.files(*CLIP_FILES))

    def of_texts(self, texts: Sequence[str]) -> Any:
        """Embeddings of length 1 [texts, width]."""
        return _normalised(self._text(texts)[1])

    def of_images(self, images: Sequence[Image]) -> Any:
        """Embeddings of length 1 [images, width]."""
        return _normalised(self._vision(images))


def _normalised(embeddings: Any) -> Any:
    from torch.nn.functional import normalize

    return normalize(embeddings.double(), dim=-1).numpy()


def _opened(record: Prediction) -> Image:
    from omniflow.media.image import read_image

    if record.image is None:
        raise DataError(
            "the record has no picture, which clip-score looks at",
            where=f"record {record.id}",
            expected="a task that makes pictures, or records with an image",
        )
    return read_image(record.image)
