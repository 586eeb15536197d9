"""Pieces of a page: sections, tables, legends; every text is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from omniflow.evaluation.comparison_table import Table
from omniflow.evaluation.report.curves import series_class


def section(identifier: str, title: str, parts: Iterable[str]) -> str:
    """Parts below a heading; nothing when there is no part."""
    content = "\n".join(part for part in parts if part)
    if not content:
        return ""
    return f'<section id="{identifier}"><h2>{escape(title)}</h2>\n{content}\n</section>'


def paragraph(text: str, kind: str = "soft") -> str:
    """A text on its own."""
    return f'<p class="{kind}">{escape(text)}</p>'


def charts(drawn: Iterable[str]) -> str:
    """Charts beside one another, as many as there is room for; nothing when there is none."""
    listed = [chart for chart in drawn if chart]
    return f'<div class="charts">{"".join(listed)}</div>' if listed else ""


def legend(names: Sequence[tuple[int, str]]) -> str:
    """Runs with their colours; nothing for a single one."""
    if len(names) < 2:
        return ""
    items = "".join(f"<li>{key(position)}{escape(name)}</li>" for position, name in names)
    return f'<ul class="legend">{items}</ul>'


def key(position: int) -> str:
    """The colour of a run."""
    return f'<span class="key {series_class(position)}"></span>'


def table(content: Table, *, is_text: bool = False, kinds: Sequence[str] = ()) -> str:
    """A table that scrolls on its own where it is wider than the page.

    Args:
        content: Its cells.
        is_text: Whether cells are texts, and not figures.
        kinds: A class for the cells of the last column, one a row.
    """
    figures = content.figures()
    sides = ["" if at in figures else ' class="word"' for at in range(len(content.headers))]
    titles = zip(sides, content.headers, strict=True)
    head = "".join(f"<th{side}>{escape(header)}</th>" for side, header in titles)
    body = []
    for number, row in enumerate(content.rows):
        cells = [f"<td{side}>{_cell(cell)}</td>" for side, cell in zip(sides, row, strict=True)]
        if kinds and kinds[number]:
            cells[-1] = f'<td class="word {kinds[number]}">{escape(row[-1])}</td>'
        body.append(f"<tr>{''.join(cells)}</tr>")
    title = f"<h3>{escape(content.title)}</h3>" if content.title else ""
    note = paragraph(content.note) if content.note else ""
    left = ' class="left"' if is_text else ""
    # Reachable by the keyboard, as it may have to be scrolled.
    return (
        f'{title}<div class="wide" tabindex="0"><table{left}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{note}"
    )


def _cell(text: str) -> str:
    """A cell; an interval goes below its figure."""
    value, bracket, rest = text.partition(" [")
    if bracket and rest.endswith("]") and _is_number(value):
        return f"{escape(value)}<small>{escape('[' + rest)}</small>"
    return escape(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
