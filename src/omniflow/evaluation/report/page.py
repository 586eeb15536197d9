"""The page as a whole: one HTML file with all that it shows, and no request to anywhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from importlib.resources import files
from pathlib import Path

from omniflow.evaluation.comparison import CLEAR, CODE_PERPLEXITY, DEAD_CODES, Comparison
from omniflow.evaluation.comparison_table import Table, difference_table, main_table
from omniflow.evaluation.report import html
from omniflow.evaluation.report.bars import difference_chart, metric_chart
from omniflow.evaluation.report.curves import Line, curve_chart
from omniflow.evaluation.report.recipes import recipe_table, whole_recipe
from omniflow.evaluation.report.row_data import MediaBudget, rows_json
from omniflow.evaluation.report.rows import MOST_OF_A_KIND, ChosenRows, choose_rows
from omniflow.evaluation.report.sample_section import samples_of_runs
from omniflow.files import write_text
from omniflow.version import __version__

#: Figures of the log that are no learning curve, or have a place of their own.
_NO_CURVES = frozenset(
    {
        "epoch", "seconds", "samples_per_s", "texts_cut", "records_skipped", "records_unserved",
        "since_best", CODE_PERPLEXITY, DEAD_CODES,
    }
)  # fmt: skip

#: Curves that stand before the others, split and name.
_TELLING = (
    ("validation", "ppl"), ("validation", "loss"), ("validation", "accuracy"), ("train", "loss"),
)  # fmt: skip

#: Curves that are seen at once; the others are behind a line to click on.
FIRST_CURVES = 6

#: Beginning of the figures that count what was drawn of each dataset.
_DRAWN = "samples_"

# The script alone may run, whatever a text contains; nothing may be asked of the network.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; \
media-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<header><h1>{title}</h1>{lead}<nav>{links}</nav></header>
<main>
{sections}
</main>
<footer><p>{made}</p></footer>
{rows}<script>{script}</script>
</body>
</html>
"""

_SECTIONS = {
    "summary": "Runs",
    "metrics": "Metrics",
    "curves": "Learning curves",
    "codes": "Code usage",
    "predictions": "Predictions",
    "samples": "Samples during training",
    "recipes": "Recipes",
    "notes": "What to know",
    "signatures": "How the figures were made",
}


def write_report(
    path: str | Path,
    comparison: Comparison,
    *,
    title: str = "Comparison of runs",
    lead: str = "",
    tables: Sequence[Table] = (),
    rows: int = MOST_OF_A_KIND,
) -> None:
    """Write a report, whole or not at all; arguments as in `report`.

    Raises:
        UsageError: If the target cannot be written to.
        OmniFlowError: If writing fails (a full disk).
    """
    write_text(path, report(comparison, title=title, lead=lead, tables=tables, rows=rows))


def report(
    comparison: Comparison,
    *,
    title: str = "Comparison of runs",
    lead: str = "",
    tables: Sequence[Table] = (),
    rows: int = MOST_OF_A_KIND,
) -> str:
    """A comparison as HTML; it needs no network, and of several predictions a choice is in it.

    Args:
        comparison: One run, or several.
        title: Its heading.
        lead: A sentence below it.
        tables: Tables that stand before all others.
        rows: Predictions of each kind that are in it, see `choose_rows`.
    """
    chosen = choose_rows(comparison, most=rows)
    budget = MediaBudget()
    data = "" if chosen is None else _rows(comparison, chosen, budget)
    contents = {
        "summary": _summary(comparison, tables),
        "metrics": _metrics(comparison),
        "curves": _curves(comparison),
        "codes": _codes(comparison),
        "predictions": _predictions(chosen),
        "samples": samples_of_runs(comparison.entries, budget),
        "recipes": _recipes(comparison),
        "notes": [_notes(comparison, chosen, budget)],
        "signatures": [_signatures(comparison)],
    }
    sections = {
        name: drawn
        for name, parts in contents.items()
        if (drawn := html.section(name, _SECTIONS[name], parts))
    }
    links = "".join(f'<a href="#{name}">{escape(_SECTIONS[name])}</a>' for name in sections)
    script = _resource("script.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return _PAGE.format(
        digest=digest,
        title=escape(title),
        style=_resource("style.css"),
        lead=html.paragraph(lead) if lead else "",
        links=links,
        sections="\n".join(sections.values()),
        made=f"Made by omniflow {__version__} at {now}.",
        rows=data,
        script=script,
    )


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _rows(comparison: Comparison, chosen: ChosenRows, budget: MediaBudget) -> str:
    higher = chosen.metric is None or comparison.higher_is_better(chosen.metric) is not False
    content = rows_json(chosen, budget, higher_is_better=higher)
    return f'<script type="application/json" id="rows">{content}</script>\n'


