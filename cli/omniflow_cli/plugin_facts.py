"""What `doctor` tells about plugins: what each says, how it loads, and whether its parts import."""

from __future__ import annotations

import time
from contextlib import suppress
from importlib import import_module
from importlib.metadata import PackageNotFoundError, requires
from typing import Any

from omniflow.errors import OmniFlowError
from omniflow.plugins import DISTRIBUTION, PluginReport, Plugins, supported_api_versions
from omniflow.registry import Component, Origin, Registry
from omniflow.version import __version__

#: Loading a plugin is part of every command; above this it is told.
SLOW_SECONDS = 0.5


def plugin_facts(plugins: Plugins) -> list[dict[str, Any]]:
    """Every plugin as plain data, in the order of their loading."""
    return [
        {
            "name": report.name,
            "distribution": report.origin.distribution,
            "version": report.origin.version,
            "status": report.status,
            "api": report.api,
            "components": report.components,
            "hooks": list(report.hooks),
            "seconds": round(report.seconds, 4),
            "reason": report.reason,
            "silence": report.silencer if report.status == "failed" else "",
        }
        for report in plugins.reports
    ]


def plugin_problems(plugins: Plugins) -> list[str]:
    """What keeps plugins from being loaded, a line each."""
    return [
        f"plugin {report.name} of {report.origin} is not loaded: {report.reason} "
        f"(silence with {report.silencer})"
        for report in plugins.failures
    ]


def conflicts(registry: Registry) -> list[str]:
    """Names that two distributions claim, a line each."""
    return [
        f"{group[0].kind} {group[0].name!r} is claimed by "
        + " and ".join(str(component.origin) for component in group)
        + "; say "
        + " or ".join(component.qualified_name for component in group)
        for group in registry.conflicts()
    ]


def gather_plugins(plugins: Plugins) -> dict[str, Any]:
    """All about the installed plugins; imports each of their components, and so torch.

    `problems` is empty when all is well.
    """
    # Most components import torch: what it takes is none of theirs. Where it fails, they tell so.
    with suppress(Exception):
        import_module("torch")
    strangers = [each for each in plugins.reports if each.origin.distribution != DISTRIBUTION]
    components = [
        _component_facts(plugins.registry, component)
        for component in plugins.registry.components()
        if component.origin.distribution != DISTRIBUTION
    ]
    return {
        "api": {
            DISTRIBUTION: __version__,
            "levels": list(supported_api_versions()),
        },
        "plugins": plugin_facts(plugins),
        "components": components,
        "conflicts": conflicts(plugins.registry),
        "notes": [note for report in strangers for note in _notes_on(report)],
        "problems": [
            *plugin_problems(plugins),
            *(each["problem"] for each in components if each["problem"]),
            *(problem for report in strangers for problem in _unmet(report)),
        ],
    }


def _component_facts(registry: Registry, component: Component) -> dict[str, Any]:
    """How a component of a plugin imports, and which options it has."""
    from omniflow.options import load_component, options_of

    problem, options = "", []
    started = time.perf_counter()
    try:
        load_component(registry, component.kind, component.qualified_name)
        options = [option.name for option in options_of(component)]
    except OmniFlowError as error:
        problem = " ".join(error.render().split())
    return {
        "kind": component.kind,
        "name": component.name,
        "distribution": component.origin.distribution,
        "options": options,
        "seconds": round(time.perf_counter() - started, 4),
        "problem": problem,
    }


def _notes_on(report: PluginReport) -> list[str]:
    """What is no fault, and worth knowing."""
    if report.status != "loaded":
        return []
    notes = []
    if report.api is None:
        notes.append(
            f"{report.origin} does not say OMNIFLOW_API_VERSION; it is taken to be written for "
            "plugin API 1"
        )
    if report.seconds > SLOW_SECONDS:
        notes.append(
            f"{report.origin} takes {report.seconds:.1f} s to load, in every command: a target "
            "given as text is imported when it is used"
        )
    return notes


def _unmet(report: PluginReport) -> list[str]:
    """Requirements on this library that the installed release does not meet."""
    try:
        listed = requires(report.origin.distribution) or []
    except PackageNotFoundError:
        return []
    return [problem for text in listed if (problem := _unmet_by(text, report.origin))]


def _unmet_by(text: str, origin: Origin) -> str | None:
    """What is wrong with one requirement; None where nothing is, or it is on something else."""
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return f"{origin} requires {text!r}, which cannot be read"
    is_ours = canonicalize_name(requirement.name) == DISTRIBUTION
    # Those of an extra are of nobody who did not ask for it.
    is_due = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
    if not is_ours or not is_due or requirement.specifier.contains(__version__, prereleases=True):
        return None
    return f"{origin} requires {requirement}, found: {__version__}"
