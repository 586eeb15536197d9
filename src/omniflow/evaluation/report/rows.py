"""Which predictions a report shows: worst, best, most different, and some others."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from omniflow.evaluation.comparison import Comparison
from omniflow.evaluation.entries import Entry
from omniflow.interfaces.metric import Prediction

#: Rows of each kind.
MOST_OF_A_KIND = 50

WORST, BEST, DIFFERENT, OTHER = "worst", "best", "different", "other"


@dataclass(frozen=True)
class Row:
    """What the runs made of one record.

    Args:
        id: Of the record.
        references: What they should have made.
        predictions: What each run made; None for a run that lacks the record.
        scores: The figure of each; None where it has none.
        kinds: Why it is shown.
    """

    id: str
    references: tuple[str, ...]
    predictions: tuple[Prediction | None, ...]
    scores: tuple[float | None, ...]
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChosenRows:
    """The rows of a report.

    Args:
        rows: Those that are shown, in the order of the records.
        names: Of the runs, one for each prediction of a row.
        positions: Of these runs among all.
        total: Records that there are.
        metric: What they are ranked by; None where no run has figures of single records.
        notes: What has to be known.
    """

    rows: Sequence[Row]
    names: Sequence[str]
    positions: Sequence[int]
    total: int
    metric: str | None
    notes: tuple[str, ...] = field(default=())


def choose_rows(
    comparison: Comparison, *, most: int = MOST_OF_A_KIND, metric: str | None = None
) -> ChosenRows | None:
    """Choose rows among the records of all runs; None when no run has predictions.

    Args:
        comparison: The runs.
        most: Rows of each kind: worst, best, most different (of several runs), and others, evenly
            spread over the rest. All rows are shown where they are no more than four times that.
        metric: What is ranked by; the first one with figures of records when None.
    """
    listed = [(i, entry) for i, entry in enumerate(comparison.entries) if entry.predictions]
    if not listed:
        return None
    entries = [entry for _, entry in listed]
    metric = metric or _ranking_metric(comparison, entries)
    records, notes = _records(entries)
    scores = [_scores(entry, metric) for entry in entries]
    rows = [
        Row(
            id=identifier,
            references=references,
            predictions=tuple(found),
            scores=tuple(
                None if one is None else of.get(identifier)
                for one, of in zip(found, scores, strict=True)
            ),
        )
        for (identifier, references), found in records.items()
    ]
    higher = metric is None or comparison.higher_is_better(metric) is not False
    # Of a few records half would be both the worst and the best.
    kinds = _kinds(rows, min(most, -(-len(rows) // 4)), higher)
    wanted = range(len(rows)) if len(rows) <= 4 * most else sorted(kinds)
    return ChosenRows(
        rows=[_with_kinds(rows[place], kinds.get(place, (OTHER,))) for place in wanted],
        names=[entry.name for entry in entries],
        positions=[position for position, _ in listed],
        total=len(rows),
        metric=metric,
        notes=tuple(notes),
    )


def _with_kinds(row: Row, kinds: Iterable[str]) -> Row:
    return Row(row.id, row.references, row.predictions, row.scores, tuple(kinds))


def _ranking_metric(comparison: Comparison, entries: Sequence[Entry]) -> str | None:
    """The first metric with figures of records in every run that is evaluated."""
    evaluations = [entry.evaluation for entry in entries if entry.evaluation is not None]
    for name in comparison.metrics:
        figures = [evaluation.figures.get(name) for evaluation in evaluations]
        if figures and all(figure is not None and figure.values is not None for figure in figures):
            return name
    return None


def _records(
    entries: Sequence[Entry],
) -> tuple[dict[tuple[str, tuple[str, ...]], list[Prediction | None]], list[str]]:
    """Record -> what each run made of it: those of all runs, or where there is none, all records.

    A record is one by its id and references, so that test sets whose ids are alike stay apart.
    """
    records: dict[tuple[str, tuple[str, ...]], list[Prediction | None]] = {}
    for place, entry in enumerate(entries):
        assert entry.predictions is not None  # checked by the caller
        for record in entry.predictions.records:
            key = (record.id, record.references)
            records.setdefault(key, [None] * len(entries))[place] = record
    shared = {key: found for key, found in records.items() if None not in found}
    if len(shared) == len(records):
        return records, []
    if not shared:
        return records, ["The runs have no record in common; each one's own are shown."]
    left = len(records) - len(shared)
    return shared, [f"{left:,} records that are not in all runs are left out."]


def _scores(entry: Entry, metric: str | None) -> Mapping[str, float]:
    figures = {} if entry.evaluation is None else entry.evaluation.figures
    figure = figures.get(metric or "")
    if entry.evaluation is None or figure is None or figure.values is None:
        return {}
    pairs = zip(entry.evaluation.ids, figure.values.tolist(), strict=True)
    return {identifier: value for identifier, value in pairs if math.isfinite(value)}


def _kinds(rows: Sequence[Row], most: int, higher: bool) -> dict[int, list[str]]:
    """Place of a row -> why it is shown."""
    kinds: dict[int, list[str]] = {}
    means = {place: _mean(row.scores) for place, row in enumerate(rows)}
    ranked = [place for place, mean in means.items() if mean is not None]
    ranked.sort(key=lambda place: means[place] or 0.0, reverse=not higher)
    for place in ranked[:most]:
        kinds.setdefault(place, []).append(WORST)
    for place in ranked[::-1][:most]:
        kinds.setdefault(place, []).append(BEST)
    spreads = {place: _spread(row) for place, row in enumerate(rows)}
    differing = sorted(
        (place for place in spreads if spreads[place] > 0), key=lambda place: -spreads[place]
    )
    for place in differing[:most]:
        kinds.setdefault(place, []).append(DIFFERENT)
    rest = [place for place in range(len(rows)) if place not in kinds]
    for place in rest[:: max(1, -(-len(rest) // most))]:
        kinds[place] = [OTHER]
    return kinds


def _mean(scores: Iterable[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known else None


def _spread(row: Row) -> float:
    """How far the runs are apart: in their figures, else in their words."""
    known = [score for score in row.scores if score is not None]
    if len(known) > 1:
        return max(known) - min(known)
    made = [set(one.prediction.split()) for one in row.predictions if one is not None]
    if len(made) < 2:
        return 0.0
    every = set().union(*made)
    return 1 - len(set.intersection(*made)) / len(every) if every else 0.0
