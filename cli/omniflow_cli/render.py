"""Tables and facts: drawn with rich on a terminal, plain aligned lines in a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import typer


def is_terminal() -> bool:
    """Whether a person reads what goes to stdout."""
    return sys.stdout.isatty()


def line(text: str = "") -> None:
    """One line on stdout."""
    typer.echo(text)


def note(text: str) -> None:
    """One line on stderr, beside the output proper."""
    typer.echo(text, err=True)


def as_json(content: Any) -> None:
    """Plain data on stdout; a figure that is not finite is refused, JSON has no word for it."""
    typer.echo(json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2))


def table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()
) -> None:
    """A table, with headers on a terminal and without them in a pipe.

    Args:
        headers: Names of the columns.
        rows: One text a column.
        right: Positions of the columns that are aligned at their right, such as figures.
    """
    aligned = set(right)
    if not is_terminal():
        _plain_lines([list(row) for row in rows], aligned)
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for position, header in enumerate(headers):
        drawn.add_column(header, justify="right" if position in aligned else "left")
    for row in rows:
        # Text, not str: square brackets in it are no markup.
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def headed_table(
    headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: Iterable[int] = ()
) -> None:
    """A table whose headers stay in a pipe, for figures that alone say nothing; a blank line."""
    listed = list(rows)
    table(headers, listed if is_terminal() else [headers, *listed], right=right)
    line()


def facts(pairs: Iterable[tuple[str, str]]) -> None:
    """Names with their values, one pair a line."""
    if not is_terminal():
        _plain_lines([list(pair) for pair in pairs], set())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    for name, value in pairs:
        grid.add_row(Text(name, style="dim"), Text(value))
    Console().print(grid)


def _plain_lines(rows: list[list[str]], right: set[int]) -> None:
    if not rows:
        return
    widths = [max(len(row[position]) for row in rows) for position in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.rjust(width) if position in right else cell.ljust(width)
            for position, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        typer.echo("  ".join(cells).rstrip())
