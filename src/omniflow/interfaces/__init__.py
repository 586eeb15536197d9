"""What a component of each kind must offer.

Imported name by name, so that a dataset or a metric does not pull in torch.
"""

from typing import TYPE_CHECKING

from omniflow.lazy import lazy_exports

if TYPE_CHECKING:
    from omniflow.interfaces.backbone import Backbone, TextFeatures
    from omniflow.interfaces.dataset import Dataset, Sample
    from omniflow.interfaces.encoder import Encoder
    from omniflow.interfaces.head import Head, HeadOutput
    from omniflow.interfaces.metric import Metric, Prediction, Score
    from omniflow.interfaces.objective import Batch, Losses, Objective
    from omniflow.interfaces.refiner import Refiner

__all__ = [
    "Backbone",
    "Batch",
    "Dataset",
    "Encoder",
    "Head",
    "HeadOutput",
    "Losses",
    "Metric",
    "Objective",
    "Prediction",
    "Refiner",
    "Sample",
    "Score",
    "TextFeatures",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "Backbone": "omniflow.interfaces.backbone",
        "Batch": "omniflow.interfaces.objective",
        "Dataset": "omniflow.interfaces.dataset",
        "Encoder": "omniflow.interfaces.encoder",
        "Head": "omniflow.interfaces.head",
        "HeadOutput": "omniflow.interfaces.head",
        "Losses": "omniflow.interfaces.objective",
        "Metric": "omniflow.interfaces.metric",
        "Objective": "omniflow.interfaces.objective",
        "Prediction": "omniflow.interfaces.metric",
        "Refiner": "omniflow.interfaces.refiner",
        "Sample": "omniflow.interfaces.dataset",
        "Score": "omniflow.interfaces.metric",
        "TextFeatures": "omniflow.interfaces.backbone",
    },
)
