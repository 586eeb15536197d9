"""What is checked: a component as its plugin registered it, with the options it is tested with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from omniflow.errors import MistakesError, UnknownNameError
from omniflow.options import check_options, load_component, options_of
from omniflow.plugins import installed_plugins, load_plugins
from omniflow.registry import Component, Origin, Registry

if TYPE_CHECKING:
    from omniflow.interfaces import Prediction, Sample

T = TypeVar("T")

#: Options of a component: plain data, or what makes them in a folder of the test's own.
Options = Mapping[str, Any] | Callable[[Path], Mapping[str, Any]]


class ContractError(AssertionError):
    """A component does not keep to its kind's contract."""


@dataclass
class Subject:
    """A component under test.

    Args:
        component: As it is registered.
        registry: Where it and its neighbours are looked up.
        options: Every option of its constructor with its value.
        folder: For whatever a check writes.
        samples: What encoders and objectives are given.
        predictions: What metrics are given.
    """

    component: Component
    registry: Registry
    options: Mapping[str, Any]
    folder: Path
    samples: Sequence[Sample]
    predictions: Sequence[Prediction]
    _made: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The component's kind."""
        return self.component.kind

    def __str__(self) -> str:
        return f"{self.component.kind} {self.component.name!r} of {self.component.origin}"

    def load(self) -> type:
        """The component's class."""
        return load_component(self.registry, self.kind, self.component.qualified_name)

    def construct(self, *, seed: int | None = None, **supplied: Any) -> Any:
        """The component itself.

        Args:
            seed: Start of torch's random numbers meanwhile; left as they are when None.
            **supplied: What the library fills in.
        """
        loaded = self.load()
        if seed is None:
            return loaded(**supplied, **self.options)
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return loaded(**supplied, **self.options)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several checks share, made when the first of them asks."""
        if name not in self._made:
            self._made[name] = make()
        made: T = self._made[name]
        return made

    def expect(self, holds: bool, problem: str, *, expected: str = "") -> None:
        """Fail with a line that names the component, unless something holds.

        Args:
            holds: Whether it does.
            problem: What is wrong.
            expected: What the contract asks for.

        Raises:
            ContractError: If it does not hold.
        """
        __tracebackhide__ = True
        if not holds:
            self.fail(problem, expected=expected)

    def fail(self, problem: str, *, expected: str = "") -> NoReturn:
        """Fail with a line that names the component.

        Args:
            problem: What is wrong.
            expected: What the contract asks for.

        Raises:
            ContractError: Always.
        """
        __tracebackhide__ = True
        ending = f", expected {expected}" if expected else ""
        raise ContractError(f"{self}: {problem}{ending}")


def find_subject(
    kind: str,
    component: str | type,
    *,
    options: Options,
    folder: Path,
    samples: Sequence[Sample],
    predictions: Sequence[Prediction],
) -> Subject:
    """Look a component up among the installed plugins, or take a class as it is.

    Args:
        kind: One of `omniflow.registry.KINDS`.
        component: Its name, or a class that nobody has registered yet.
        options: Its options, or a function that makes them in a folder of their own.
        folder: For whatever checks write.
        samples: What encoders and objectives are given.
        predictions: What metrics are given.

    Raises:
        UnknownNameError: If no component is called so, or an option is unknown.
        ConfigError: If an option has a value of another type.
    """
    if isinstance(component, str):
        registry = installed_plugins().registry
        found = _registered(registry, kind, component)
    else:
        registry = load_plugins().registry
        found = Component(kind, _name_of(component), component, "Unregistered", _NOBODY)
        registry.add([found])
    load_component(registry, kind, found.qualified_name)
    given = options(folder) if callable(options) else options
    resolved, mistakes = check_options(options_of(found), given, owner=f"{kind} {found.name}")
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else MistakesError(mistakes)
    if kind == "head":
        # These two are taken by the assembly.
        del resolved["features"], resolved["latent_dim"]
    return Subject(found, registry, resolved, folder, samples, predictions)


_NOBODY = Origin("unregistered", "0")


def _registered(registry: Registry, kind: str, name: str) -> Component:
    try:
        return registry.get(kind, name)
    except UnknownNameError as error:
        error.notes += ("is its plugin installed here? pip install -e FOLDER",)
        raise


def _name_of(component: type) -> str:
    letters = [f"-{each.lower()}" if each.isupper() else each for each in component.__name__]
    return "".join(letters).strip("-_")
