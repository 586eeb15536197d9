"""Plugin: a dataset, an encoder, a metric, and a hook that keeps a ledger of runs."""

from omniflow import hookimpl
from omniflow.hooks import Register
from omniflow_subtitles.ledger import omniflow_evaluated as omniflow_evaluated
from omniflow_subtitles.ledger import omniflow_run_ended as omniflow_run_ended
from omniflow_subtitles.ledger import omniflow_run_started as omniflow_run_started

OMNIFLOW_API_VERSION = 1


@hookimpl
def omniflow_register(register: Register) -> None:
    """Register the components; each is imported when somebody uses it."""
    register(
        kind="dataset",
        name="subtitles",
        target="omniflow_subtitles.dataset:SubtitlesDataset",
        summary="Lines of .srt and .vtt files, with their pieces of sound",
    )
    register(
        kind="encoder",
        name="mel-statistics",
        target="omniflow_subtitles.encoder:MelStatisticsEncoder",
        summary="Mean and deviation of every mel band of a sound; no weights",
    )
    register(
        kind="metric",
        name="wer",
        target="omniflow_subtitles.metric:WordErrorRate",
        summary="Word error rate; 0 is best",
    )
