"""The contract of a metric."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import cast

from omniflow.interfaces.metric import Metric, Prediction, Score
from omniflow.testing.common_checks import CHECKS as COMMON
from omniflow.testing.contract import named
from omniflow.testing.inputs import hopeless, perfect
from omniflow.testing.subject import Subject

_NEAR = {"rel_tol": 1e-9, "abs_tol": 1e-9}


def figures_are_finite_numbers(subject: Subject) -> None:
    """The figure itself and its details, also of a single record."""
    for predictions in (subject.predictions, subject.predictions[:1]):
        score = _score(subject, predictions)
        subject.expect(
            isinstance(score, Score),
            f"compute gives a {type(score).__name__}",
            expected="omniflow.interfaces.Score",
        )
        for name, value in {"the figure": score.value, **score.details}.items():
            subject.expect(
                isinstance(value, float) and math.isfinite(value),
                f"{name} of {len(predictions)} records is {value!r}",
                expected="a finite float",
            )


def signature_tells_how_it_is_computed(subject: Subject) -> None:
    """Texts that JSON holds: implementation, version and settings."""
    signature = dict(_score(subject).signature)
    subject.expect(
        bool(signature) and json.loads(json.dumps(signature)) == signature,
        f"its signature is {signature!r}",
        expected="implementation, version and settings as texts",
    )


def the_same_records_give_the_same_figure(subject: Subject) -> None:
    """Computed again, and by another instance."""
    first, second = _metric(subject), cast(Metric, subject.construct())
    figures = [each.compute(subject.predictions).value for each in (first, first, second)]
    subject.expect(len(set(figures)) == 1, f"one set of records has the figures {figures}")


def the_order_of_records_does_not_matter(subject: Subject) -> None:
    """To rounding."""
    forwards = _score(subject).value
    backwards = _score(subject, list(reversed(subject.predictions))).value
    subject.expect(
        math.isclose(forwards, backwards, **_NEAR),
        f"in the reverse order the figure is {backwards}, not {forwards}",
    )


def figures_of_records_make_the_figure(subject: Subject) -> None:
    """By their mean, or by `figure` of their summed statistics: intervals are made so."""
    import numpy as np

    score = _score(subject)
    if score.records is None:
        return
    values, statistics = score.records.values, score.records.statistics
    subject.expect(
        len(values) == len(subject.predictions),
        f"there are figures of {len(values)} records",
        expected=f"one of each of {len(subject.predictions)}",
    )
    if statistics is None:
        made = float(np.nanmean(values))
    else:
        made = _metric(subject).figure([float(total) for total in statistics.sum(axis=0)])
    subject.expect(
        math.isclose(made, score.value, rel_tol=1e-6, abs_tol=1e-9),
        f"figures of records make {made}, and the figure is {score.value}",
    )


def right_answers_are_not_worse_than_wrong_ones(subject: Subject) -> None:
    """In the direction that `higher_is_better` says; for metrics that compare texts."""
    better = _metric(subject).higher_is_better
    right, wrong = (
        _score(subject, made(subject.predictions)).value for made in (perfect, hopeless)
    )
    if better is None or not math.isfinite(right - wrong):
        return
    word = "higher" if better else "lower"
    subject.expect(
        right >= wrong if better else right <= wrong,
        f"{word} is better, and right answers have {right}, wrong ones {wrong}",
    )


def _metric(subject: Subject) -> Metric:
    return subject.once("metric", lambda: cast(Metric, subject.construct()))


def _score(subject: Subject, predictions: Sequence[Prediction] | None = None) -> Score:
    return _metric(subject).compute(subject.predictions if predictions is None else predictions)


CHECKS = (
    *COMMON,
    *named(
        figures_are_finite_numbers,
        signature_tells_how_it_is_computed,
        the_same_records_give_the_same_figure,
        the_order_of_records_does_not_matter,
        figures_of_records_make_the_figure,
        right_answers_are_not_worse_than_wrong_ones,
    ),
)
