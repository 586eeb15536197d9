"""Runs side by side: their figures, and whether they differ from the first one's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omniflow.errors import DataError
from omniflow.evaluation.bootstrap import RESAMPLES, check_settings
from omniflow.evaluation.entries import Entry
from omniflow.evaluation.paired import Difference, paired_bootstrap
from omniflow.evaluation.results import Evaluation, Figure
from omniflow.evaluation.run_record import RunRecord

FORMAT = "omniflow.comparison/1"

#: A difference that chance alone would show less often than this is called clear.
CLEAR = 0.05

#: Figures of a head with a codebook, in the log.
CODE_PERPLEXITY, DEAD_CODES = "code_perplexity", "dead_codes"


@dataclass(frozen=True)
class Comparison:
    """Entries, and how each differs from the first.

    Args:
        entries: What is compared, the first one being what the others are compared with.
        differences: (position of the entry, metric) -> entry less first; only where both have the
            metric and the same records.
        notes: What could not be compared, or has to be known, a sentence each.
    """

    entries: tuple[Entry, ...]
    differences: Mapping[tuple[int, str], Difference]
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> list[str]:
        """Every metric that an entry has, in their order."""
        names: dict[str, None] = {}
        for entry in self.entries:
            names.update(dict.fromkeys(entry.evaluation.figures if entry.evaluation else ()))
        return list(names)

    def figure(self, position: int, metric: str) -> Figure | None:
        """The figure of an entry; None where it has none."""
        evaluation = self.entries[position].evaluation
        return None if evaluation is None else evaluation.figures.get(metric)

    def higher_is_better(self, metric: str) -> bool | None:
        """Whether it is; None where a target in between is best."""
        figures = (self.figure(position, metric) for position in range(len(self.entries)))
        return next((figure.higher_is_better for figure in figures if figure is not None), None)

    def is_better(self, position: int, metric: str) -> bool | None:
        """Whether an entry is clearly better (True) or worse (False) than the first.

        None where the difference may be chance, is not known, or has no better side.
        """
        difference = self.differences.get((position, metric))
        higher = self.higher_is_better(metric)
        if difference is None or higher is None or difference.p_value >= CLEAR:
            return None
        return (difference.value > 0) == higher

    def all_notes(self) -> list[str]:
        """The notes of the entries, each with its name, then those of the comparison."""
        told = [f"{entry.name}: {note}" for entry in self.entries for note in entry.notes]
        return [*told, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; what is not known is None."""
        return {
            "format": FORMAT,
            "metrics": self.metrics,
            "runs": [_entry_to_json(entry) for entry in self.entries],
            "differences": [
                {
                    "run": self.entries[position].name,
                    "to": self.entries[0].name,
                    "metric": metric,
                    "value": _finite(difference.value),
                    "interval": [_finite(end) for end in ends_of(difference)],
                    "p_value": difference.p_value,
                    "samples": difference.samples,
                    "resamples": difference.interval.resamples,
                    "is_better": self.is_better(position, metric),
                }
                for (position, metric), difference in self.differences.items()
            ],
            "notes": self.all_notes(),
        }


def compare(entries: Sequence[Entry], *, resamples: int = RESAMPLES, seed: int = 0) -> Comparison:
    """Compare entries with the first one, metric by metric, on the records that both have.

    Args:
        entries: At least one.
        resamples: How often records are drawn for a difference; 0 for no differences.
        seed: Start of the draws.

    Raises:
        ConfigError: If `resamples` or `seed` cannot be.
    """
    check_settings(resamples, seed)
    differences: dict[tuple[int, str], Difference] = {}
    notes: list[str] = []
    for position in range(1, len(entries) if resamples else 1):
        found, told = _differences(entries[0], entries[position], resamples, seed)
        differences |= {(position, metric): one for metric, one in found.items()}
        notes += told
    if len({position for position, _ in differences}) > 1:
        notes.append("p-values are each of one comparison: they are not corrected for their number")
    return Comparison(tuple(entries), differences, tuple(notes))


def _differences(
    first: Entry, second: Entry, resamples: int, seed: int
) -> tuple[dict[str, Difference], list[str]]:
    """Those of every metric that both have, and why others have none."""
    both = f"{second.name} and {first.name}"
    one, other = first.evaluation, second.evaluation
    if one is None or other is None:
        return {}, []
    obstacle = _obstacle(first, second, one, other)
    if obstacle is not None:
        return {}, [f"{both} are not compared: {obstacle}"]
    found: dict[str, Difference] = {}
    notes: dict[str, list[str]] = {}
    for metric in one.figures:
        if metric not in other.figures:
            notes.setdefault(f"{second.name} has no such figure", []).append(metric)
            continue
        try:
            difference = paired_bootstrap(one, other, metric, resamples=resamples, seed=seed)
        except DataError as error:
            notes.setdefault(error.problem, []).append(metric)
            continue
        if difference is None:
            notes.setdefault("it has no figures of single records", []).append(metric)
        else:
            found[metric] = difference
    told = [f"{both}: no p-value of {', '.join(names)}: {why}" for why, names in notes.items()]
    return found, [*told, *_partly_shared(both, found, one, other)]


def _obstacle(first: Entry, second: Entry, one: Evaluation, other: Evaluation) -> str | None:
    """Why two evaluations say nothing about one another; None when they do."""
    if first.task and second.task and first.task != second.task:
        return f"their tasks differ ({first.task}, {second.task})"
    if one.ids and other.ids and not set(one.ids) & set(other.ids):
        return "no record is in both, so they are of different test sets"
    if first.predictions is None or second.predictions is None:
        return None
    wanted = {record.id: record.references for record in first.predictions.records}
    differing = sum(
        wanted.get(record.id, record.references) != record.references
        for record in second.predictions.records
    )
    if differing:
        return f"{differing} records of one id have other references: different test sets"
    return None


def _partly_shared(
    both: str, found: Mapping[str, Difference], one: Evaluation, other: Evaluation
) -> list[str]:
    shared = max((difference.samples for difference in found.values()), default=0)
    if not found or shared == one.samples == other.samples:
        return []
    return [
        f"{both} have {shared} records in common, of {other.samples} and {one.samples}: their "
        "difference is of these"
    ]


def ends_of(difference: Difference) -> tuple[float, float]:
    """The two ends of its interval."""
    return difference.interval.low, difference.interval.high


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _entry_to_json(entry: Entry) -> dict[str, Any]:
    evaluation = entry.evaluation
    return {
        "name": entry.name,
        "path": str(entry.path),
        "task": entry.task,
        "samples": None if evaluation is None else evaluation.samples,
        "model": None if evaluation is None else evaluation.model,
        **_run_to_json(entry.run),
        "metrics": {}
        if evaluation is None
        else {name: figure.to_dict() for name, figure in evaluation.figures.items()},
        "notes": list(entry.notes),
    }


def _run_to_json(run: RunRecord | None) -> dict[str, Any]:
    if run is None:
        run = RunRecord.nothing()
    best = run.best("ppl")
    return {
        "parameters": None if run.parameters is None else sum(run.parameters.values()),
        "trainable": run.trainable,
        "training_seconds": run.training_seconds,
        "steps": run.steps or None,
        "ppl": None if best is None else {"value": best[1], "step": best[0]},
        "codes": None
        if run.last(CODE_PERPLEXITY) is None
        else {
            "perplexity": run.last(CODE_PERPLEXITY),
            "dead": run.last(DEAD_CODES),
            "codebook_size": run.codebook_size,
        },
    }
