"""`omniflow new-plugin`: a package with a component of one's own, ready to be installed."""

from __future__ import annotations

import keyword
import os
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from omniflow.errors import UnknownNameError, UsageError
from omniflow.files import check_name, check_new_folder, write_text, writing_folder
from omniflow.plugins import installed_plugins
from omniflow_cli import logs, render
from omniflow_cli.flags import AsJson, text
from omniflow_cli.plugin_files import BRINGS, HOOK, NewPlugin

_COMMAND = "omniflow new-plugin"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")

#: Longer ones do not fit into a line with what is written around them.
_LONGEST = 32

#: Names of our own distribution, and words that stand for something else where a name is said.
_TAKEN = frozenset(
    {"zoo", "omniflow", "none", "null", "true", "false", "yes", "no", "on", "off", "all"}
)


def new_plugin(
    name: Annotated[
        str,
        typer.Argument(
            help="Name of the component: small letters, digits and dashes; the distribution is "
            "called omniflow-NAME.",
            metavar="NAME",
        ),
    ],
    kind: Annotated[
        list[str] | None,
        text(f"What it brings, more than once for several: {', '.join(BRINGS)}; head.", "KIND"),
    ] = None,
    output_dir: Annotated[
        str | None, text("The new folder; omniflow-NAME here unless said otherwise.", "FOLDER")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a plugin that works: a package with tests and CI.

    It is a beginning, not a stub: it can be installed, trained with and tested as it is, and passes
    its tests, ruff and mypy --strict. Put your own idea in the place of ours, file by file.
    """
    plugin = NewPlugin(_checked_name(name), _checked_kinds(kind or ["head"]))
    _check_names_are_free(plugin)
    folder = Path(os.path.expanduser(output_dir or plugin.distribution))
    _check_folder(folder, where="--output-dir" if output_dir else _COMMAND)
    contents = plugin.files()
    with writing_folder(folder) as temporary:
        for path, content in contents.items():
            file = temporary / path
            file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, content)
    if as_json:
        render.as_json(
            {
                "folder": str(folder),
                "distribution": plugin.distribution,
                "package": plugin.package,
                "name": plugin.name,
                "kinds": list(plugin.kinds),
                "files": sorted(contents),
            }
        )
        return
    kinds = ", ".join(plugin.kinds)
    render.line(f"{folder}: package {plugin.distribution} with {kinds} {plugin.name!r}")
    for path in sorted(contents):
        render.line(f"  {path}")
    render.line("next:")
    render.line(f"  cd {shlex.quote(str(folder))} && pip install -e '.[dev]'")
    render.line("  omniflow doctor --plugins")
    render.line("  pytest")


def _checked_name(given: str) -> str:
    """The name without `omniflow-` before it.

    Raises:
        UsageError: If it is none, with the nearest that would be one.
    """
    name = given.removeprefix("omniflow-")
    is_right = bool(_NAME.fullmatch(name)) and len(name) <= _LONGEST
    is_word = name in _TAKEN or keyword.iskeyword(name)
    if is_right and not is_word:
        return name
    if is_word:
        raise UsageError(
            f"a plugin cannot be called {given!r}",
            where=_COMMAND,
            expected="a word that means nothing else",
            nearest=[f"my-{name}"],
        )
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", given).lower())
    near = "-".join(words).removeprefix("omniflow-").lstrip("0123456789-")[:_LONGEST].strip("-")
    is_better = bool(_NAME.fullmatch(near)) and near not in (name, *_TAKEN)
    raise UsageError(
        f"a plugin cannot be called {given!r}",
        where=_COMMAND,
        expected=f"small letters and digits with dashes between them, a letter first, at most "
        f"{_LONGEST}, such as my-head",
        nearest=[near] if is_better and not keyword.iskeyword(near) else [],
    )


def _checked_kinds(given: list[str]) -> tuple[str, ...]:
    """The kinds, each once, also where several were said at once (`head,metric`)."""
    kinds = [part.strip() for value in given for part in value.split(",")]
    for kind in kinds:
        if kind not in BRINGS:
            raise UnknownNameError("kind", kind, BRINGS, where="--kind")
    return tuple(kind for kind in BRINGS if kind in kinds)


def _check_folder(folder: Path, *, where: str) -> None:
    """Refuse a folder that has something in it: nothing that a person wrote is ever replaced."""
    check_name(folder, where=where)
    check_new_folder(folder, where=where)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already", where=where, expected="a new folder, or an empty one"
        )


def _check_names_are_free(plugin: NewPlugin) -> None:
    """Refuse a name that would be claimed twice as soon as the plugin is installed."""
    with logs.plugins_untold():
        registry = installed_plugins().registry
    for kind in plugin.kinds:
        if kind == HOOK:
            continue
        for component in registry.components(kind):
            if component.name == plugin.name:
                raise UsageError(
                    f"there is a {kind} {plugin.name!r} already, of {component.origin}",
                    where=_COMMAND,
                    expected="a name of its own",
                    nearest=[f"my-{plugin.name}"],
                )
