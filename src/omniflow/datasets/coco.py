"""COCO captions (2014): photographs with about five captions each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from omniflow.datasets.hub_dataset import HubDataset


class CocoDataset(HubDataset):
    """Photographs; the first caption is learnt, and predictions are compared with all.

    The source has no training split, and no captions in its split `test`. So all three splits are
    shares of its split `val`, 40,504 photographs, by a hash: figures cannot be compared with those
    of others who test on all of it. An id is the name of the photograph's file.

    Args:
        path: Its id on the Hub, or a folder with its files.
        split: One of `splits`.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        validation_share: Share held out for validation, in [0, 1].
        test_share: Share held out for testing, in [0, 1].
        seed: Another seed, other shares.
        streaming: Read records as they come, in place of fetching all 6.6 GB first.
    """

    source_splits: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("train", "validation", "test"), "val"
    )

    def __init__(
        self,
        *,
        path: str = "lmms-lab/COCO-Caption",
        split: str = "train",
        revision: str | None = None,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        seed: int = 0,
        streaming: bool = False,
    ) -> None:
        super().__init__(
            path=path,
            split=split,
            revision=revision,
            train_split="val",
            validation_split=None,
            test_split=None,
            text_column="answer",
            image_column="image",
            id_column="question_id",
            validation_share=validation_share,
            test_share=test_share,
            seed=seed,
            streaming=streaming,
        )
