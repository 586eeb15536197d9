"""Plugins: found by entry point, loaded one by one, all or nothing, the broken ones kept apart.

A plugin is a module (or object) in the entry-point group `omniflow` with at least one of the hooks
of `omniflow.hooks`, most often this one:

    from omniflow import hookimpl

    @hookimpl
    def omniflow_register(register):
        register(kind="head", name="acme", target="acme.head:AcmeHead", summary="...")

The built-in components come in through the same hook.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distributions,
    entry_points,
)

import pluggy

from omniflow.errors import PluginError
from omniflow.hooks import LIFECYCLE, PROJECT, Hooks, Subscriber
from omniflow.hooks import hookimpl as hookimpl
from omniflow.registry import Component, Origin, Registry, missed_name, said_by
from omniflow.version import __version__

DISTRIBUTION = "omniflow-zoo"

#: The level of the names that plugins build on (docs/plugins.md): raised when one of them changes
#: or goes. A plugin says `OMNIFLOW_API_VERSION = 1`; one that says nothing is taken to mean 1.
API_VERSION = 1

#: The lowest level whose plugins still work.
OLDEST_API_VERSION = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PluginSource:
    """Where a plugin would be loaded from."""

    name: str
    origin: Origin
    load: Callable[[], object]


@dataclass(frozen=True)
class PluginReport:
    """What became of one plugin.

    Args:
        name: Its entry-point name.
        origin: Its distribution.
        status: `loaded`, `failed` or `disabled`.
        api: The level that it says it is written for; None where it says none or was not read.
        components: How many components it registered.
        hooks: The hooks with which it follows runs.
        seconds: How long loading took.
        reason: Why it failed, or which variable disabled it; empty when loaded.
    """

    name: str
    origin: Origin
    status: str
    api: int | None = None
    components: int = 0
    hooks: tuple[str, ...] = ()
    seconds: float = 0.0
    reason: str = ""

    @property
    def silencer(self) -> str:
        """The setting that keeps this plugin from being tried."""
        return f"OMNIFLOW_DISABLE_PLUGINS={self.origin.distribution}"


@dataclass(frozen=True)
class _Contents:
    """What a plugin registers, how it follows runs, and the level that it says."""

    components: list[Component]
    subscriber: Subscriber
    api: int | None


@dataclass(frozen=True)
class Plugins:
    """A registry and how it came about."""

    registry: Registry
    reports: tuple[PluginReport, ...]

    @property
    def failures(self) -> list[PluginReport]:
        """The plugins that could not be loaded."""
        return [report for report in self.reports if report.status == "failed"]


def supported_api_versions() -> range:
    """The levels that plugins may be written for."""
    return range(OLDEST_API_VERSION, API_VERSION + 1)


@cache
def installed_plugins() -> Plugins:
    """The built-in components and every installed plugin; worked out once a process."""
    return load_plugins(entry_point_sources())


def load_plugins(
    sources: Iterable[PluginSource] = (),
    *,
    environ: Mapping[str, str] | None = None,
    strict: bool = False,
) -> Plugins:
    """Make a fresh registry from the built-in components and some plugins.

    Args:
        sources: The plugins to try, in order.
        environ: Where to read OMNIFLOW_DISABLE_PLUGINS (names or distributions, or `all`) and
            OMNIFLOW_ENABLE_PLUGINS (only these) from; the process environment by default.
        strict: Raise at the first plugin that fails, for authors.

    Raises:
        PluginError: If `strict` and a plugin fails.
    """
    environ = os.environ if environ is None else environ
    registry = Registry()
    reports = [_load(_builtin_source(), registry, strict=True)]
    for source in sources:
        disabled_by = _disabled_by(source, environ)
        if disabled_by:
            reports.append(PluginReport(source.name, source.origin, "disabled", reason=disabled_by))
            registry.not_loaded.append(f"{source.origin}: {disabled_by}")
            continue
        report = _load(source, registry, strict=strict)
        reports.append(report)
        if report.status == "failed":
            registry.not_loaded.append(f"{source.origin}: {report.reason}")
            log.warning(
                "plugin %s of %s is not loaded: %s (silence with %s)",
                source.name,
                source.origin,
                report.reason,
                report.silencer,
            )
    return Plugins(registry, tuple(reports))


def entry_point_sources() -> list[PluginSource]:
    """The plugins of the installed distributions, in order of distribution and name."""
    sources = {}
    for entry_point, distribution in _entry_points():
        origin = _origin_of(distribution)
        if isinstance(entry_point, Exception):
            source = PluginSource(origin.distribution, origin, partial(_raise, entry_point))
        else:
            source = PluginSource(entry_point.name, origin, entry_point.load)
        sources[(origin.distribution, source.name)] = source
    return [sources[key] for key in sorted(sources)]


def _entry_points() -> list[tuple[EntryPoint | Exception, Distribution | None]]:
    """Those of plugins; of a distribution whose list cannot be read, the reason."""
    try:
        return [(found, found.dist) for found in entry_points(group=PROJECT)]
    # One malformed file anywhere makes all of them unreadable at once.
    except Exception:  # noqa: BLE001
        return [pair for each in distributions() for pair in _entry_points_of(each)]


def _entry_points_of(
    distribution: Distribution,
) -> list[tuple[EntryPoint | Exception, Distribution | None]]:
    try:
        return [(found, distribution) for found in distribution.entry_points.select(group=PROJECT)]
    except Exception as error:  # noqa: BLE001
        is_plugin = f"[{PROJECT}]" in (distribution.read_text("entry_points.txt") or "")
        problem = PluginError("its entry_points.txt cannot be read", expected="lines NAME = MODULE")
        problem.__cause__ = error
        return [(problem, distribution)] if is_plugin else []


def _raise(error: Exception) -> object:
    raise error


def _origin_of(distribution: Distribution | None) -> Origin:
    """Whose it is; a damaged installation does not say."""
    try:
        if distribution is None:
            return Origin("unknown", "0")
        facts = distribution.metadata
        return Origin(facts["Name"] or "unknown", facts["Version"] or "0")
    except (KeyError, TypeError, PackageNotFoundError):
        return Origin("unknown", "0")


def _builtin_source() -> PluginSource:
    return PluginSource(
        "builtin", Origin(DISTRIBUTION, __version__), lambda: import_module("omniflow.builtins")
    )


def _load(source: PluginSource, registry: Registry, *, strict: bool) -> PluginReport:
    started = time.perf_counter()
    try:
        # Whatever a stranger's module prints while it is imported is no output of a command.
        with redirect_stdout(sys.stderr):
            contents = _contents_of(source)
        registry.add(contents.components)
    except KeyboardInterrupt:
        raise
    # A stranger's import may raise anything, an exit or a panic of a compiled extension included;
    # nothing of it may get out.
    except BaseException as error:
        told = said_by(error)
        if strict:
            raise PluginError(f"plugin {source.name} of {source.origin} fails: {told}") from error
        reason = told if isinstance(error, PluginError) else missed_name(error)
        reason = reason or f"{type(error).__name__}: {told}"
        return PluginReport(
            source.name,
            source.origin,
            "failed",
            seconds=time.perf_counter() - started,
            reason=" ".join(reason.split()),
        )
    if contents.subscriber.hooks:
        registry.subscribers.append(contents.subscriber)
    return PluginReport(
        source.name,
        source.origin,
        "loaded",
        api=contents.api,
        components=len(contents.components),
        hooks=contents.subscriber.hooks,
        seconds=time.perf_counter() - started,
    )


def _contents_of(source: PluginSource) -> _Contents:
    plugin = source.load()
    said = getattr(plugin, "OMNIFLOW_API_VERSION", None)
    _check_api(said, source.origin)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    manager.register(plugin, name=source.name)
    manager.check_pending()
    if not manager.get_hookcallers(plugin):
        raise PluginError(
            "it has no omniflow_register hook", expected="that or another, marked with @hookimpl"
        )
    followed = tuple(name for name in LIFECYCLE if getattr(manager.hook, name).get_hookimpls())
    staged: list[Component] = []

    def register(*, kind: str, name: str, target: str | type, summary: str) -> None:
        staged.append(Component(kind, name, target, summary, source.origin))

    manager.hook.omniflow_register(register=register)
    subscriber = Subscriber(source.name, source.origin, followed, manager.hook)
    return _Contents(staged, subscriber, said)


def _check_api(said: object, origin: Origin) -> None:
    """Refuse a plugin of another level, and say what has to be updated."""
    wanted = 1 if said is None else said
    if isinstance(wanted, bool) or not isinstance(wanted, int):
        raise PluginError(
            f"its OMNIFLOW_API_VERSION is {said!r}",
            expected=f"a whole number; this is plugin API {API_VERSION}",
        )
    if wanted in supported_api_versions():
        return
    older = DISTRIBUTION if wanted > API_VERSION else origin.distribution
    raise PluginError(
        f"written for plugin API {wanted}, this is {API_VERSION} of {DISTRIBUTION} {__version__} "
        f"(update: pip install --upgrade {older})"
    )


def _disabled_by(source: PluginSource, environ: Mapping[str, str]) -> str:
    """The setting that switches a plugin off, or nothing."""
    disable = _listed(environ.get("OMNIFLOW_DISABLE_PLUGINS", ""))
    enable = environ.get("OMNIFLOW_ENABLE_PLUGINS")
    spellings = {source.name.lower(), source.origin.distribution.lower()}
    if "all" in disable or spellings & disable:
        return "OMNIFLOW_DISABLE_PLUGINS"
    if enable is not None and not spellings & _listed(enable):
        return "OMNIFLOW_ENABLE_PLUGINS"
    return ""


def _listed(value: str) -> set[str]:
    return {part.strip().lower() for part in value.split(",") if part.strip()}


def list_components(kind: str | None = None) -> list[Component]:
    """The components of one kind, or all of them: `[c.name for c in list_components("head")]`."""
    return installed_plugins().registry.components(kind)
