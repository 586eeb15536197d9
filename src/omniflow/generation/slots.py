"""Records computed in fixed places, so that a batch's size changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from omniflow.cache.frozen import CPU_ROWS

T = TypeVar("T")


def in_slots(
    numbers: Sequence[int], compute: Callable[[Sequence[int]], Sequence[T]], *, slots: int | None
) -> list[T]:
    """What is computed for each record, in computations of always the same shape.

    Matrix products of another number of rows differ in their last digits. Record `number` is
    always row `number % slots` of a computation of `slots` rows; rows without a record repeat
    another one.

    Args:
        numbers: Numbers of the records in their dataset, rising.
        compute: Gives one result for each of some positions in `numbers`.
        slots: Rows of a computation; all records at once when None.
    """
    if slots is None:
        return list(compute(range(len(numbers))))
    together: dict[int, list[int]] = {}
    for position, number in enumerate(numbers):
        together.setdefault(number // slots, []).append(position)
    results: list[T] = []
    for positions in together.values():
        rows = [positions[0]] * slots
        for position in positions:
            rows[numbers[position] % slots] = position
        made = compute(rows)
        results += [made[numbers[position] % slots] for position in positions]
    return results


def slots_of(device_type: str) -> int | None:
    """Rows of a computation on a kind of device: on the CPU those of frozen work, else any."""
    return CPU_ROWS if device_type == "cpu" else None