def _summary(comparison: Comparison, tables: Sequence[Table]) -> Iterator[str]:
    for extra in tables:
        yield html.table(extra)
    yield html.table(main_table(comparison))
    first = comparison.entries[0].name
    for sentence in verdicts(comparison):
        yield html.paragraph(sentence, "")
    if len(comparison.entries) > 1 and not comparison.differences:
        yield html.paragraph(f"No difference to {first} could be tested; see what to know below.")


def verdicts(comparison: Comparison) -> list[str]:
    """For each metric, which runs are clearly better or worse than the first one, or neither."""
    first = comparison.entries[0].name
    sentences = []
    for metric in comparison.metrics:
        found: dict[str, list[str]] = {}
        for position, of in comparison.differences:
            if of == metric:
                name = comparison.entries[position].name
                found.setdefault(_verdict(comparison, position, metric), []).append(name)
        parts = [f"{', '.join(found[said])} {said} {first}" for said in _VERDICTS if said in found]
        if parts:
            sentences.append(f"{metric}: {'; '.join(parts)}.")
    return sentences


_VERDICTS = (
    "clearly better than", "clearly worse than", "clearly different from",
    "not clearly different from",
)  # fmt: skip


def _verdict(comparison: Comparison, position: int, metric: str) -> str:
    better, worse, different, same = _VERDICTS
    if comparison.differences[position, metric].p_value >= CLEAR:
        return same
    return {True: better, False: worse, None: different}[comparison.is_better(position, metric)]


def _metrics(comparison: Comparison) -> Iterator[str]:
    yield html.charts(metric_chart(comparison, name) for name in comparison.metrics)
    if not comparison.differences:
        return
    first = comparison.entries[0].name
    yield f"<h3>Differences to {escape(first)}</h3>"
    yield html.charts(difference_chart(comparison, name) for name in comparison.metrics)
    shown = difference_table(comparison)
    kinds = [{"better": "good", "worse": "bad"}.get(row[-1], "") for row in shown.rows]
    table = html.table(shown, kinds=kinds)
    yield f"<details><summary>All differences in figures</summary>{table}</details>"
    yield html.paragraph(
        "Intervals hold 95 % of resamples of the records; p-values are of the paired bootstrap, "
        "two-sided. Clearly better or worse: p below 0.05."
    )


def _curves(comparison: Comparison) -> list[str]:
    drawn = [
        curve_chart(f"{name}, {split}", _lines(comparison, split, name), may_be_log=name != "lr")
        for split, name in _curves_by_interest(comparison)
    ]
    if not drawn:
        return []
    runs = [(i, entry.name) for i, entry in enumerate(comparison.entries) if entry.run is not None]
    first, rest = drawn[:FIRST_CURVES], html.charts(drawn[FIRST_CURVES:])
    more = f"<details><summary>More curves</summary>{rest}</details>" if rest else ""
    return [html.legend(runs), html.charts(first), more]


def _curves_by_interest(comparison: Comparison) -> list[tuple[str, str]]:
    """Split and name of every curve: the telling ones first, then as they stand in the log."""
    listed = [
        (split, name)
        for split in ("validation", "train")
        for name in _curve_names(comparison, split)
    ]
    first = [curve for curve in _TELLING if curve in listed]
    return [*first, *(curve for curve in listed if curve not in first)]


