"""`omniflow pull`: a model from the Hugging Face Hub into a folder."""

from __future__ import annotations

from typing import Annotated

import typer

from omniflow_cli import render
from omniflow_cli.flags import AsJson, Verbose, text


def pull(
    repo: Annotated[
        str,
        typer.Argument(
            help="OWNER/NAME on the Hub, or OWNER/NAME@REVISION.", metavar="REPO[@REVISION]"
        ),
    ],
    folder: Annotated[
        str,
        typer.Argument(help="Where to: new, empty, or pulled from there before.", metavar="DIR"),
    ],
    revision: Annotated[
        str | None, text("Branch, tag or commit; the main branch.", "REVISION")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fetch a model from the Hugging Face Hub into a folder.

    With it comes whatever was pushed: recipe, figures, card, training state. Files that are there
    are not fetched again, one that was begun is gone on with.
    """
    import os
    from pathlib import Path

    from omniflow.downloads.saved_model import pull_model
    from omniflow_cli.download import followed

    with followed(repo) as reporter:
        place = Path(os.path.expanduser(folder))
        report = pull_model(repo, place, revision=revision, reporter=reporter)
    if as_json:
        render.as_json(
            {
                "repo": report.model.hub_id,
                "commit": report.revision,
                "folder": str(report.folder),
                "files": list(report.files),
                "size": report.size,
                "fetched": report.fetched,
            }
        )
        return
    render.facts(
        [
            (
                "pulled",
                f"{len(report.files)} files, {report.size / 1e6:.1f} MB ({report.fetched} new)",
            ),
            ("commit", report.revision),
        ]
    )
    render.line(f'next: omniflow.load("{folder}")')
