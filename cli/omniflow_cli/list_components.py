"""`omniflow list-components`: what there is, by kind and name."""

from __future__ import annotations

from typing import Annotated, Any

from omniflow.plugins import Plugins, installed_plugins
from omniflow.registry import KINDS, Component, Registry
from omniflow_cli import logs, render
from omniflow_cli.flags import AsJson, text


def list_components(
    kind: Annotated[str | None, text(f"Only this kind: {', '.join(KINDS)}.", "KIND")] = None,
    as_json: AsJson = False,
) -> None:
    """List the components there are, by kind and name."""
    with logs.plugins_untold():
        plugins = installed_plugins()
    registry = plugins.registry
    if kind is not None:
        registry.check_kind(kind)
    components = registry.components(kind)
    if as_json:
        render.as_json(_content(components, plugins))
        return
    render.table(
        ("kind", "name", "summary", "origin"),
        [(c.kind, _listed_name(registry, c), c.summary, str(c.origin)) for c in components],
    )
    for group in registry.conflicts():
        if kind in (None, group[0].kind):
            render.line(f"claimed twice: {_conflict(group)}")
    for report in plugins.failures:
        render.line(f"not loaded: {report.origin}: {report.reason} (see: omniflow doctor)")


def _content(components: list[Component], plugins: Plugins) -> dict[str, Any]:
    return {
        "components": [
            {
                "kind": component.kind,
                "name": component.name,
                "qualified_name": component.qualified_name,
                "summary": component.summary,
                "distribution": component.origin.distribution,
                "version": component.origin.version,
            }
            for component in components
        ],
        "conflicts": [
            [component.qualified_name for component in group]
            for group in plugins.registry.conflicts()
        ],
        "not_loaded": [
            {
                "distribution": report.origin.distribution,
                "version": report.origin.version,
                "reason": report.reason,
            }
            for report in plugins.failures
        ],
    }


def _listed_name(registry: Registry, component: Component) -> str:
    """The name that a person can type: the bare one unless two distributions share it."""
    is_free = component.name in registry.names(component.kind)
    return component.name if is_free else component.qualified_name


def _conflict(group: tuple[Component, ...]) -> str:
    spellings = " or ".join(component.qualified_name for component in group)
    return f"{group[0].kind} {group[0].name!r}; say {spellings}"
