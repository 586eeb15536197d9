"""PNG figures of a comparison, for papers and slides; drawn with matplotlib."""

from __future__ import annotations

import math
import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.errors import UsageError
from omniflow.evaluation.report.scales import LOG_FROM
from omniflow.files import check_name, replacing

if TYPE_CHECKING:
    from omniflow.evaluation.comparison import Comparison

#: Figures along the steps that are drawn, where runs have them.
CURVES = (
    ("validation", "ppl"), ("validation", "loss"), ("validation", "accuracy"),
    ("train", "loss"), ("train", "code_perplexity"),
)  # fmt: skip

COLOURS = (
    "#0072b2", "#d55e00", "#008763", "#b3478c", "#6f55c9", "#7d6600", "#0e7f94", "#a62b55",
)  # fmt: skip

_DPI = 160


def require_matplotlib(*, where: str | None = None) -> None:
    """Check that figures can be drawn, before any work starts.

    Raises:
        UsageError: If matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        raise UsageError(
            "PNG figures need the package matplotlib, which is not installed",
            where=where,
            notes=['install it with: pip install "omniflow-zoo[report]"'],
        )


def write_figures(folder: str | Path, comparison: Comparison) -> list[Path]:
    """Draw every metric, and the curves that runs have, each to a PNG file in a folder.

    Returns:
        The files, `metric-NAME.png` and `SPLIT-NAME.png`, each written whole or not at all.

    Raises:
        UsageError: If matplotlib is not installed, or the folder cannot be written to.
        OmniFlowError: If writing fails (a full disk).
    """
    require_matplotlib()
    check_name(folder)
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise UsageError(f"{folder} is a file", expected="a folder")
    drawn: list[Path] = []
    for metric in comparison.metrics:
        drawn.append(_saved(target / f"metric-{_safe(metric)}.png", _bars(comparison, metric)))
    for split, name in CURVES:
        figure = _curves(comparison, split, name)
        if figure is not None:
            drawn.append(_saved(target / f"{split}-{name}.png", figure))
    return drawn


def _new_figure(width: float, height: float) -> tuple[Any, Any]:
    # Not pyplot: it keeps every figure, and looks for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _bars(comparison: Comparison, metric: str) -> Any:
    rows = [
        (position, entry.name, figure)
        for position, entry in enumerate(comparison.entries)
        if (figure := comparison.figure(position, metric)) is not None
        and math.isfinite(figure.value)
    ]
    figure, axes = _new_figure(6.4, 1.0 + 0.45 * len(rows))
    for place, (position, _, shown) in enumerate(rows):
        axes.barh(place, shown.value, color=COLOURS[position % len(COLOURS)], alpha=0.8, height=0.6)
        interval = shown.interval
        if interval is not None and math.isfinite(interval.low) and math.isfinite(interval.high):
            middle = (interval.low + interval.high) / 2
            half = (interval.high - interval.low) / 2
            axes.errorbar(middle, place, xerr=half, color="#222222", capsize=3, fmt="none")
    axes.set_yticks(range(len(rows)), [_literal(name) for _, name, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel(f"{_literal(metric)} (95 % interval)")
    return figure


def _curves(comparison: Comparison, split: str, name: str) -> Any:
    """A figure of one line a run; None where no run has it."""
    lines = [
        (position, entry.name, entry.run.curves[split][name])
        for position, entry in enumerate(comparison.entries)
        if entry.run is not None and entry.run.curves.get(split, {}).get(name)
    ]
    if not lines:
        return None
    figure, axes = _new_figure(6.4, 4.0)
    for position, label, points in lines:
        steps, values = zip(*points, strict=True)
        colour = COLOURS[position % len(COLOURS)]
        marker = "o" if len(points) == 1 else None
        axes.plot(steps, values, color=colour, label=_literal(label), marker=marker)
    every = [value for _, _, points in lines for _, value in points]
    if min(every) > 0 and max(every) / min(every) > LOG_FROM:
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel(f"{name}, {split}")
    axes.grid(alpha=0.25)
    if len(lines) > 1:
        axes.legend(frameon=False)
    return figure


def _saved(path: Path, figure: Any) -> Path:
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI)
    return path


def _literal(name: str) -> str:
    """A name that matplotlib takes for text: dollars would make it mathematics."""
    return name.replace("$", r"\$")


def _safe(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)
