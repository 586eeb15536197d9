"""What a component of each kind must offer.

Imported name by name, so that a dataset or a metric does not pull in torch.
"""

from typing import TYPE_CHECKING

from omniflow.lazy import lazy_exports

if TYPE_CHECKING:
    from omniflow.interfaces.backbone import (
        Backbone,
        JointPrediction,
        Streams,
        TextCondition,
        TextFeatures,
        TokenBatch,
    )
    from omniflow.interfaces.dataset import Audio, Dataset, Sample, StreamingDataset
    from omniflow.interfaces.encoder import Encoder
    from omniflow.interfaces.head import Head, HeadOutput
    from omniflow.interfaces.metric import (
        Interval,
        Metric,
        Prediction,
        RecordFigures,
        Score,
        TokenScores,
    )
    from omniflow.interfaces.objective import HEAD_LOSSES, Batch, Losses, Objective
    from omniflow.interfaces.refiner import Refiner

__all__ = [
    "HEAD_LOSSES",
    "Audio",
    "Backbone",
    "Batch",
    "Dataset",
    "Encoder",
    "Head",
    "HeadOutput",
    "Interval",
    "JointPrediction",
    "Losses",
    "Metric",
    "Objective",
    "Prediction",
    "RecordFigures",
    "Refiner",
    "Sample",
    "Score",
    "StreamingDataset",
    "Streams",
    "TextCondition",
    "TextFeatures",
    "TokenBatch",
    "TokenScores",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Audio": "omniflow.interfaces.dataset",
        "Backbone": "omniflow.interfaces.backbone",
        "Batch": "omniflow.interfaces.objective",
        "Dataset": "omniflow.interfaces.dataset",
        "Encoder": "omniflow.interfaces.encoder",
        "HEAD_LOSSES": "omniflow.interfaces.objective",
        "Head": "omniflow.interfaces.head",
        "HeadOutput": "omniflow.interfaces.head",
        "Losses": "omniflow.interfaces.objective",
        "Interval": "omniflow.interfaces.metric",
        "Metric": "omniflow.interfaces.metric",
        "RecordFigures": "omniflow.interfaces.metric",
        "Objective": "omniflow.interfaces.objective",
        "Prediction": "omniflow.interfaces.metric",
        "Refiner": "omniflow.interfaces.refiner",
        "Sample": "omniflow.interfaces.dataset",
        "Score": "omniflow.interfaces.metric",
        "StreamingDataset": "omniflow.interfaces.dataset",
        "JointPrediction": "omniflow.interfaces.backbone",
        "Streams": "omniflow.interfaces.backbone",
        "TextCondition": "omniflow.interfaces.backbone",
        "TextFeatures": "omniflow.interfaces.backbone",
        "TokenBatch": "omniflow.interfaces.backbone",
        "TokenScores": "omniflow.interfaces.metric",
    },
)
