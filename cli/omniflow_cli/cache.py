"""`omniflow cache`: what is kept of frozen parts' work, and how much room it takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from omniflow_cli import render
from omniflow_cli.commands import Command, CommandGroup, examples
from omniflow_cli.flags import AsJson, Verbose, text

if TYPE_CHECKING:
    from omniflow.cache.limit import SpaceContent

app = typer.Typer(
    name="cache",
    cls=CommandGroup,
    epilog=examples(
        "omniflow cache info",
        "omniflow cache build vq",
        "omniflow cache clear --older-than 30",
    ),
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Look at, clear or fill the cache of frozen work."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


Place = Annotated[
    str | None,
    text(
        "The cache; OMNIFLOW_CACHE, else omniflow in the user's cache folder, by default.", "FOLDER"
    ),
]


@app.command(cls=Command, epilog=examples("omniflow cache info", "omniflow cache info --json"))
def info(cache_dir: Place = None, as_json: AsJson = False) -> None:
    """Say where the cache lies and what it holds, by component and kind of value."""
    from omniflow.cache.limit import contents
    from omniflow.cache.place import cache_folder

    folder = cache_folder(cache_dir)
    spaces = contents(folder)
    entries, size = sum(s.entries for s in spaces), sum(s.size for s in spaces)
    if as_json:
        render.as_json(
            {
                "folder": str(folder),
                "entries": entries,
                "bytes": size,
                "spaces": [
                    {
                        "component": space.component,
                        "work": space.work,
                        "source": space.source,
                        "folder": str(space.folder),
                        "entries": space.entries,
                        "shards": space.shards,
                        "bytes": space.size,
                        "last_used": int(space.used),
                    }
                    for space in spaces
                ],
            }
        )
        return
    render.facts([("folder", str(folder)), ("entries", f"{entries:,}"), ("size", _megabytes(size))])
    if spaces:
        render.line()
        _show(spaces)


@app.command(
    cls=Command, epilog=examples("omniflow cache clear", "omniflow cache clear --older-than 30")
)
def clear(
    older_than: Annotated[
        str | None, text("Only what has not been used for so many days.", "DAYS")
    ] = None,
    cache_dir: Place = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is kept, and say how much that was; nothing is asked.

    A run that is using it computes anew what it misses.
    """
    from omniflow.cache.limit import clear as clear_folder
    from omniflow.cache.place import cache_folder

    days = 0.0 if older_than is None else _days(older_than)
    folder = cache_folder(cache_dir)
    freed = clear_folder(folder, older_than_days=days)
    if as_json:
        render.as_json(
            {
                "folder": str(folder),
                "entries": freed.entries,
                "shards": freed.shards,
                "bytes": freed.size,
            }
        )
    else:
        render.line(f"{folder}: {freed.entries:,} entries removed, {_megabytes(freed.size)} freed")


@app.command(
    cls=Command,
    epilog=examples(
        "omniflow cache build vq",
        "omniflow cache build runs/vq-mlp/recipe.yaml --set dataset.size=1000",
    ),
)
def build(
    recipe: Annotated[
        str, typer.Argument(help="A recipe by name, a YAML file, or a run.", metavar="RECIPE")
    ],
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any option of the recipe, repeatable: dataset.size=1000.",
            metavar="KEY=VALUE",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fill the cache with everything that a run by a recipe will ask for.

    Stopped at any moment and started again, it goes on where it was.
    """
    from omniflow.draft import Draft
    from omniflow.plugins import installed_plugins
    from omniflow.resolve import resolve
    from omniflow_cli.flags import key_and_value

    draft = Draft.from_file(recipe, where="RECIPE")
    for said in setting or ():
        key, value = key_and_value(said)
        draft = draft.with_setting(key, value, where="--set")
    registry = installed_plugins().registry
    settled = resolve(draft, registry)

    # Everything above needs no torch and takes no time.
    from omniflow.training.filling import fill_cache
    from omniflow_cli.progress import counting

    with counting("samples") as count:
        filling = fill_cache(settled, registry=registry, progress=count)
    if as_json:
        render.as_json(
            {
                "folder": str(filling.folder),
                "samples": filling.samples,
                "found": filling.found,
                "computed": filling.computed,
                "damaged_shards": filling.damaged,
            }
        )
    else:
        render.line(
            f"{filling.folder}: {filling.computed:,} values computed, {filling.found:,} were there "
            f"({filling.samples:,} samples)"
        )


def _show(spaces: Sequence[SpaceContent]) -> None:
    now = time.time()
    render.table(
        ("component", "value", "from", "entries", "size", "shards", "last used"),
        [
            (
                space.component,
                space.work,
                space.source,
                f"{space.entries:,}",
                _megabytes(space.size),
                str(space.shards),
                f"{max(0.0, now - space.used) / 86400:.1f} days ago",
            )
            for space in spaces
        ],
        right=(3, 4, 5, 6),
    )


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _days(said: str) -> float:
    from omniflow.errors import ConfigError

    try:
        days = float(said)
    except ValueError:
        days = -1.0
    if not 0 < days < float("inf"):
        expected = "a number of days above 0"
        raise ConfigError("older_than", said, expected=expected, where="--older-than")
    return days
