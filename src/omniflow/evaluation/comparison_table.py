"""A comparison as tables of texts: for a terminal, Markdown and a page alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omniflow.evaluation.comparison import CODE_PERPLEXITY, DEAD_CODES, Comparison, ends_of
from omniflow.evaluation.entries import Entry
from omniflow.evaluation.paired import Difference
from omniflow.evaluation.results import Figure
from omniflow.evaluation.run_record import RunRecord

#: Where something is not known.
NOTHING = "-"


@dataclass(frozen=True)
class Table:
    """Cells in rows, the first of each being its name.

    Args:
        headers: Names of the columns.
        rows: One text a column.
        title: What stands above it.
        note: What stands below it.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""

    def figures(self) -> list[int]:
        """Positions of the columns without a word in them, which are aligned at their right."""
        columns = range(1, len(self.headers))
        return [at for at in columns if not any(row[at][:1].isalpha() for row in self.rows)]


def main_table(comparison: Comparison) -> Table:
    """Runs in rows: sizes, time, perplexity, codes and every metric; columns without any are left.

    An interval stands behind its figure.
    """
    entries = comparison.entries
    columns: list[tuple[str, list[str]]] = [
        ("parameters", [_count(_total(entry.run)) for entry in entries]),
        ("trained", [_count(entry.run.trainable if entry.run else None) for entry in entries]),
        ("training s", [_seconds(entry.run) for entry in entries]),
        ("PPL (step)", [_ppl(entry.run) for entry in entries]),
        ("codes", [_codes(entry.run) for entry in entries]),
        ("records", [_samples(entry) for entry in entries]),
        *(
            (name, [figure_text(comparison.figure(i, name)) for i in range(len(entries))])
            for name in comparison.metrics
        ),
    ]
    shown = [(name, cells) for name, cells in columns if set(cells) != {NOTHING}]
    return Table(
        headers=["run", *(name for name, _ in shown)],
        rows=[
            [entry.name, *(cells[position] for _, cells in shown)]
            for position, entry in enumerate(entries)
        ],
    )


def difference_table(comparison: Comparison) -> Table:
    """A row for each metric of each run: the difference to the first, its interval, its p-value."""
    first = comparison.entries[0].name
    rows = [
        [
            comparison.entries[position].name,
            metric,
            signed(difference.value),
            interval_text(*ends_of(difference)),
            p_text(difference),
            str(difference.samples),
            {True: "better", False: "worse", None: ""}[comparison.is_better(position, metric)],
        ]
        for (position, metric), difference in comparison.differences.items()
    ]
    return Table(
        headers=["run", "metric", f"minus {first}", "95 % interval", "p", "records", "clearly"],
        rows=rows,
    )


def markdown(comparison: Comparison) -> str:
    """The tables as Markdown, with the notes below them."""
    parts = [markdown_table(main_table(comparison))]
    if comparison.differences:
        parts.append(markdown_table(difference_table(comparison)))
    if notes := comparison.all_notes():
        parts.append("\n".join(f"- {_plain(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """A table as Markdown, without its title and note."""
    figures = table.figures()
    alignments = ["---:" if at in figures else "---" for at in range(len(table.headers))]
    lines = [table.headers, alignments, *table.rows]
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """A text that a table of Markdown holds in one cell."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def figure_text(figure: Figure | None) -> str:
    """A figure with its interval."""
    if figure is None:
        return NOTHING
    value = number(figure.value)
    if figure.interval is None:
        return value
    return f"{value} {interval_text(figure.interval.low, figure.interval.high)}"


def interval_text(low: float, high: float) -> str:
    """An interval in brackets."""
    return f"[{number(low)}, {number(high)}]"


def number(value: float) -> str:
    """Four digits after the point, or as many in all of what is large."""
    return f"{value:.4g}" if abs(value) >= 100 else f"{value:.4f}"


def signed(value: float) -> str:
    """A number with its sign."""
    return f"{'+' if value >= 0 else ''}{number(value)}"


def p_text(difference: Difference) -> str:
    """A p-value; the smallest one is a bound, set by the number of draws."""
    resamples = difference.interval.resamples or 1
    bound = 2 / (resamples + 1)
    sign = "<= " if difference.p_value <= bound * 1.0001 else ""
    return f"{sign}{difference.p_value:.3g}"


def _total(run: RunRecord | None) -> int | None:
    return None if run is None or run.parameters is None else sum(run.parameters.values())


def _count(value: int | None) -> str:
    return NOTHING if value is None else f"{value:,}"


def _seconds(run: RunRecord | None) -> str:
    return NOTHING if run is None or run.training_seconds is None else f"{run.training_seconds:.1f}"


def _ppl(run: RunRecord | None) -> str:
    best = None if run is None else run.best("ppl")
    return NOTHING if best is None else f"{best[1]:.4g} ({best[0]})"


def _codes(run: RunRecord | None) -> str:
    """Codes in use of all, and dead ones."""
    perplexity = None if run is None else run.last(CODE_PERPLEXITY)
    if run is None or perplexity is None:
        return NOTHING
    size = f" of {run.codebook_size:,}" if run.codebook_size else ""
    dead = run.last(DEAD_CODES)
    return f"{perplexity:.4g}{size}" + ("" if dead is None else f", {dead:.0f} dead")


def _samples(entry: Entry) -> str:
    return NOTHING if entry.evaluation is None else str(entry.evaluation.samples)
