"""What a check of data found, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from omniflow_cli import render

if TYPE_CHECKING:
    from omniflow.inspection.contents import Repeats
    from omniflow.inspection.lengths import Lengths
    from omniflow.inspection.report import DataCheck, SplitReport

#: Records that cannot be read, as many as are shown of a split; JSON has all of them.
SHOWN = 10

_LENGTHS = ("shortest", "p5", "median", "p95", "p99", "longest")


def show(check: DataCheck) -> None:
    """Print all tables that have something in them, and the verdict."""
    if check.splits:
        rows = [_split(report) for report in check.splits]
        titles = ("dataset", "split", "records", "readable", "bring", "serve")
        render.headed_table(titles, rows, right=(2,))
    columns = [row for report in check.splits for row in _columns(report)]
    if columns:
        # Splits of a dataset have the same ones, as a rule.
        render.headed_table(("dataset", "column", "read as"), list(dict.fromkeys(columns)))
    lengths = [row for report in check.splits for row in _lengths(report)]
    if lengths:
        of_lengths = ("dataset", "split", "unit", "texts", *_LENGTHS, "cut")
        render.headed_table(of_lengths, lengths, right=range(3, 11))
    repeated = [_repeats(each) for each in check.repeats if each.count]
    if repeated:
        of_repeats = ("more than once", "in", "and in", "count", "compared", "such as")
        render.headed_table(of_repeats, repeated, right=(3,))
    failures = [row for report in check.splits for row in _failures(report)]
    if failures:
        render.headed_table(("dataset", "split", "record", "cannot be read"), failures)
    render.facts(_facts(check))


def _split(report: SplitReport) -> tuple[str, ...]:
    if report.is_stream:
        known = f"{report.size:,}" if report.size is not None else f"> {report.read - 1:,}"
        records = f"{known}, streamed"
    else:
        records = f"{report.size:,}"
    good = report.read - len(report.failures)
    return (
        report.dataset,
        report.split,
        records,
        f"{good:,} of {report.read:,}",
        _counted(report.mix),
        _counted(report.tasks),
    )


def _columns(report: SplitReport) -> Iterator[tuple[str, ...]]:
    for column, role in report.columns.items():
        yield report.dataset, column, role or "(not read)"


def _lengths(report: SplitReport) -> Iterator[tuple[str, ...]]:
    where = report.dataset, report.split
    if report.characters is not None:
        yield *where, "characters", *_figures(report.characters), ""
    if report.tokens is not None:
        found = report.tokens
        cut = "" if found.max_length is None else f"{found.cut / found.lengths.count:.1%}"
        yield *where, "tokens", *_figures(found.lengths), cut


def _figures(lengths: Lengths) -> tuple[str, ...]:
    return f"{lengths.count:,}", *(f"{getattr(lengths, name):,}" for name in _LENGTHS)


def _repeats(found: Repeats) -> tuple[str, ...]:
    one, other = found.compared
    is_within = found.first == found.second
    compared = f"{one:,}" if is_within else f"{one:,} with {other:,}"
    return (
        found.modality,
        found.first,
        "(itself)" if is_within else found.second,
        f"{found.count:,}",
        f"{compared}, {'all' if found.is_complete else 'a sample'}",
        " = ".join(found.examples[0]) if found.examples else "",
    )


def _failures(report: SplitReport) -> Iterator[tuple[str, ...]]:
    failures = [*report.failures, *report.text_failures]
    for failure in failures[:SHOWN]:
        yield report.dataset, report.split, failure.id or str(failure.position), failure.reason
    if len(failures) > SHOWN:
        yield report.dataset, report.split, "...", f"and {len(failures) - SHOWN} more (--json)"


def _facts(check: DataCheck) -> list[tuple[str, str]]:
    facts = []
    if check.repeats and not any(each.count for each in check.repeats):
        facts.append(("duplicates", f"none, {_extent(check)}"))
    elif not all(each.is_complete for each in check.repeats):
        facts.append(("duplicates", f"at least those above, {_extent(check)}"))
    verdict = "usable" if check.is_usable else f"not usable, {len(check.findings)} to put right"
    return [*facts, ("verdict", verdict)]


def _extent(check: DataCheck) -> str:
    if all(each.is_complete for each in check.repeats):
        return "everything compared"
    return "a sample compared (--records, --texts)"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
