"""The measured figures of a model, from `eval_results.json`, as its card shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from omniflow.checkpoints import read_json
from omniflow.errors import CheckpointError

RESULTS = "eval_results.json"

#: What `omniflow.evaluation.results` writes, which stands above this.
FORMAT = "omniflow.evaluation/1"


@dataclass(frozen=True)
class CardFigure:
    """A figure.

    Args:
        metric: Its name.
        value: The figure.
        interval: Low and high end of its 95 % interval; None when there is none.
        samples: How many records it is of.
        signature: Implementation and settings, on one line.
    """

    metric: str
    value: float
    interval: tuple[float, float] | None
    samples: int
    signature: str


@dataclass(frozen=True)
class CardFigures:
    """What an evaluation found.

    Args:
        task: The task; None when unsaid.
        dataset: The data: Hub ids or names; None when unsaid.
        split: Their split; None when unsaid.
        model: What made the predictions, as it was named; None when unsaid.
        figures: The figures.
        content: The file, without the figures of single records.
    """

    task: str | None
    dataset: str | None
    split: str | None
    model: str | None
    figures: Sequence[CardFigure]
    content: Mapping[str, Any]


def read_figures(path: Path) -> CardFigures:
    """Read an eval_results.json.

    Raises:
        CheckpointError: If it is no such file.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(
            "is not a file of results",
            where=str(path),
            expected="an eval_results.json as `omniflow evaluate` writes it",
        )
    try:
        figures = [_figure(name, figure) for name, figure in content["metrics"].items()]
        # Ids of records are those of somebody's data, and nobody has asked for them.
        rest = {key: value for key, value in content.items() if key != "records"}
        for name in ("task", "dataset", "split", "model"):
            if not isinstance(content.get(name), str | None):
                raise TypeError(f"{name} is no text")
        return CardFigures(
            task=content["task"],
            dataset=content.get("dataset"),
            split=content.get("split"),
            model=content["model"],
            figures=[figure for figure in figures if figure is not None],
            content=rest,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the file is damaged ({type(error).__name__}: {error})", where=str(path)
        ) from error


def _figure(name: str, content: Mapping[str, Any]) -> CardFigure | None:
    if content["value"] is None:
        return None
    interval = content["interval"]
    ends = None if interval is None else (interval["low"], interval["high"])
    value = float(content["value"])
    if not isfinite(value):
        raise ValueError(f"{name} is {value}")
    return CardFigure(
        metric=name,
        value=value,
        interval=None if ends is None or None in ends else (float(ends[0]), float(ends[1])),
        samples=int(content["samples"]),
        signature=", ".join(f"{key} {value}" for key, value in content["signature"].items()),
    )
