"""Names that plugins build on stay as they are, unless the level of the plugin API is raised.

What stands in public_names.json was true of the level that it says. After an addition, and only
then, write it anew: `python tests/core/test_public_names.py`.
"""

import importlib
import inspect
import json
from pathlib import Path

import pytest

from omniflow.plugins import API_VERSION

RECORD = Path(__file__).with_name("public_names.json")

#: Modules of docs/plugins.md, and the names in them; all of `__all__` or of its own where None.
PUBLIC = {
    "omniflow": None,
    "omniflow.interfaces": None,
    "omniflow.testing": None,
    "omniflow.errors": None,
    "omniflow.hooks": ("Ending", "Hooks", "Register", "hookimpl"),
    "omniflow.draws": ("Draws",),
    "omniflow.tasks": ("Task",),
    "omniflow.backbones.published": ("PublishedBackbone",),
}


def names_of(module):
    listed = PUBLIC[module.__name__] or getattr(module, "__all__", None)
    return listed or [
        name for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]  # fmt: skip


def parameters(function):
    """Parameters by name, and whether each must be given."""
    return {
        name: parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        for name, parameter in inspect.signature(function).parameters.items()
        if name != "self"
    }


#: Made by `build` and `load` alone.
NOT_CONSTRUCTED = ("OmniFlowModel",)


def shape(value):
    """A class by its attributes and methods, a function by its parameters, all else by being."""
    if inspect.isclass(value):
        own = [each for each in value.__mro__ if each.__module__.startswith("omniflow")]
        members = {name for each in own for name in vars(each) if not name.startswith("_")}
        members |= {name for each in own for name in vars(each).get("__annotations__", {})}
        found = {
            name: shape(getattr(value, name, None))
            for name in sorted(members)
            if not name.startswith("_")
        }
        has_constructor = any("__init__" in vars(each) for each in own)
        has_constructor = has_constructor and value.__name__ not in NOT_CONSTRUCTED
        return {**found, "()": parameters(value)} if has_constructor else found
    if inspect.isfunction(value) or inspect.ismethod(value):
        return {"()": parameters(value)}
    return {}


def current():
    return {
        f"{name}.{each}": shape(getattr(importlib.import_module(name), each))
        for name in PUBLIC
        for each in sorted(names_of(importlib.import_module(name)))
    }


def lost(recorded, found, path=""):
    """What was there and is not, and parameters that have become required."""
    for name, value in recorded.items():
        here = f"{path}.{name}" if path else name
        if name == "()":
            yield from (f"{path}({each})" for each in value if each not in found.get("()", {}))
            yield from (
                f"{path}({each}) is required now"
                for each, needed in found.get("()", {}).items()
                if needed and not value.get(each, False)
            )
        elif name not in found:
            yield here
        else:
            yield from lost(value, found[name], here)


def test_no_public_name_is_lost_within_a_level():
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    assert recorded["level"] == API_VERSION
    assert list(lost(recorded["names"], current())) == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({}, ["a.Head"]),
        ({"a.Head": {}}, ["a.Head.forward"]),
        ({"a.Head": {"forward": {"()": {}}}}, ["a.Head.forward(x)"]),
        ({"a.Head": {"forward": {"()": {"x": True, "y": True}}}},
         ["a.Head.forward(y) is required now"]),
        ({"a.Head": {"forward": {"()": {"x": True, "y": False}}, "more": {}}}, []),
    ],
)  # fmt: skip
def test_a_loss_would_be_told(found, told):
    assert list(lost({"a.Head": {"forward": {"()": {"x": True}}}}, found)) == told


if __name__ == "__main__":
    names = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in current().items()]
    content = f'{{"level": {API_VERSION}, "names": {{\n' + ",\n".join(names) + "\n}}\n"
    RECORD.write_text(content, encoding="utf-8")
