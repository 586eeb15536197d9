"""`omniflow compare`: runs and their predictions side by side; needs no torch for texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from omniflow.errors import ConfigError
from omniflow.plugins import installed_plugins
from omniflow_cli import render
from omniflow_cli.flags import AsJson, Verbose, check_writable, checked_flags, text

if TYPE_CHECKING:
    from omniflow.evaluation.comparison import Comparison
    from omniflow.evaluation.entries import Scoring
    from omniflow.evaluation.predictions import PredictionFile
    from omniflow.evaluation.results import Evaluation


@dataclass(frozen=True, kw_only=True)
class ComparisonOptions:
    """Numbers of a comparison; see the help of the flags."""

    resamples: int = 1000
    seed: int = 0
    rows: int = 50

    def __post_init__(self) -> None:
        from omniflow.evaluation.bootstrap import check_settings

        check_settings(self.resamples, self.seed)
        if self.rows < 1:
            raise ConfigError("rows", self.rows, expected="a whole number >= 1")


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Runs, or files that `omniflow generate` or `evaluate` wrote; the others are "
            "compared with the first.",
            metavar="RUN...",
        ),
    ],
    output: Annotated[str, text("The page; report.html.", "FILE")] = "report.html",
    figures: Annotated[
        str | None, text("Folder for PNG figures; needs the extra `report`.", "FOLDER")
    ] = None,
    markdown: Annotated[
        str | None, text("Where to write the tables as Markdown; - for stdout.", "FILE")
    ] = None,
    metrics: Annotated[
        str | None,
        text(
            "Metrics by name, computed anew of the predictions; those of eval_results.json, and "
            "where there is none, what suits the predictions.",
            "NAME,NAME",
        ),
    ] = None,
    resamples: Annotated[
        str | None, text("Draws for a difference; 1000, and 0 for none.", "N")
    ] = None,
    seed: Annotated[str | None, text("Start of the draws; 0.", "N")] = None,
    rows: Annotated[
        str | None,
        text("Predictions in the page: worst, best, most different, others; 50 of each.", "N"),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Compare runs, and write a page about them.

    The others are compared with the first one, metric by metric, by the paired bootstrap.
    """
    from omniflow.evaluation.comparison import compare as compared
    from omniflow.evaluation.entries import read_entries
    from omniflow.evaluation.figures import require_matplotlib, write_figures
    from omniflow.evaluation.report.page import write_report

    numbers = {"resamples": resamples, "seed": seed, "rows": rows}
    options = checked_flags(ComparisonOptions, numbers, owner="compare")
    check_writable(Path(output), flag="--output")
    if markdown not in (None, "-"):
        check_writable(Path(str(markdown)), flag="--markdown")
    if figures is not None:
        require_matplotlib(where="--figures")
    names = [name for name in (one.strip() for one in (metrics or "").split(",")) if name]
    entries = read_entries(runs, score=_scoring(names, options), scores_anew=bool(names))
    comparison = compared(entries, resamples=options.resamples, seed=options.seed)
    title = "Comparison of runs" if len(entries) > 1 else entries[0].name
    write_report(output, comparison, title=title, rows=options.rows)
    drawn = [] if figures is None else write_figures(figures, comparison)
    _tell(comparison, output, drawn, markdown, as_json=as_json)


def _scoring(names: Sequence[str], options: ComparisonOptions) -> Scoring:
    """Scores predictions with the named metrics, or with those that suit them."""
    from omniflow.evaluation.choices import choose_metrics, construct_metrics, fitting_metrics
    from omniflow.evaluation.scoring import evaluate_predictions

    registry = installed_plugins().registry
    # What was named is looked up before anything is read.
    asked = choose_metrics(names, registry, where="--metrics")

    def score(predictions: PredictionFile, path: Path) -> Evaluation:
        choices = asked or choose_metrics(fitting_metrics(predictions.records), registry)
        return evaluate_predictions(
            predictions,
            construct_metrics(choices, registry),
            choices=choices,
            resamples=options.resamples,
            seed=options.seed,
            path=path,
        )

    return score


def _tell(
    comparison: Comparison,
    output: str,
    drawn: Sequence[Path],
    markdown: str | None,
    *,
    as_json: bool,
) -> None:
    from omniflow.evaluation.comparison_table import difference_table, main_table
    from omniflow.evaluation.comparison_table import markdown as as_markdown
    from omniflow.files import write_text

    if markdown not in (None, "-"):
        write_text(str(markdown), as_markdown(comparison))
    if as_json:
        written = {"report": output, "figures": [str(path) for path in drawn]}
        render.as_json({**comparison.to_dict(), **written})
        return
    if markdown == "-":
        typer.echo(as_markdown(comparison), nl=False)
    else:
        for table in (main_table(comparison), difference_table(comparison)):
            if table.rows:
                render.headed_table(table.headers, table.rows, right=table.figures())
    for note in comparison.all_notes():
        render.note(f"note: {note}")
    for path in [output, *drawn]:
        render.note(f"written: {path}")
