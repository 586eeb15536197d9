"""AudioCaps: sounds of ten seconds, with captions."""

from __future__ import annotations

from omniflow.datasets.hub_dataset import HubDataset


class AudioCapsDataset(HubDataset):
    """Sounds with a caption each for training, and with five each to be compared with.

    The source has a record a caption. Those of one sound are one sample, whose text is the first of
    them; a stream does not know what is yet to come, so there every record is a sample with its own
    caption alone. An id is that of the (first) caption.

    Args:
        path: Its id on the Hub, or a folder with its files.
        split: One of `splits`; the source has all three.
        revision: Branch, tag or commit on the Hub; its main branch when null.
        streaming: Read records as they come, in place of fetching the files of the split.
    """

    def __init__(
        self,
        *,
        path: str = "OpenSound/AudioCaps",
        split: str = "train",
        revision: str | None = None,
        streaming: bool = False,
    ) -> None:
        super().__init__(
            path=path,
            split=split,
            revision=revision,
            text_column="caption",
            audio_column="audio",
            id_column="audiocap_id",
            group_columns=("youtube_id", "start_time"),
            streaming=streaming,
        )
