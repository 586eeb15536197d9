"""Figures as bars with their intervals, and differences around zero, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from omniflow.evaluation.comparison import Comparison, ends_of
from omniflow.evaluation.comparison_table import number, p_text, signed
from omniflow.evaluation.report.curves import series_class
from omniflow.evaluation.report.scales import Scale, around_zero, spanning, tick_text

WIDTH = 360
_LEFT, _RIGHT, _ROW, _BOTTOM = 6, 12, 40, 24

#: Letters of a name that fit beside its figure.
_LONGEST = 30


@dataclass(frozen=True)
class _Bar:
    position: int
    name: str
    value: float
    ends: tuple[float, float] | None
    said: str


def metric_chart(comparison: Comparison, metric: str) -> str:
    """A bar for each run that has the figure, from zero, with its interval."""
    bars = []
    for position, entry in enumerate(comparison.entries):
        figure = comparison.figure(position, metric)
        if figure is None or not math.isfinite(figure.value):
            continue
        interval = figure.interval
        ends = None if interval is None else (interval.low, interval.high)
        bars.append(_Bar(position, entry.name, figure.value, ends, number(figure.value)))
    better = {True: "higher is better", False: "lower is better", None: "neither end is best"}
    return _chart(metric, better[comparison.higher_is_better(metric)], bars, is_bar=True)


def difference_chart(comparison: Comparison, metric: str) -> str:
    """How far each run is from the first, with the interval, around zero."""
    bars = [
        _Bar(
            position,
            comparison.entries[position].name,
            difference.value,
            ends_of(difference),
            f"{signed(difference.value)}, p {p_text(difference)}",
        )
        for (position, of), difference in comparison.differences.items()
        if of == metric and math.isfinite(difference.value)
    ]
    first = comparison.entries[0].name
    return _chart(f"{metric} minus {first}", "", bars, is_bar=False)


def _chart(title: str, hint: str, bars: Sequence[_Bar], *, is_bar: bool) -> str:
    if not bars:
        return ""
    values = [value for bar in bars for value in (bar.value, *_finite(bar.ends))]
    room = (_LEFT, WIDTH - _RIGHT)
    across = spanning(values, *room, from_zero=True) if is_bar else around_zero(values, *room)
    height = len(bars) * _ROW + _BOTTOM
    parts = [_grid(across, height)]
    parts += [_row(bar, row * _ROW, across, is_bar=is_bar) for row, bar in enumerate(bars)]
    return (
        f'<figure class="chart"><figcaption>{escape(title)} <small>{escape(hint)}</small>'
        f'</figcaption><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg></figure>'
    )


def _grid(across: Scale, height: int) -> str:
    parts = []
    bottom = height - _BOTTOM + 4
    for tick in across.ticks(4):
        x = across.place(tick)
        kind = "axis" if tick == 0 else "grid"
        anchor = "start" if x < 20 else "end" if x > WIDTH - 24 else "middle"
        parts.append(
            f'<line class="{kind}" x1="{x:.1f}" x2="{x:.1f}" y1="2" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{height - 6}" text-anchor="{anchor}">{tick_text(tick)}</text>'
        )
    return "".join(parts)


def _row(bar: _Bar, top: float, across: Scale, *, is_bar: bool) -> str:
    colour, middle = series_class(bar.position), top + 28
    x, zero = across.place(bar.value), across.place(0.0)
    parts = [
        f'<text class="name" x="{_LEFT}" y="{top + 14}">{escape(_short(bar.name))}'
        f"<title>{escape(bar.name)}</title></text>"
        f'<text class="value" x="{WIDTH - _RIGHT}" y="{top + 14}" text-anchor="end">'
        f"{escape(bar.said)}</text>"
    ]
    if is_bar:
        left, width = min(x, zero), max(1.0, abs(x - zero))
        parts.append(
            f'<rect class="bar {colour}" x="{left:.1f}" y="{top + 21}" width="{width:.1f}" '
            'height="14" rx="2"/>'
        )
    if ends := _finite(bar.ends):
        low, high = across.place(ends[0]), across.place(ends[-1])
        caps = "".join(
            f'<line x1="{end:.1f}" x2="{end:.1f}" y1="{middle - 4}" y2="{middle + 4}"/>'
            for end in (low, high)
        )
        shown = "whisker" if is_bar else f"whisker {colour}"
        parts.append(
            f'<g class="{shown}"><line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" '
            f'y2="{middle}"/>{caps}</g>'
        )
    if not is_bar:
        parts.append(f'<circle class="dot {colour}" cx="{x:.1f}" cy="{middle}" r="5"/>')
    return "".join(parts)


def _finite(ends: tuple[float, float] | None) -> list[float]:
    return [end for end in ends or () if math.isfinite(end)]


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
