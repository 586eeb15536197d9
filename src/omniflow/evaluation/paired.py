"""Whether one model's figure is really better than another's: the paired bootstrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omniflow.errors import DataError, UnknownNameError
from omniflow.evaluation.bootstrap import (
    METHOD,
    RESAMPLES,
    Sums,
    check_settings,
    percentiles,
    resampled_sums,
)
from omniflow.evaluation.results import Evaluation, Figure
from omniflow.interfaces.metric import Interval, Metric

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Difference:
    """The second figure less the first, on the records that both have.

    Args:
        first: The first figure on them.
        second: The second one.
        interval: 95 % interval of `second - first`.
        p_value: Two-sided: twice the share of resamples on the other side of 0, at most 1, and at
            least 2 / (resamples + 1).
        samples: How many records both have.
    """

    first: float
    second: float
    interval: Interval
    p_value: float
    samples: int

    @property
    def value(self) -> float:
        """The difference itself."""
        return self.second - self.first


def paired_bootstrap(
    first: Evaluation,
    second: Evaluation,
    name: str,
    *,
    metric: Metric | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference | None:
    """Compare one metric of two evaluations, drawing the records that both have together.

    Args:
        first: Results of one model.
        second: Results of the other.
        name: Reported name of the metric.
        metric: The metric, where it was not made by name; otherwise it is made anew of its name
            and options, when its figure is no mean.
        resamples: How often records are drawn, 40 and more.
        seed: Start of the draws.

    Returns:
        The difference; None when the metric has no figures of single records (`distinct`), or
        one of them is not finite.

    Raises:
        UnknownNameError: If one of them does not have the metric.
        DataError: If figures of records were not kept, no record is in both, or the metric was
            computed with other settings.
    """
    import numpy as np

    check_settings(max(resamples, 1), seed)
    pair = (_figure(first, name), _figure(second, name))
    _check_alike(pair, name)
    if any(not one.ids for one in (first, second)):
        raise DataError(
            "figures of single records were not kept",
            where=name,
            expected="results that were written without --no-records",
        )
    if any(figure.values is None and figure.statistics is None for figure in pair):
        return None
    places = _shared(first, second)
    metric = metric or metric_of(pair[0])
    sums = [sums_of(figure, rows, metric) for figure, rows in zip(pair, places, strict=True)]
    if not all(np.isfinite(one.rows).all() for one in sums):
        return None
    tables = resampled_sums([one.rows for one in sums], resamples=resamples, seed=seed)
    drawn = [
        np.array([one.figure(row) for row in rows.tolist()])
        for one, rows in zip(sums, tables, strict=True)
    ]
    differences = drawn[1] - drawn[0]
    low, high = percentiles(differences)
    return Difference(
        first=sums[0].figure(sums[0].rows.sum(axis=0).tolist()),
        second=sums[1].figure(sums[1].rows.sum(axis=0).tolist()),
        interval=Interval(low, high, f"paired {METHOD}", resamples, seed),
        p_value=_p_value(differences),
        samples=len(places[0]),
    )


def _p_value(differences: NDArray[np.float64]) -> float:
    at_most, at_least = int((differences <= 0).sum()), int((differences >= 0).sum())
    return min(1.0, 2 * (1 + min(at_most, at_least)) / (1 + len(differences)))


def _figure(evaluation: Evaluation, name: str) -> Figure:
    if name not in evaluation.figures:
        where = evaluation.path or evaluation.model
        raise UnknownNameError("metric", name, list(evaluation.figures), where=where)
    return evaluation.figures[name]


def _check_alike(pair: tuple[Figure, Figure], name: str) -> None:
    first, second = (dict(figure.signature) for figure in pair)
    keys = sorted({*first, *second} - {"version"})
    other = [key for key in keys if first.get(key) != second.get(key)]
    if other:
        raise DataError(
            f"{', '.join(other)} differ",
            where=name,
            expected="figures of one metric with one set of settings",
            notes=[f"{key}: {first.get(key)} / {second.get(key)}" for key in other],
        )


def _shared(first: Evaluation, second: Evaluation) -> tuple[list[int], list[int]]:
    """Places of the records that both have, in the order of the first."""
    places = {identifier: place for place, identifier in enumerate(second.ids)}
    shared = [
        (place, places[identifier])
        for place, identifier in enumerate(first.ids)
        if identifier in places
    ]
    if not shared:
        raise DataError(
            "no record is in both results",
            where=" and ".join(one.path or one.model or "results" for one in (first, second)),
            expected="predictions for the same records",
        )
    return [mine for mine, _ in shared], [its for _, its in shared]


def metric_of(figure: Figure) -> Metric | None:
    """The metric behind a figure that is no mean, made anew of its name and options."""
    if figure.statistics is None or figure.component is None:
        return None
    from omniflow.assembly import construct_component
    from omniflow.plugins import installed_plugins
    from omniflow.recipe import Choice

    choice = Choice(figure.component, figure.options or {})
    made: Metric = construct_component(installed_plugins().registry, "metric", choice)
    return made


def sums_of(figure: Figure, places: list[int], metric: Metric | None) -> Sums:
    """What resamples of a figure are made of, of the records at some places.

    Args:
        figure: A figure that has those of single records.
        places: Positions among its records.
        metric: The metric, where the figure is no mean.

    Raises:
        DataError: If it is needed and None.
    """
    if figure.statistics is None:
        assert figure.values is not None  # checked by the caller
        return Sums(figure.values[places][:, None], lambda total: float(total[0]) / len(places))
    if metric is None:
        raise DataError(
            "its figure is no mean, and the metric is not known by name",
            expected="the argument metric",
        )
    return Sums(figure.statistics[places], metric.figure)
