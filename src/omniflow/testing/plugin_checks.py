"""The contract of a plugin as a whole: how it loads, what it registers, how it follows runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

from omniflow.draft import Draft
from omniflow.errors import OmniFlowError, UnknownNameError
from omniflow.files import write_text
from omniflow.hooks import Subscriber
from omniflow.options import load_component, options_of
from omniflow.plugins import (
    DISTRIBUTION,
    PluginSource,
    entry_point_sources,
    load_plugins,
    supported_api_versions,
)
from omniflow.registry import Registry
from omniflow.resolve import resolve
from omniflow.testing.contract import named
from omniflow.testing.subject import ContractError

#: Importing one of these takes seconds, and plugins are loaded for every command.
_HEAVY = ("torch", "transformers", "diffusers", "datasets", "evaluate", "accelerate")


@dataclass(frozen=True)
class PluginSubject:
    """A plugin under test.

    Args:
        sources: Its entry points; most have one.
        folder: For what its hooks write.
    """

    distribution: str
    sources: tuple[PluginSource, ...]
    folder: Path

    def registry(self) -> Registry:
        """The built-in components and those of the plugin; what fails is raised."""
        return load_plugins(self.sources, environ={}, strict=True).registry

    def expect(self, holds: bool, problem: str, *, expected: str = "") -> None:
        """Fail with a line that names the plugin, unless something holds."""
        __tracebackhide__ = True
        if not holds:
            ending = f", expected {expected}" if expected else ""
            raise ContractError(f"plugin {self.distribution}: {problem}{ending}")


def find_plugin(distribution: str, *, folder: Path) -> PluginSubject:
    """Look an installed plugin up.

    Raises:
        UnknownNameError: If no installed distribution of that name has a plugin.
    """
    sources = entry_point_sources()
    own = tuple(each for each in sources if each.origin.distribution == distribution)
    if not own:
        raise UnknownNameError(
            "installed plugin",
            distribution,
            sorted({each.origin.distribution for each in sources} - {DISTRIBUTION}),
            notes=["is it installed here? pip install -e FOLDER"],
        )
    return PluginSubject(distribution, own, folder)


def it_loads(plugin: PluginSubject) -> None:
    """Its module is imported, its hooks are known, its names are well formed."""
    try:
        plugin.registry()
    except OmniFlowError as error:
        raise ContractError(error.render()) from error


def it_says_which_api_it_is_written_for(plugin: PluginSubject) -> None:
    """`OMNIFLOW_API_VERSION = 1` beside the hooks, so that another release can tell."""
    for source in plugin.sources:
        said = getattr(source.load(), "OMNIFLOW_API_VERSION", None)
        plugin.expect(
            said in supported_api_versions(),
            f"{source.name} says OMNIFLOW_API_VERSION = {said!r}",
            expected=f"one of {', '.join(map(str, supported_api_versions()))}",
        )


def it_requires_omniflow(plugin: PluginSubject) -> None:
    """Among the dependencies of its distribution, so that pip can tell what fits."""
    from packaging.requirements import Requirement

    try:
        listed = requires(plugin.distribution) or []
    except PackageNotFoundError:
        listed = []
    plugin.expect(
        DISTRIBUTION in {Requirement(line).name for line in listed},
        f"it does not depend on {DISTRIBUTION}",
        expected=f'"{DISTRIBUTION}>=..." among the dependencies in pyproject.toml',
    )


def its_names_are_free(plugin: PluginSubject) -> None:
    """A bare name that two distributions claim is of no use to anybody."""
    for group in plugin.registry().conflicts():
        names = " and ".join(str(component.origin) for component in group)
        plugin.expect(False, f"{group[0].kind} {group[0].name!r} is claimed by {names}")


def it_loads_nothing_heavy(plugin: PluginSubject) -> None:
    """Registering costs no import of torch; components are imported when they are used."""
    for source in plugin.sources:
        code = (
            "import sys; from omniflow.plugins import entry_point_sources, load_plugins; "
            f"own = [s for s in entry_point_sources() if s.origin.distribution == "
            f"{plugin.distribution!r} and s.name == {source.name!r}]; "
            "load_plugins(own, environ={}, strict=True); "
            f"print(*[name for name in {_HEAVY!r} if name in sys.modules])"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        plugin.expect(done.returncode == 0, f"in a new process: {done.stderr.strip()[-300:]}")
        plugin.expect(
            not done.stdout.split(),
            f"loading it imports {', '.join(done.stdout.split())}",
            expected='targets as text, "package.module:Class", and such imports there',
        )


def its_components_can_be_imported_and_shown(plugin: PluginSubject) -> None:
    """Each is a class of its kind, with options that can be told."""
    registry = plugin.registry()
    for component in registry.components():
        if component.origin.distribution == plugin.distribution:
            try:
                load_component(registry, component.kind, component.qualified_name)
                options_of(component)
            except OmniFlowError as error:
                raise ContractError(error.render()) from error


def its_hooks_follow_a_run(plugin: PluginSubject) -> None:
    """One that finishes, one that is resumed, one that fails; with nothing raised."""
    for subscriber in plugin.registry().subscribers:
        finished, failed = plugin.folder / "finished", plugin.folder / "failed"
        _follow(subscriber, finished, step=0, how="finished", error="")
        _follow(subscriber, finished, step=2, how="interrupted", error="SIGTERM")
        _follow(subscriber, failed, step=0, how="failed", error="the disk is full")


def _follow(subscriber: Subscriber, folder: Path, *, step: int, how: str, error: str) -> None:
    resolved = resolve(Draft.empty(), load_plugins().registry)
    recipe = resolved.to_dict()
    checkpoint = folder / "checkpoints" / f"step-{step + 2}"
    checkpoint.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.yaml", resolved.to_yaml())

    def call(hook: str, **arguments: Any) -> None:
        if hook in subscriber.hooks:
            subscriber.call(hook, {"folder": folder.absolute(), **arguments})

    call("omniflow_run_started", recipe=recipe, step=step, total_steps=4)
    measured = {"split": "validation", "ppl": 12.5, "accuracy": 0.25, "seconds": 0.1}
    call("omniflow_evaluated", step=step, figures={"step": step, **measured}, is_best=True)
    trained = {"step": step + 1, "split": "train", "loss": 3.0, "lr": 1e-3}
    call("omniflow_step_logged", step=step + 1, figures=trained)
    last = {"step": step + 2, **measured}
    call("omniflow_evaluated", step=step + 2, figures=last, is_best=False)
    call("omniflow_checkpoint_saved", checkpoint=checkpoint.absolute())
    call("omniflow_run_ended", how=how, step=step + 2, error=error, figures=last)
    # A run that ends before anything was measured.
    call("omniflow_run_started", recipe=recipe, step=step + 2, total_steps=4)
    call("omniflow_run_ended", how=how, step=step + 2, error=error, figures={})


#: In the order in which they are worth looking at.
_ALL: tuple[Callable[[PluginSubject], None], ...] = (
    it_loads,
    it_says_which_api_it_is_written_for,
    it_requires_omniflow,
    its_names_are_free,
    it_loads_nothing_heavy,
    its_components_can_be_imported_and_shown,
    its_hooks_follow_a_run,
)

CHECKS = named(*_ALL)