def _curve_names(comparison: Comparison, split: str) -> list[str]:
    names: dict[str, None] = {}
    for entry in comparison.entries:
        if entry.run is not None:
            names.update(dict.fromkeys(entry.run.curves.get(split, {})))
    return [name for name in names if name not in _NO_CURVES and not name.startswith(_DRAWN)]


def _lines(comparison: Comparison, split: str, name: str) -> list[Line]:
    return [
        Line(position, entry.name, entry.run.curves.get(split, {}).get(name, []))
        for position, entry in enumerate(comparison.entries)
        if entry.run is not None
    ]


def _codes(comparison: Comparison) -> list[str]:
    titles = {CODE_PERPLEXITY: "codes in use (perplexity)", DEAD_CODES: "dead codes"}
    grid = html.charts(
        curve_chart(title, _lines(comparison, "train", name)) for name, title in titles.items()
    )
    if not grid:
        return []
    with_codes = [
        (position, entry.name)
        for position, entry in enumerate(comparison.entries)
        if entry.run is not None and entry.run.last(CODE_PERPLEXITY) is not None
    ]
    sizes = {
        f"{entry.name} has {entry.run.codebook_size:,} codes"
        for entry in comparison.entries
        if entry.run is not None and entry.run.codebook_size
    }
    told = html.paragraph("; ".join(sorted(sizes)) + ".") if sizes else ""
    return [html.legend(with_codes), grid, told]


def _predictions(chosen: ChosenRows | None) -> list[str]:
    if chosen is None:
        return []
    shown = f"{len(chosen.rows):,} of {chosen.total:,} records are in this page"
    by = f", ranked by {chosen.metric}" if chosen.metric else ""
    how = f"{by}; search looks through these. Words that the reference lacks are marked."
    return [
        html.paragraph(shown + how),
        *(html.paragraph(note) for note in chosen.notes),
        '<div class="tools"><input type="search" id="search" placeholder="Search predictions, '
        'references and ids" aria-label="Search predictions"><span id="count" class="soft" '
        'role="status"></span></div><div class="tools" id="kinds"></div>',
        "<noscript><p>Predictions are shown by the script in this page.</p></noscript>"
        '<div id="list"></div><button type="button" id="more" hidden>show more</button>',
    ]


def _recipes(comparison: Comparison) -> list[str]:
    entries = comparison.entries
    differing = recipe_table(entries)
    if differing is None:
        return [
            f"<details><summary>Every option of {escape(entry.name)}</summary>"
            f"{html.table(whole, is_text=True)}</details>"
            for entry in entries
            if (whole := whole_recipe(entry)) is not None
        ]
    if not differing.rows:
        return [html.paragraph("The recipes are the same.")]
    return [html.paragraph("Options that differ."), html.table(differing, is_text=True)]


def _notes(comparison: Comparison, chosen: ChosenRows | None, budget: MediaBudget) -> str:
    notes = comparison.all_notes()
    if budget.left_out:
        notes.append(f"{budget.left_out} pictures and sounds had no room in this page")
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _signatures(comparison: Comparison) -> str:
    rows = []
    for position, entry in enumerate(comparison.entries):
        for name in comparison.metrics:
            figure = comparison.figure(position, name)
            if figure is None:
                continue
            signature = "; ".join(f"{key}: {value}" for key, value in figure.signature.items())
            interval = figure.interval
            how = "none" if interval is None else f"{interval.method}, {interval.resamples or '-'}"
            rows.append([entry.name, name, signature, how, "; ".join(figure.notes)])
    if not rows:
        return ""
    headers = ["run", "metric", "signature", "interval, draws", "notes"]
    return (
        "<details><summary>Implementations, versions and settings</summary>"
        f"{html.table(Table(headers, rows), is_text=True)}</details>"
    )
