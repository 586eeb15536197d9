"""What metrics ask of the predictions they are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from omniflow.errors import ConfigError, DataError
from omniflow.interfaces.metric import Prediction, TokenScores
from omniflow.tasks import Task

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def require_references(predictions: Sequence[Prediction], *, is_text: bool = True) -> None:
    """Check that there is something to score, and something to score it against.

    Args:
        predictions: The records.
        is_text: Whether it is texts that are scored.

    Raises:
        DataError: If there is no prediction, one without a reference, or one that is no text.
    """
    if not predictions:
        raise DataError("there is no prediction to score", expected="at least one record")
    for prediction in predictions:
        if not prediction.references:
            raise DataError(
                "there is nothing to compare the prediction with",
                where=f"record {prediction.id}",
                expected="at least one reference",
            )
        if is_text and not makes(prediction, "text"):
            raise DataError(
                f"its task {prediction.task} makes no text",
                where=f"record {prediction.id}",
                expected="a metric of pictures or sounds, such as clip-score or scenes",
            )


def makes(record: Prediction, modality: str) -> bool:
    """Whether a record's task makes a modality; one without a task makes text."""
    return modality in _made(record.task)


@lru_cache
def _made(task: str) -> tuple[str, ...]:
    try:
        return Task.parse(task).made
    except ConfigError:
        return ("text",)


def pooled_tokens(predictions: Sequence[Prediction], *, metric: str) -> TokenScores:
    """The token scores of all records added up, so that every token weighs the same.

    Args:
        predictions: Records with token scores.
        metric: The metric that reads them, for the message.

    Raises:
        DataError: If a record has no token scores, if one is not a number, or if there are no
            tokens at all.
    """
    scored = [prediction.tokens for prediction in predictions if prediction.tokens is not None]
    if len(scored) < len(predictions):
        first = next(prediction for prediction in predictions if prediction.tokens is None)
        raise DataError(
            f"there are no token scores, which {metric} is made of",
            where=f"record {first.id}",
            expected="token_count, token_nll and token_correct",
            notes=[
                f"without token scores: {len(predictions) - len(scored)} of {len(predictions)} "
                "records",
                "`omniflow generate` records them beside each prediction",
                "for t2t, `omniflow evaluate --checkpoint RUN` computes them",
            ],
        )
    for prediction in predictions:
        if prediction.tokens is not None and not math.isfinite(prediction.tokens.nll):
            raise DataError(
                f"the negative log-likelihood is {prediction.tokens.nll}",
                where=f"record {prediction.id}",
                expected="a finite number",
            )
    count = sum(tokens.count for tokens in scored)
    if count < 1:
        raise DataError("there is no reference token to score", expected="at least one record")
    # fsum rounds once, at the end: the sum does not depend on the order of the records.
    return TokenScores(
        count=count,
        nll=math.fsum(tokens.nll for tokens in scored),
        correct=sum(tokens.correct for tokens in scored),
    )


def token_rows(predictions: Sequence[Prediction]) -> NDArray[np.float64]:
    """Likelihood, tokens and hits of each record [records, 3], all of which have token scores."""
    import numpy as np

    return np.array(
        [
            (one.tokens.nll, one.tokens.count, one.tokens.correct)
            for one in predictions
            if one.tokens is not None
        ],
        dtype=np.float64,
    )
