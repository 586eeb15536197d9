"""`omniflow list-components`: what there is, by kind and name."""

from __future__ import annotations

from typing import Annotated

from omniflow.plugins import installed_plugins
from omniflow.plugins import list_components as installed_components
from omniflow.registry import KINDS, Component, Registry
from omniflow_cli import logs, render
from omniflow_cli.flags import AsJson, text


def list_components(
    kind: Annotated[str | None, text(f"Only this kind: {', '.join(KINDS)}.", "KIND")] = None,
    as_json: AsJson = False,
) -> None:
    """List the components there are, by kind and name."""
    if as_json:
        render.as_json([_content(component) for component in installed_components(kind)])
        return
    # Told below the table, and not before it.
    with logs.plugins_untold():
        plugins = installed_plugins()
    registry = plugins.registry
    render.table(
        ("kind", "name", "summary", "origin"),
        [
            (c.kind, _listed_name(registry, c), c.summary, str(c.origin))
            for c in registry.components(kind)
        ],
    )
    for group in registry.conflicts():
        if kind in (None, group[0].kind):
            render.line(f"claimed twice: {_conflict(group)}")
    for report in plugins.failures:
        render.line(f"not loaded: {report.origin}: {report.reason} (see: omniflow doctor)")


def _content(component: Component) -> dict[str, str]:
    return {
        "kind": component.kind,
        "name": component.name,
        "qualified_name": component.qualified_name,
        "summary": component.summary,
        "distribution": component.origin.distribution,
        "version": component.origin.version,
    }


def _listed_name(registry: Registry, component: Component) -> str:
    """The name that a person can type: the bare one unless two distributions share it."""
    is_free = component.name in registry.names(component.kind)
    return component.name if is_free else component.qualified_name


def _conflict(group: tuple[Component, ...]) -> str:
    spellings = " or ".join(component.qualified_name for component in group)
    return f"{group[0].kind} {group[0].name!r}; say {spellings}"
