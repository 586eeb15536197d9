"""`omniflow doctor`: whether everything that a run depends on is in order."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer

from omniflow.plugins import installed_plugins
from omniflow_cli import exits, logs, render
from omniflow_cli.flags import AsJson


def doctor(
    plugins_only: Annotated[
        bool,
        typer.Option(
            "--plugins",
            help="Tell about plugins alone, and import each of their components.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check versions, device, plugins and Hub settings.

    The exit code is 1 when something is broken: an unrelated package in the place of ours, a
    missing or unfit dependency, a torch that cannot be imported, a plugin that fails to load. A
    name that two plugins claim is no fault: both stay in reach.
    """
    from omniflow_cli.environment import gather
    from omniflow_cli.plugin_facts import gather_plugins

    with logs.plugins_untold():
        plugins = installed_plugins()
    found = gather_plugins(plugins) if plugins_only else gather(plugins, os.environ)
    if as_json:
        render.as_json(found)
    elif plugins_only:
        _show_plugins(found)
    else:
        _show(found)
    if found["problems"]:
        raise typer.Exit(exits.FAULT)


def _show(found: dict[str, Any]) -> None:
    sections = ("versions", "extras", "device", "hub")
    for title in sections:
        _heading(title)
        render.facts([(name, _shown(value)) for name, value in found[title].items()])
    _heading("plugins")
    _plugin_table(found["plugins"])
    _conclude(found)


def _show_plugins(found: dict[str, Any]) -> None:
    levels = found["api"]["levels"]
    render.line(f"plugin API: {', '.join(map(str, levels))}")
    _heading("plugins")
    _plugin_table(found["plugins"])
    if found["components"]:
        render.line("[components of plugins]")
        render.headed_table(
            ("kind", "name", "distribution", "import time", "options"),
            [
                (
                    each["kind"],
                    each["name"],
                    each["distribution"],
                    f"{1000 * each['seconds']:.0f} ms",
                    "fails" if each["problem"] else ", ".join(each["options"]),
                )
                for each in found["components"]
            ],
            right=(3,),
        )
    for note in found["notes"]:
        render.line(f"note: {note}")
    _conclude(found)


def _plugin_table(plugins: list[dict[str, Any]]) -> None:
    render.headed_table(
        (
            "plugin",
            "distribution",
            "status",
            "API",
            "components",
            "run hooks",
            "load time",
            "reason",
        ),
        [
            (
                plugin["name"],
                f"{plugin['distribution']} {plugin['version']}",
                plugin["status"],
                "-" if plugin["api"] is None else str(plugin["api"]),
                str(plugin["components"]),
                str(len(plugin["hooks"])),
                f"{1000 * plugin['seconds']:.0f} ms",
                plugin["reason"],
            )
            for plugin in plugins
        ],
        right=(3, 4, 5, 6),
    )


def _conclude(found: dict[str, Any]) -> None:
    for conflict in found["conflicts"]:
        render.line(f"claimed twice: {conflict}")
    for problem in found["problems"]:
        render.line(f"problem: {problem}")
    if not found["problems"]:
        render.line("all is well")


def _heading(title: str) -> None:
    render.line(f"\n[{title}]")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "installed" if value else "not installed"
    return ", ".join(value) if isinstance(value, list) else str(value)
