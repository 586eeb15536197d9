"""`omniflow push`: a run, or a saved model, to the Hugging Face Hub."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from omniflow_cli import render
from omniflow_cli.flags import AsJson, Verbose, text

if TYPE_CHECKING:
    from omniflow.hub.record import Pushed


def push(
    run: Annotated[
        str,
        typer.Argument(
            help="A run, whose best model is taken; one of its checkpoints; or a saved model.",
            metavar="RUN",
        ),
    ],
    repo: Annotated[
        str,
        typer.Argument(help="OWNER/NAME on the Hub, made if there is none.", metavar="REPO"),
    ],
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private.")
    ] = False,
    revision: Annotated[
        str | None, text("Branch, made if there is none; the main one.", "BRANCH")
    ] = None,
    message: Annotated[str | None, text("Message of the commit.", "TEXT")] = None,
    license: Annotated[
        str | None, text("Licence for the card, as the Hub spells it: apache-2.0.", "NAME")
    ] = None,
    base_model: Annotated[
        str | None,
        text("Hub id of the backbone, where it was read from a folder.", "OWNER/NAME[@COMMIT]"),
    ] = None,
    results: Annotated[
        str | None, text("Figures for the card; RUN/eval_results.json.", "FILE")
    ] = None,
    include_training_state: Annotated[
        bool,
        typer.Option(
            "--include-training-state",
            help="Push what resuming takes as well: the latest checkpoint with its optimizer.",
        ),
    ] = False,
    include_report: Annotated[
        bool, typer.Option("--include-report", help="Push the run's report.html as well.")
    ] = False,
    include_samples: Annotated[
        bool, typer.Option("--include-samples", help="Push the run's samples as well.")
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Publish a model on the Hugging Face Hub.

    What goes up: weights as safetensors, config.json, recipe.yaml, figures and a model card. Places
    of this machine and secrets are taken out. Pushing again sends only what has changed.
    """
    from omniflow.hub.names import pinned
    from omniflow.hub.push import push as push_model
    from omniflow.hub.staging import Inclusions

    pushed = push_model(
        os.path.expanduser(run),
        repo,
        private=True if private else None,
        revision=revision,
        message=message,
        licence=license,
        base_model=None if base_model is None else pinned(base_model, None, where="--base-model"),
        results=None if results is None else os.path.expanduser(results),
        include=Inclusions(
            training_state=include_training_state, report=include_report, samples=include_samples
        ),
    )
    for note in pushed.notes:
        render.note(f"note: {note}")
    if as_json:
        render.as_json(pushed.to_dict())
    else:
        show(pushed)


def show(pushed: Pushed) -> None:
    """What is there now, and how it is read."""
    render.facts(
        [
            ("pushed", f"{pushed.model}: {len(pushed.files)} files, {pushed.size / 1e6:.1f} MB"),
            ("page", pushed.url),
            ("commit", pushed.commit),
        ]
    )
    render.line(f'next: omniflow.load("{pushed.repo}"), or always this commit: "{pushed.pin}"')
