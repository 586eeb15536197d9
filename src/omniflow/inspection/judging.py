"""What is wrong with a split, as far as its records tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from omniflow.errors import DataError
from omniflow.inspection.bad_share import is_beyond
from omniflow.inspection.reading import Failure, tasks_served

if TYPE_CHECKING:
    from omniflow.inspection.report import SplitReport
    from omniflow.inspection.split_reading import SplitReading
    from omniflow.tasks import Task

#: Records that a message names.
_NAMED = 5


def judged(
    report: SplitReport, readings: Sequence[SplitReading], tasks: Sequence[Task], bad_records: float
) -> tuple[list[DataError], list[str]]:
    """What stands in the way of using a split, and what does not but should be known.

    Args:
        report: The split.
        readings: How it was read: whole records first, then texts alone if there was more to read.
        tasks: Those that its samples may serve; empty for any.
        bad_records: Share of records that a run may skip.
    """
    where = f"dataset {report.dataset}, split {report.split}"
    if not readings[0].read:
        return [DataError("it is empty", where=where, expected="at least one record")], []
    problems: list[DataError] = []
    notes: list[str] = []
    for reading in readings:
        _judge_failures(reading, where, bad_records, problems, notes)
    _judge_tasks(readings[0], where, tasks, problems, notes)
    return problems, notes


def _judge_failures(
    reading: SplitReading,
    where: str,
    bad_records: float,
    problems: list[DataError],
    notes: list[str],
) -> None:
    fatal = [failure for failure in reading.failures if not failure.is_skippable]
    skipped = [failure for failure in reading.failures if failure.is_skippable]
    if fatal:
        expected = "none that ends a run (a dataset raises RecordError for what is to be skipped)"
        problems.append(_told(reading, where, fatal, expected))
    if is_beyond(len(skipped), reading.read, bad_records, is_whole=reading.is_whole):
        allowed = f"at most {bad_records:.4g} of them" if bad_records else "none of them"
        problems.append(_told(reading, where, skipped, f"{allowed} (training.bad_records)"))
    elif skipped:
        told = _told(reading, where, skipped)
        notes.append(f"{told}: a run skips them, up to training.bad_records")


def _told(
    reading: SplitReading, where: str, failures: Sequence[Failure], expected: str | None = None
) -> DataError:
    named = [f"{failure.id or failure.position}: {failure.reason}" for failure in failures[:_NAMED]]
    more = [f"and {len(failures) - _NAMED} more"] * (len(failures) > _NAMED)
    read = f"{reading.read} records" + ("" if reading.is_whole else " that were looked at")
    problem = f"{len(failures)} of {read} cannot be read"
    return DataError(problem, where=where, expected=expected, notes=[*named, *more])


def _judge_tasks(
    reading: SplitReading,
    where: str,
    tasks: Sequence[Task],
    problems: list[DataError],
    notes: list[str],
) -> None:
    """Records that bring too little for any task are of no use; all of them, and nothing is."""
    useless = {
        brought: count
        for brought, count in reading.mix.items()
        if not tasks_served(tasks, brought.split("+"))
    }
    if not useless or not tasks:
        return
    count, readable = sum(useless.values()), sum(reading.mix.values())
    problem = DataError(
        f"{count} of {readable} records serve no task",
        where=where,
        expected=f"what one of {', '.join(map(str, tasks))} is given and makes",
        notes=["they bring: " + ", ".join(f"{name} ({many})" for name, many in useless.items())],
    )
    if count == readable:
        problems.append(problem)
    else:
        notes.append(str(problem))
