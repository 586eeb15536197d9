"""From values to places on a drawing, and where to put its ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: A range that spans more than this is drawn on a logarithmic scale, if it may be.
LOG_FROM = 20.0


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` on places from `start` to `end`.

    Args:
        low: Value at `start`.
        high: Value at `end`.
        start: A place, in pixels.
        end: Another.
        is_log: Whether equal ratios take equal room; both values are then above 0.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def place(self, value: float) -> float:
        """Where a value is drawn; what is outside stays at the border."""
        low, high = self._drawn(self.low), self._drawn(self.high)
        share = 0.5 if low == high else (self._drawn(max(value, self._least)) - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values in the range, at least two where there is room for them."""
        if self.low == self.high:
            return [self.low]
        if self.is_log and self.high / self.low >= 10:
            return _log_ticks(self.low, self.high, most)
        return _even_ticks(self.low, self.high, most)

    @property
    def _least(self) -> float:
        return self.low if self.is_log else -math.inf

    def _drawn(self, value: float) -> float:
        return math.log(value) if self.is_log else value


def around_zero(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale with 0 in its middle that shows all values, at least one."""
    furthest = max(map(abs, values)) * 1.1 or 0.01
    return Scale(-furthest, furthest, start, end)


def spanning(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    from_zero: bool = False,
    may_be_log: bool = False,
) -> Scale:
    """A scale that shows all values, with a little room around them.

    Args:
        values: At least one.
        start: Place of the lowest.
        end: Place of the highest.
        from_zero: Whether 0 is shown.
        may_be_log: Whether the scale may be logarithmic.
    """
    low, high = min(values), max(values)
    if may_be_log and low > 0 and high / low > LOG_FROM:
        return Scale(low, high, start, end, is_log=True)
    if from_zero:
        low, high = min(0.0, low), max(0.0, high)
    margin = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    low_margin = 0.0 if from_zero and low == 0.0 else margin
    return Scale(low - low_margin, high + margin, start, end)


def tick_text(value: float) -> str:
    """A tick as short as it goes."""
    if value and abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1e3:
        return f"{value / 1e3:.3g}k"
    if value and abs(value) < 1e-2:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.3g}"


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    every = max(1, -(-len(powers) // most))
    ticks = [10.0**power for power in powers][::every]
    if len(ticks) >= 3:
        return ticks
    finer = [10.0**power * factor for power in (powers.start - 1, *powers) for factor in (1, 2, 5)]
    return [tick for tick in finer if low <= tick <= high]
