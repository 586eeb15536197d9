"""Options of a component: the keyword parameters of its constructor, read, shown and checked."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError

from omniflow.errors import ConfigError, PluginError, UnknownNameError, UsageError, closest
from omniflow.mixing import MIXING_KEYS
from omniflow.registry import Component, Registry

#: Constructor parameters that the library fills in, by kind: never options.
SUPPLIED: Mapping[str, frozenset[str]] = {
    "head": frozenset({"feature_dim", "latent_dim"}),
    "refiner": frozenset({"latent_dim"}),
    "dataset": frozenset({"split"}),
}


class _Missing:
    def __repr__(self) -> str:
        return "required"


MISSING = _Missing()


@dataclass(frozen=True)
class Option:
    """One keyword parameter.

    Args:
        name: As in the constructor.
        annotation: Its type hint.
        default: Its default; `MISSING` when it must be given.
        help: Its line in the docstring.
    """

    name: str
    annotation: Any
    default: Any = MISSING
    help: str = ""

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    @property
    def type_name(self) -> str:
        """The type as a person reads it: `whole number`, `linear | cosine`, `text or null`."""
        return _type_name(self.annotation)


#: Options that a kind has whatever the component, taken by the assembly and not by the constructor.
COMMON: Mapping[str, tuple[Option, ...]] = {
    "head": (
        Option(
            "features",
            Literal["hidden", "x0"],
            "hidden",
            "What the head reads: what the backbone's last text projection reads (hidden) or "
            "writes (x0).",
        ),
        Option(
            "latent_dim",
            int | None,
            None,
            "Width that head and refiner work in; the backbone's when null, otherwise a trainable "
            "projection follows.",
        ),
    ),
}


def options_of(component: Component) -> list[Option]:
    """The options of a component, common ones last.

    Raises:
        PluginError: If the class cannot be imported, its constructor is not introspectable, or it
            has an option of a name that in a recipe means something else: `name`, and for datasets
            what says how they are mixed.
    """
    supplied = SUPPLIED.get(component.kind, frozenset())
    own = [
        option
        for option in signature_options(component.load(), owner=str(component.origin))
        if option.name not in supplied
    ]
    taken = ("name", *(MIXING_KEYS if component.kind == "dataset" else ()))
    for option in own:
        if option.name in taken:
            raise PluginError(
                f"{component.kind} {component.name!r} of {component.origin} has an option "
                f"{option.name!r}",
                expected=f"another word; in a recipe, {option.name} is the component's own",
            )
    return own + list(COMMON.get(component.kind, ()))


def signature_options(target: Callable[..., Any], *, owner: str = "omniflow") -> list[Option]:
    """The keyword parameters of a class or function, with type, default and docstring line.

    A constructor that takes `**options`, to pass them on, has those of the class behind it as well;
    its own come first and win. What the docstring of a class does not say, those behind it do.
    """
    function = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]
    try:
        hints = get_type_hints(function)
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise PluginError(
            f"the type hints of {target.__qualname__} ({owner}) cannot be read: {error}",
            expected="types that are importable at run time",
        ) from error
    helps: dict[str, str] = {}
    for documented in reversed(target.__mro__ if isinstance(target, type) else (target,)):
        helps |= _argument_helps(inspect.cleandoc(documented.__doc__ or ""))
    parameters = inspect.signature(target).parameters.values()
    options = [
        Option(
            parameter.name,
            hints.get(parameter.name, Any),
            MISSING if parameter.default is parameter.empty else parameter.default,
            helps.get(parameter.name, ""),
        )
        for parameter in parameters
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if isinstance(target, type) and any(each.kind is each.VAR_KEYWORD for each in parameters):
        named = {option.name for option in options}
        options += [
            replace(option, help=helps.get(option.name, option.help))
            for option in signature_options(_behind(target), owner=owner)
            if option.name not in named
        ]
    return options


def _behind(target: type) -> type:
    """The class whose constructor is the next one after that of `target`."""
    lineage = target.__mro__
    own = next(place for place, each in enumerate(lineage) if "__init__" in vars(each))
    return lineage[own + 1]


def check_options(
    options: Sequence[Option],
    values: Mapping[str, Any],
    *,
    owner: str,
    where: Callable[[str], str | None] = lambda name: None,
) -> tuple[dict[str, Any], list[UsageError]]:
    """Fit values to their type hints and fill in the defaults.

    Args:
        options: What there is.
        values: What was given, by option name; text is converted where the type asks for it.
        owner: How the component is called in messages (`head vq`).
        where: Option name -> the flag or `file:line` where it was said.

    Returns:
        Every option with its value, in order, and the mistakes found (all of them).
    """
    known = {option.name: option for option in options}
    mistakes: list[UsageError] = [
        UnknownNameError(f"option of {owner}", name, list(known), where=where(name))
        for name in values
        if name not in known
    ]
    resolved: dict[str, Any] = {}
    for option in options:
        if option.name not in values:
            if option.is_required:
                mistakes.append(
                    UsageError(
                        f"option {option.name} of {owner} is not given",
                        where=where("name"),
                        expected=option.type_name,
                    )
                )
            else:
                resolved[option.name] = option.default
            continue
        try:
            resolved[option.name] = fit(option, values[option.name])
        except ConfigError as error:
            mistakes.append(
                ConfigError(
                    f"option {option.name} of {owner}",
                    error.value,
                    expected=error.expected or "",
                    where=where(option.name),
                    nearest=error.nearest,
                )
            )
    return resolved, mistakes


def fit(option: Option, value: Any) -> Any:
    """A value as the option's type, or a ConfigError."""
    adapter = _adapter(option.annotation)
    candidates = [value]
    if isinstance(value, str):
        parsed = parse_value(value)
        # `[a, b]` and `null` are meant as YAML, but `123` may be the name of a file.
        structured = parsed is None or isinstance(parsed, list | dict)
        candidates = [parsed, value] if structured else [value, parsed]
    for candidate in candidates:
        if _holds_bool(candidate) and not _accepts_bool(option.annotation):
            continue
        try:
            return adapter.validate_python(candidate)
        except ValidationError:
            continue
    choices = [str(choice) for choice in _choices(option.annotation)]
    raise ConfigError(
        option.name,
        value,
        expected=option.type_name,
        nearest=closest(value, choices) if isinstance(value, str) else (),
    )


