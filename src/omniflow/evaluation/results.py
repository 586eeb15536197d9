"""eval_results.json: figures with all that is needed to understand, repeat and compare them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.errors import DataError
from omniflow.files import replacing
from omniflow.interfaces.metric import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = "omniflow.evaluation/1"
LEVEL = 0.95


@dataclass(frozen=True)
class Figure:
    """One metric's figure of one prediction file.

    Args:
        value: The figure over all records.
        samples: How many records it is of.
        signature: Implementation, version and settings.
        higher_is_better: None where a target in between is best.
        interval: 95 % interval; None when there is none.
        component: Registered name of the metric; None when it was not made by name.
        options: Its options, all of them; None when it was not made by name.
        details: Further figures.
        notes: Sentences for a reader.
        values: The figure of each record, NaN where it has none; None when no record has.
        statistics: Rows whose sums make the figure; None when it is the mean of `values`.
    """

    value: float
    samples: int
    signature: Mapping[str, str]
    higher_is_better: bool | None = True
    interval: Interval | None = None
    component: str | None = None
    options: Mapping[str, Any] | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    values: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    statistics: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; a number that is not finite is None."""
        return {
            "value": _finite(self.value),
            "samples": self.samples,
            "higher_is_better": self.higher_is_better,
            "interval": None if self.interval is None else _interval_to_json(self.interval),
            "component": self.component,
            "options": None if self.options is None else dict(self.options),
            "signature": dict(self.signature),
            "details": {key: _finite(figure) for key, figure in self.details.items()},
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Evaluation:
    """The figures of one prediction file.

    Args:
        model: The checkpoint or Hub id that made the predictions; None when unsaid.
        task: Their task; None when unsaid or mixed.
        ids: Ids of the records scored, in the order of the file; empty when they were not kept.
        figures: Reported name -> its figure, in the order they were asked for.
        samples: How many predictions were scored.
        path: The file, as it was named; None when there was none.
        sha256: Of its bytes.
        dataset: The data that predictions were made of: Hub ids or names; None when unsaid.
        split: Its split; None when unsaid.
    """

    model: str | None
    task: str | None
    samples: int
    figures: Mapping[str, Figure]
    ids: Sequence[str] = field(default=(), repr=False)
    path: str | None = None
    sha256: str | None = None
    dataset: str | None = None
    split: str | None = None

    def to_dict(self, *, with_records: bool = True) -> dict[str, Any]:
        """The content of eval_results.json as plain data."""
        source = None if self.path is None else {"path": self.path, "sha256": self.sha256}
        content = {
            "format": FORMAT,
            "model": self.model,
            "task": self.task,
            "dataset": self.dataset,
            "split": self.split,
            "samples": self.samples,
            "predictions": source,
            "metrics": {name: figure.to_dict() for name, figure in self.figures.items()},
        }
        return {**content, "records": self._records()} if with_records and self.ids else content

    def _records(self) -> dict[str, Any]:
        found: dict[str, Any] = {"ids": list(self.ids)}
        for title, read in (("values", _values_of), ("statistics", _statistics_of)):
            lists = {name: read(figure) for name, figure in self.figures.items()}
            found[title] = {name: one for name, one in lists.items() if one is not None}
        return found


def write_results(path: str | Path, evaluation: Evaluation, *, with_records: bool = True) -> None:
    """Write an eval_results.json; a crash at any moment leaves the previous file whole.

    Args:
        path: The file.
        evaluation: What is in it.
        with_records: Whether the figures of single records are.

    Raises:
        OmniFlowError: If the file cannot be written.
    """
    content = evaluation.to_dict(with_records=False)
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2)
    with replacing(path) as temporary, temporary.open("wb") as file:
        for piece in _with_records(text, evaluation) if with_records and evaluation.ids else [text]:
            # As `write_text`, a piece at a time: there may be figures of a million records.
            file.write(piece.encode("utf-8", "backslashreplace"))
        file.write(b"\n")


def read_results(path: str | Path) -> Evaluation:
    """Read an eval_results.json.

    Raises:
        DataError: If it is no such file.
    """
    content = _load(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise DataError(f"format is {found!r}", where=str(path), expected=repr(FORMAT))
    try:
        return _from_json(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"the file is damaged ({type(error).__name__}: {error})",
            where=str(path),
            expected="an eval_results.json as `omniflow evaluate` writes it",
        ) from error


def _load(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(
            f"the file cannot be read ({error.strerror or error})",
            where=str(path),
            expected="an eval_results.json",
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"not valid JSON: {error}", where=str(path), expected="an eval_results.json"
        ) from error


def _from_json(content: Mapping[str, Any]) -> Evaluation:
    records = content.get("records") or {"ids": [], "values": {}, "statistics": {}}
    source = content.get("predictions") or {}
    return Evaluation(
        model=content["model"],
        task=content["task"],
        samples=int(content["samples"]),
        figures={
            name: _figure_from_json(
                figure, records["values"].get(name), records["statistics"].get(name)
            )
            for name, figure in content["metrics"].items()
        },
        ids=tuple(records["ids"]),
        path=source.get("path"),
        sha256=source.get("sha256"),
        dataset=content.get("dataset"),
        split=content.get("split"),
    )


def _figure_from_json(content: Mapping[str, Any], values: Any, statistics: Any) -> Figure:
    import numpy as np

    interval = content.get("interval")
    return Figure(
        value=_number(content["value"]),
        samples=int(content["samples"]),
        signature=dict(content["signature"]),
        higher_is_better=content.get("higher_is_better"),
        interval=None
        if interval is None
        else Interval(
            low=_number(interval["low"]),
            high=_number(interval["high"]),
            method=interval["method"],
            resamples=interval["resamples"],
            seed=interval["seed"],
        ),
        component=content.get("component"),
        options=content.get("options"),
        details={key: _number(figure) for key, figure in content["details"].items()},
        notes=tuple(content.get("notes", ())),
        values=None if values is None else np.array([_number(value) for value in values]),
        statistics=None if statistics is None else np.array(statistics, dtype=np.float64),
    )


def _interval_to_json(interval: Interval) -> dict[str, Any]:
    return {
        "low": _finite(interval.low),
        "high": _finite(interval.high),
        "level": LEVEL,
        "method": interval.method,
        "resamples": interval.resamples,
        "seed": interval.seed,
    }


def _with_records(text: str, evaluation: Evaluation) -> Iterator[str]:
    """The JSON of an evaluation with the figures of its records, each list in a line."""

    def line(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)

    # A list a line: thousands of numbers below one another are no help to a reader.
    yield text.removesuffix("\n}") + ',\n  "records": {\n    "ids": ' + line(list(evaluation.ids))
    for title, read in (("values", _values_of), ("statistics", _statistics_of)):
        yield f',\n    "{title}": {{'
        separator, end = "\n", "}"
        for name, figure in evaluation.figures.items():
            found = read(figure)
            if found is not None:
                yield f"{separator}      {line(name)}: {line(found)}"
                separator, end = ",\n", "\n    }"
        yield end
    yield "\n  }\n}"


def _values_of(figure: Figure) -> list[float | None] | None:
    return None if figure.values is None else [_finite(value) for value in figure.values.tolist()]


def _statistics_of(figure: Figure) -> list[Any] | None:
    return None if figure.statistics is None else list(figure.statistics.tolist())


def _finite(figure: float) -> float | None:
    # JSON has no word for infinity, and none for numpy's numbers, which a plugin may return.
    return float(figure) if math.isfinite(figure) else None


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
