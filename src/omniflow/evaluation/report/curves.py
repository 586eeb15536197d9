"""Curves along the steps, one line a run, as SVG."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from omniflow.evaluation.report.scales import Scale, spanning, tick_text
from omniflow.evaluation.run_record import Curve

WIDTH, HEIGHT = 360, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 10, 26

#: Points of a line; longer ones are thinned out, their first and last points kept.
MOST_POINTS = 300


@dataclass(frozen=True)
class Line:
    """One run's values.

    Args:
        position: Of the run among all; it decides the colour.
        name: Of the run.
        points: Steps and values.
    """

    position: int
    name: str
    points: Curve


def curve_chart(title: str, lines: Sequence[Line], *, may_be_log: bool = True) -> str:
    """A chart of lines that have a point at least; no chart when none has.

    Args:
        title: What stands above it.
        lines: One a run.
        may_be_log: Whether values over several powers of ten take a logarithmic scale.
    """
    drawn = [Line(line.position, line.name, thinned(line.points)) for line in lines if line.points]
    if not drawn:
        return ""
    steps = [step for line in drawn for step, _ in line.points]
    values = [value for line in drawn for _, value in line.points]
    across = Scale(min(steps), max(steps), _LEFT, WIDTH - _RIGHT)
    upward = spanning(values, HEIGHT - _BOTTOM, _TOP, may_be_log=may_be_log)
    is_log = ", logarithmic" if upward.is_log else ""
    data = [
        {"s": line.position, "n": line.name, "p": [_placed(p, across, upward) for p in line.points]}
        for line in drawn
    ]
    return (
        f'<figure class="chart curve" data-lines="{escape(json.dumps(data))}">'
        f"<figcaption>{escape(title)}<small>{is_log}</small></figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)} along the steps">'
        f"{''.join([*_axes(across, upward), *(_drawn(line, across, upward) for line in drawn)])}"
        '<line class="cross" x1="0" x2="0" y1="10" y2="194" visibility="hidden"/></svg>'
        '<p class="readout" aria-hidden="true"></p></figure>'
    )


def thinned(points: Curve, most: int = MOST_POINTS) -> Curve:
    """At most so many of the points, evenly spread."""
    if len(points) <= most:
        return points
    last = len(points) - 1
    return [points[round(number * last / (most - 1))] for number in range(most)]


def _placed(point: tuple[int, float], across: Scale, upward: Scale) -> list[float]:
    step, value = point
    return [
        step, float(f"{value:.5g}"), round(across.place(step), 1), round(upward.place(value), 1)
    ]  # fmt: skip


def _axes(across: Scale, upward: Scale) -> list[str]:
    parts = []
    for tick in upward.ticks():
        y = upward.place(tick)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick_text(tick)}</text>'
        )
    for tick in across.ticks(4):
        x = across.place(tick)
        anchor = "end" if x > WIDTH - 40 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="{anchor}">{tick_text(tick)}</text>'
        )
    return parts


def _drawn(line: Line, across: Scale, upward: Scale) -> str:
    places = [(across.place(step), upward.place(value)) for step, value in line.points]
    colour = series_class(line.position)
    name = f"<title>{escape(line.name)}</title>"
    if len(places) == 1:
        (x, y), *_ = places
        return f'<circle class="dot {colour}" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{name}</circle>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    return f'<polyline class="line {colour}" points="{path}">{name}</polyline>'


def series_class(position: int) -> str:
    """Colour of a run; from the ninth on colours come again, dashed in lines."""
    return f"s{position % 8}" + (" again" if position >= 8 else "")