def parse_value(text: str) -> Any:
    """A value typed on the command line, read as YAML; the text itself when it is not YAML."""
    try:
        return yaml.safe_load(text)
    # Some scalars look like a date or a number and are none: 2020-13-45, 0x_.
    except (yaml.YAMLError, ValueError, RecursionError):
        return text


def component_interface(kind: str) -> type:
    """The class that every component of a kind must derive from."""
    from omniflow import interfaces

    interface: type = getattr(interfaces, kind.capitalize())
    return interface


def load_component(registry: Registry, kind: str, name: str, *, where: str | None = None) -> type:
    """Find a component, import it, and check that it is what it says.

    Raises:
        UnknownNameError: If there is none of that name.
        PluginError: If it cannot be imported or does not derive from its kind's interface.
    """
    component = registry.get(kind, name, where=where)
    loaded = component.load()
    interface = component_interface(kind)
    if not issubclass(loaded, interface):
        raise PluginError(
            f"{kind} {component.name!r} of {component.origin} is {loaded.__qualname__}",
            expected=f"a subclass of omniflow.interfaces.{interface.__name__}",
        )
    return loaded


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        # Types with a configuration of their own (dataclasses, models) refuse a second one.
        return TypeAdapter(annotation)


_NAMES = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "value"}


def _type_name(annotation: Any) -> str:
    origin = get_origin(annotation)
    if annotation is type(None):
        return "null"
    if origin is Literal:
        return " | ".join(str(choice) for choice in get_args(annotation))
    if origin in (Union, types.UnionType):
        return " or ".join(_type_name(part) for part in get_args(annotation))
    if origin is not None and issubclass(origin, Mapping):
        return "mapping of " + " to ".join(_type_name(part) for part in get_args(annotation))
    if origin is not None:
        return "list of " + _type_name(next(iter(get_args(annotation)), Any))
    return _NAMES.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _parts(annotation: Any) -> list[Any]:
    if get_origin(annotation) in (Union, types.UnionType):
        return [leaf for part in get_args(annotation) for leaf in _parts(part)]
    return [annotation]


def _choices(annotation: Any) -> list[Any]:
    return [
        choice
        for part in _parts(annotation)
        if get_origin(part) is Literal
        for choice in get_args(part)
    ]


def _accepts_bool(annotation: Any) -> bool:
    if get_origin(annotation) is Literal:
        return any(isinstance(choice, bool) for choice in get_args(annotation))
    return annotation in (bool, Any) or any(map(_accepts_bool, get_args(annotation)))


def _holds_bool(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_bool, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_bool, value))
    return isinstance(value, bool)


def _argument_helps(docstring: str) -> dict[str, str]:
    """The `Args:` block of a Google-style docstring, by argument."""
    match = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, flags=re.MULTILINE)
    if not match:
        return {}
    helps: dict[str, str] = {}
    name = ""
    for line in match.group(1).splitlines():
        entry = re.match(r"^ {4}(\w+)(?: \([^)]*\))?: (.*)", line)
        if entry:
            name, helps[entry.group(1)] = entry.group(1), entry.group(2)
        elif name and line.strip():
            helps[name] += " " + line.strip()
    return helps
