"""What every component has to keep to, whatever its kind."""

from __future__ import annotations

import re
from typing import Any

import yaml

from omniflow.errors import ConfigError, UsageError
from omniflow.options import SUPPLIED, Option, fit, options_of, signature_options
from omniflow.testing.contract import named
from omniflow.testing.subject import Subject

_NAME = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")

#: Values that options of numbers often cannot have.
_UNLIKELY = {int: (0, -1), float: (-1.0, float("nan"))}

#: What the library would fill in.
_SUPPLIED: dict[str, dict[str, Any]] = {
    "head": {"feature_dim": 32, "latent_dim": 16},
    "refiner": {"latent_dim": 16},
    "dataset": {"split": "train"},
}


def is_registered_with_a_name_and_a_summary(subject: Subject) -> None:
    """Its name can be typed, its summary is a line, and its class is what it says."""
    component = subject.component
    subject.expect(
        _NAME.fullmatch(component.name) is not None,
        "its name is hard to type",
        expected="small letters and digits with dashes or dots between them",
    )
    subject.expect(
        bool(component.summary.strip()) and "\n" not in component.summary,
        f"its summary is {component.summary!r}",
        expected="one line of text for lists",
    )
    subject.load()


def options_are_typed_and_described(subject: Subject) -> None:
    """`omniflow show` can tell type, default and meaning of every option."""
    supplied = SUPPLIED.get(subject.kind, frozenset())
    # Raises for hints that cannot be read, and for names that mean something else in a recipe.
    options_of(subject.component)
    for option in signature_options(subject.load()):
        if option.name in supplied:
            continue
        subject.expect(
            option.annotation is not Any,
            f"option {option.name} has no type hint",
            expected="one that says which values it takes",
        )
        subject.expect(
            bool(option.help),
            f"option {option.name} is not described",
            expected=f"a line `{option.name}: ...` below `Args:` in the docstring of the class",
        )


def defaults_fit_their_types_and_a_recipe(subject: Subject) -> None:
    """A default is a value of its type, and is the same when a recipe has held it."""
    for option in options_of(subject.component):
        if option.is_required:
            continue
        subject.expect(
            _after_a_recipe(subject, option) == option.default,
            f"the default of option {option.name}, {option.default!r}, is another in a recipe",
            expected="plain data: text, numbers, lists, mappings or null",
        )


def unlikely_values_are_taken_or_refused(subject: Subject) -> None:
    """Numbers out of range are refused with a `ConfigError` that names the option, or taken."""
    for option in signature_options(subject.load()):
        if option.name not in subject.options:
            continue
        for value in _UNLIKELY.get(option.annotation, ()):
            _try_value(subject, option, value)


def _after_a_recipe(subject: Subject, option: Option) -> Any:
    try:
        return fit(option, yaml.safe_load(yaml.safe_dump(option.default)))
    except (yaml.YAMLError, ConfigError) as error:
        subject.fail(
            f"the default of option {option.name}, {option.default!r}, does not fit a recipe",
            expected=f"a {option.type_name} that YAML can hold ({type(error).__name__})",
        )


def _try_value(subject: Subject, option: Option, value: object) -> None:
    supplied = _SUPPLIED.get(subject.kind, {})
    try:
        subject.load()(**supplied, **{**subject.options, option.name: value})
    except UsageError:
        return
    # Whatever else comes out of a constructor is what this is about.
    except Exception as error:  # noqa: BLE001
        subject.fail(
            f"{option.name}={value!r} raises {type(error).__name__}: {error}",
            expected=f'ConfigError("{option.name}", {option.name}, expected="...")',
        )


CHECKS = named(
    is_registered_with_a_name_and_a_summary,
    options_are_typed_and_described,
    defaults_fit_their_types_and_a_recipe,
    unlikely_values_are_taken_or_refused,
)
