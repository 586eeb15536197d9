"""What plugins brought: components by kind and name, with whose they are, and who follows runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

from omniflow.errors import PluginError, UnknownNameError
from omniflow.version import __version__

if TYPE_CHECKING:
    from omniflow.hooks import Subscriber

#: How Python says that something of this package is not there.
_MISSED = re.compile(
    r"cannot import name '(?P<name>\w+)' from '(?P<owner>omniflow(\.\w+)*)'"
    r"|No module named '(?P<module>omniflow\.[\w.]+)'"
)

KINDS = ("backbone", "head", "refiner", "encoder", "dataset", "objective", "metric")


@dataclass(frozen=True)
class Origin:
    """The installed distribution that a component came from."""

    distribution: str
    version: str

    def __str__(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True)
class Component:
    """Anything registered by name.

    Args:
        kind: One of `KINDS`.
        name: What people type; unique within its kind and distribution.
        target: The class, or where to import it from (`package.module:Class`).
        summary: One line for the lists.
        origin: The distribution that registered it.
    """

    kind: str
    name: str
    target: str | type
    summary: str
    origin: Origin

    @property
    def qualified_name(self) -> str:
        """The spelling that stays unambiguous when two distributions share the name."""
        return f"{self.origin.distribution}:{self.name}"

    def load(self) -> type:
        """Import the class.

        Raises:
            PluginError: If the import fails or the target is not a class.
        """
        if not isinstance(self.target, str):
            return self.target
        module_name, _, attribute = self.target.partition(":")
        try:
            with redirect_stdout(sys.stderr):
                loaded = getattr(import_module(module_name), attribute)
        # A stranger's import may raise anything; whatever it is, it is this component's fault.
        except (Exception, SystemExit) as error:
            kind, told = type(error).__name__, said_by(error)
            reason = missed_name(error) or told or kind
            if isinstance(error, SystemExit):
                reason = f"{kind}: {told}"
            raise PluginError(
                f"{self.kind} {self.name!r} of {self.origin} cannot be imported ({reason})",
                expected=f"a class at {self.target}",
            ) from error
        if not isinstance(loaded, type):
            raise PluginError(
                f"{self.kind} {self.name!r} of {self.origin} is not a class",
                expected=f"a class at {self.target}",
            )
        return loaded


@dataclass
class Registry:
    """Components by kind and name.

    A plain object: make a fresh one wherever one is needed. Distributions may share a name; then
    the bare name is refused and `distribution:name` picks one.
    """

    #: Why some plugins are not in here, one line each; quoted when a name is not found.
    not_loaded: list[str] = field(default_factory=list)
    #: The plugins that follow runs, in order of their loading.
    subscribers: list[Subscriber] = field(default_factory=list)
    _components: dict[str, list[Component]] = field(
        default_factory=lambda: {kind: [] for kind in KINDS}
    )

    def add(self, components: Iterable[Component]) -> None:
        """Add all of the components, or none of them.

        Raises:
            PluginError: If a kind or target is malformed, or one distribution uses a name twice.
        """
        staged = list(components)
        taken = {(c.kind, c.qualified_name) for c in self.components()}
        for component in staged:
            _check_shape(component)
            key = (component.kind, component.qualified_name)
            if key in taken:
                raise PluginError(
                    f"{component.origin} registers {component.kind} {component.name!r} twice"
                )
            taken.add(key)
        for component in staged:
            self._components[component.kind].append(component)

    def components(self, kind: str | None = None) -> list[Component]:
        """The components of one kind, or of all, in order of kind and name."""
        kinds = KINDS if kind is None else (self.check_kind(kind),)
        return [
            component
            for each in kinds
            for component in sorted(
                self._components[each], key=lambda c: (c.name, c.origin.distribution)
            )
        ]

    def names(self, kind: str) -> list[str]:
        """The names that `get` accepts for this kind, qualified where they must be."""
        components = self.components(kind)
        bare = [component.name for component in components]
        return [
            component.name if bare.count(component.name) == 1 else component.qualified_name
            for component in components
        ]

    def get(self, kind: str, name: str, *, where: str | None = None) -> Component:
        """Find a component by `name` or `distribution:name`.

        Args:
            kind: One of `KINDS`.
            name: As the person typed it.
            where: The flag or `file:line` where it was said, for the error.

        Raises:
            UnknownNameError: If nothing is called so.
            PluginError: If several distributions claim the bare name.
        """
        matches = [
            component
            for component in self.components(kind)
            if name in (component.name, component.qualified_name)
        ]
        if not matches:
            raise UnknownNameError(
                kind,
                name,
                self.names(kind),
                where=where,
                notes=[f"not loaded: {line}" for line in self.not_loaded],
            )
        if len(matches) > 1:
            owners = " and ".join(str(component.origin) for component in matches)
            raise PluginError(
                f"{kind} {name!r} is claimed by {owners}",
                where=where,
                expected="one of " + " or ".join(c.qualified_name for c in matches),
                notes=["or switch one plugin off with OMNIFLOW_DISABLE_PLUGINS=DISTRIBUTION"],
            )
        return matches[0]

    def conflicts(self) -> list[tuple[Component, ...]]:
        """Components that share a kind and a name, grouped."""
        groups: dict[tuple[str, str], list[Component]] = {}
        for component in self.components():
            groups.setdefault((component.kind, component.name), []).append(component)
        return [tuple(group) for group in groups.values() if len(group) > 1]

    @staticmethod
    def check_kind(kind: str) -> str:
        """The kind itself, or an error that lists the kinds there are."""
        if kind not in KINDS:
            raise UnknownNameError("kind", kind, KINDS)
        return kind


def said_by(error: BaseException) -> str:
    """The text of a stranger's exception, which may fail to say any."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001
        return "it cannot say what went wrong"


def missed_name(error: BaseException) -> str | None:
    """What a plugin could not import of ours, as a reason; None for every other error."""
    if not isinstance(error, ImportError):
        return None
    found = re.match(_MISSED, said_by(error))
    if not found:
        return None
    name = f"{found['owner']}.{found['name']}" if found["name"] else found["module"]
    return (
        f"it uses {name}, which omniflow-zoo {__version__} does not have: one of the two is to "
        "be updated"
    )


def _check_shape(component: Component) -> None:
    if component.kind not in KINDS:
        raise PluginError(
            f"{component.origin} registers {component.name!r} as a {component.kind!r}",
            expected=f"one of {', '.join(KINDS)}",
        )
    name = component.name
    if not isinstance(name, str) or not name or ":" in name or name != name.strip():
        raise PluginError(
            f"{component.origin} registers a {component.kind} under {component.name!r}",
            expected="a name without a colon or outer spaces",
        )
    if not isinstance(component.summary, str):
        raise PluginError(
            f"{component.kind} {component.name!r} of {component.origin} has summary "
            f"{component.summary!r}",
            expected="one line of text",
        )
    if not _is_target(component.target):
        raise PluginError(
            f"{component.kind} {component.name!r} of {component.origin} has target "
            f"{component.target!r}",
            expected="a class, or package.module:Class",
        )


def _is_target(target: object) -> bool:
    if isinstance(target, str):
        module, colon, attribute = target.partition(":")
        return bool(colon) and all(part.isidentifier() for part in (*module.split("."), attribute))
    return isinstance(target, type)
