"""`omniflow data`: look at the data of a recipe before it is trained on."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniflow.errors import UnknownNameError, UsageError
from omniflow.plugins import installed_plugins
from omniflow_cli import data_tables, render
from omniflow_cli.commands import Command, CommandGroup, examples
from omniflow_cli.exits import MISTAKE, OK
from omniflow_cli.flags import AsJson, Verbose, check_writable, naming_flags, text
from omniflow_cli.run_draft import draft_of

if TYPE_CHECKING:
    from omniflow.recipe import Recipe

app = typer.Typer(
    name="data",
    cls=CommandGroup,
    epilog=examples(
        "omniflow data check vq",
        "omniflow data preview vq --output preview.html --limit 24",
    ),
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Look at the data of a recipe before it is trained on."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


RecipeName = Annotated[
    str | None,
    typer.Argument(
        help="A recipe by name, a YAML file, or a run; flags win over it.", metavar="RECIPE"
    ),
]
Datasets = Annotated[
    list[str] | None, text("Dataset by name, repeatable; with a weight: coco:2.", "NAME[:X]")
]
DataConfig = Annotated[
    str | None, text("Datasets of the original scripts: data.yml or data_config.json.", "FILE")
]
ObjectiveName = Annotated[str | None, text("Objective by name.", "NAME")]
BackboneName = Annotated[
    str | None, text("Backbone whose tokenizer counts, by name, or a folder.", "NAME")
]
MaxLength = Annotated[str | None, text("Longest text in tokens.", "N")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Any option of the recipe, repeatable: dataset.path=pets.csv.",
        metavar="KEY=VALUE",
        show_default=False,
    ),
]


@app.command(
    cls=Command,
    epilog=examples(
        "omniflow data check vq",
        "omniflow data check --dataset csv --set dataset.path=pets.csv --modalities text,image",
        "omniflow data check runs/vq-mlp --records 100 --json",
    ),
)
def check(
    recipe: RecipeName = None,
    dataset: Datasets = None,
    data_config: DataConfig = None,
    objective: ObjectiveName = None,
    backbone: BackboneName = None,
    max_length: MaxLength = None,
    modalities: Annotated[
        str | None,
        text("Some of text,image,audio; those that the objective reads.", "NAMES"),
    ] = None,
    records: Annotated[
        str | None, text("Records of a split that are decoded whole; 1000.", "N")
    ] = None,
    texts: Annotated[
        str | None, text("Texts of a split that are read; 100000, of a stream --records.", "N")
    ] = None,
    setting: Settings = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Check every split of a recipe's datasets: columns, counts, decoding, lengths, duplicates.

    Nothing is written. Exit code 2 says that a run could not use the data.
    """
    said = {"dataset": dataset, "data_config": data_config, "objective": objective,
            "backbone": backbone, "max_length": max_length, "setting": setting}  # fmt: skip
    settled = _settled(recipe, said)
    wanted = None if modalities is None else _modalities(modalities)
    counts = {
        name: _whole(name, value)
        for name, value in (("records", records), ("texts", texts))
        if value is not None
    }

    # Everything above needs no torch and takes no time.
    from omniflow.inspection.check import Extent, check_data
    from omniflow_cli.progress import counting

    with naming_flags({name: f"--{name}" for name in counts}):
        extent = Extent(**counts)
    with counting("splits") as count:
        found = check_data(
            settled,
            installed_plugins().registry,
            modalities=wanted,
            extent=extent,
            progress=count,
        )
    if as_json:
        render.as_json(found.to_dict())
    else:
        data_tables.show(found)
    for note in found.notes:
        render.note(f"note: {note}")
    for finding in found.findings:
        typer.echo(f"error: {finding.render()}", err=True)
    return OK if found.is_usable else MISTAKE


@app.command(
    cls=Command,
    epilog=examples(
        "omniflow data preview vq --output preview.html --limit 24",
        "omniflow data preview --dataset folder --set dataset.path=media --split validation",
    ),
)
def preview(
    recipe: RecipeName = None,
    dataset: Datasets = None,
    data_config: DataConfig = None,
    objective: ObjectiveName = None,
    split: Annotated[str, text("Split that is shown; train.", "NAME")] = "train",
    output: Annotated[str, text("The page; preview.html.", "FILE")] = "preview.html",
    limit: Annotated[str, text("Samples in all; 24.", "N")] = "24",
    setting: Settings = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a page of samples, with pictures, players and texts, and without the network.

    Everything that a dataset brings is shown, and what cannot be read as such.
    """
    if Path(output).suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"{output} is no page", where="--output", expected="a name that ends in .html"
        )
    check_writable(Path(output), flag="--output")
    said = {"dataset": dataset, "data_config": data_config, "objective": objective,
            "setting": setting}  # fmt: skip
    settled = _settled(recipe, said)
    count = _whole("limit", limit)

    from omniflow.files import write_text
    from omniflow.inspection import preview as pages

    with naming_flags({"limit": "--limit"}):
        made = pages.preview(settled, installed_plugins().registry, split=split, limit=count)
    write_text(output, made.html)
    if as_json:
        render.as_json({"output": output, "records": made.shown, "failed": made.failed})
        return
    bad = f", {made.failed} of them cannot be read" if made.failed else ""
    render.line(f"{output}: {made.shown} records{bad}")


def _settled(recipe: str | None, said: dict[str, Any]) -> Recipe:
    """The recipe that was named, with flags laid over it."""
    from omniflow.draft import Draft
    from omniflow.resolve import resolve

    registry = installed_plugins().registry
    try:
        base = Draft.empty() if recipe is None else Draft.from_file(recipe, where="RECIPE")
    except UnknownNameError as error:
        if recipe in registry.names("dataset"):
            raise UsageError(
                error.problem, where=error.where, nearest=[f"--dataset {recipe}"], notes=error.notes
            ) from error
        raise
    # All other flags of training have not been given.
    return resolve(draft_of(defaultdict(lambda: None, said), base), registry)


def _modalities(said: str) -> frozenset[str]:
    from omniflow.errors import closest
    from omniflow.tasks import LETTERS

    known = list(LETTERS.values())
    names = [name.strip() for name in said.split(",") if name.strip()]
    for name in names or [""]:
        if name not in known:
            raise UsageError(
                f"{name!r} is no modality",
                where="--modalities",
                expected=f"some of {','.join(known)}",
                nearest=closest(name, known),
            )
    return frozenset(names)


def _whole(name: str, said: str) -> int:
    from omniflow.errors import ConfigError

    try:
        return int(said)
    except ValueError as error:
        expected = "a whole number >= 1"
        raise ConfigError(name, said, expected=expected, where=f"--{name}") from error
