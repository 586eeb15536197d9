"""Draft: what has been said about a run so far, value by value, with where it was said.

Drafts are laid over one another (a backbone's defaults, a recipe file, flags, --set) and then
resolved into a recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from omniflow.errors import ConfigError, UnknownNameError, UsageError
from omniflow.recipe import FORMAT, LIST_SECTIONS, SINGLE_SECTIONS, shipped_recipes

SECTIONS = (*SINGLE_SECTIONS, *LIST_SECTIONS, "training")


@dataclass(frozen=True)
class Said:
    """A value and where it was said: a flag, a `file:line`, or None for Python code."""

    value: Any
    where: str | None = None


#: What a run is made of when nobody says otherwise, and where that is said.
DEFAULTS: Mapping[str, Any] = {
    "backbone": "tiny",
    "head": "mlp",
    "refiner": "none",
    "objective": "text-decoder",
    "dataset": ["scenes"],
}
BY_DEFAULT = "the defaults"

#: Nested mappings whose leaves are `Said`; list sections hold a list of such mappings.
Tree = dict[str, Any]


@dataclass(frozen=True)
class Draft:
    """Sections of a recipe, each as options by name with their origin."""

    sections: Tree

    @classmethod
    def empty(cls) -> Draft:
        """Nothing said."""
        return cls({})

    @classmethod
    def defaults(cls) -> Draft:
        """What holds when nobody says otherwise."""
        return cls.from_mapping(DEFAULTS, where=BY_DEFAULT)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, where: str | None = None) -> Draft:
        """Plain data in the shape of a recipe; a component may be given as its bare name."""
        return cls(_sections(_said_tree(values, where)))

    @classmethod
    def from_file(cls, name_or_path: str, *, where: str | None = None) -> Draft:
        """A shipped recipe by name, or a YAML file.

        Raises:
            UsageError: If there is no such recipe or file, or it is not a recipe.
        """
        shipped = shipped_recipes()
        path = shipped.get(name_or_path) or Path(name_or_path)
        if path.is_dir():
            path = path / "recipe.yaml"
        if not path.is_file():
            raise UnknownNameError("recipe or file", name_or_path, list(shipped), where=where)
        return cls(_sections(read_tree(path)))

    def over(self, lower: Draft) -> Draft:
        """This draft laid over a lower one: what is said here wins.

        Naming another component drops what the lower draft said about the options of the one it
        replaces.
        """
        sections = dict(lower.sections)
        for name, said in self.sections.items():
            below = sections.get(name)
            if name in LIST_SECTIONS or below is None or _renames(said, below):
                sections[name] = said
            else:
                sections[name] = _merged(said, below)
        return Draft(sections)

    def with_setting(self, key: str, value: Any, *, where: str | None = None) -> Draft:
        """One more option: `head.codebook_size`, `training.lr`, `dataset.path`.

        A list section takes the position or the component's name when it holds more than one
        (`dataset.1.path`, `dataset.text.path`).

        Raises:
            UsageError: If the key does not lead to an option.
        """
        section, *rest = key.split(".")
        if section not in SECTIONS:
            raise UnknownNameError("section of a recipe", section, SECTIONS, where=where)
        if not rest or not all(rest):
            raise UsageError(
                f"{key!r} names no option", where=where, expected="section.option=value"
            )
        if section in LIST_SECTIONS:
            return self._with_list_setting(section, rest, Said(value, where))
        tree = _nested(rest, Said(value, where))
        if section != "training":
            tree = _named(section, tree, optional=True)
        return Draft({section: tree}).over(self)

    def _with_list_setting(self, section: str, rest: list[str], said: Said) -> Draft:
        sections = self.over(Draft.defaults()).sections
        entries: list[Tree] = list(sections.get(section, []))
        names = [_called(entry) for entry in entries]
        key = ".".join([section, *rest])
        if rest[0].isdigit() and len(rest) > 1:
            position = int(rest.pop(0))
        elif rest[0] in names and len(rest) > 1:
            if names.count(rest[0]) > 1:
                places = [f"{section}.{n}" for n, name in enumerate(names) if name == rest[0]]
                raise UsageError(
                    f"{key} fits several", where=said.where, expected=" or ".join(places)
                )
            position = names.index(rest.pop(0))
        else:
            position = 0 if len(entries) == 1 else len(entries)
        if position >= len(entries):
            raise UsageError(
                f"{key} fits no {section}",
                where=said.where,
                expected=f"{section}.NAME.{rest[-1]} with one of {', '.join(dict.fromkeys(names))}"
                if names
                else f"a {section} to be named first",
            )
        tree, below = _named(section, _nested(rest, said), optional=True), entries[position]
        entries[position] = tree if _renames(tree, below) else _merged(tree, below)
        return Draft({**self.sections, section: entries})


def plain(tree: Any) -> Any:
    """The values alone, without where they were said."""
    if isinstance(tree, Said):
        return tree.value
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [plain(value) for value in tree]
    return tree


def origin_of(tree: Any) -> str | None:
    """Where the first value of a tree was said."""
    if isinstance(tree, Said):
        return tree.where
    values = tree.values() if isinstance(tree, Mapping) else tree
    return next((origin_of(value) for value in values), None)


def _called(entry: Tree) -> str:
    """What an entry of a list section is called: its label, else its name."""
    label = plain(entry.get("label"))
    return label if isinstance(label, str) else str(entry["name"].value)


def _renames(said: Tree, below: Tree) -> bool:
    return "name" in said and "name" in below and said["name"].value != below["name"].value


def _merged(over: Tree, below: Tree) -> Tree:
    merged = dict(below)
    for key, value in over.items():
        both_trees = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(value, merged[key]) if both_trees else value
    return merged


def _nested(path: Sequence[str], said: Said) -> Tree:
    tree: Any = said
    for key in reversed(path):
        tree = {key: tree}
    nested: Tree = tree
    return nested


def _said_tree(value: Any, where: str | None) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _said_tree(item, where) for key, item in value.items()}
    if isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        return [_said_tree(item, where) for item in value]
    return Said(list(value) if isinstance(value, tuple) else value, where)


def _sections(tree: Any) -> Tree:
    """Check the shape of a recipe and write bare component names out."""
    if not isinstance(tree, dict):
        raise UsageError(
            "not a recipe",
            where=origin_of(tree),
            expected=f"sections {', '.join(SECTIONS)}",
        )
    said_format = tree.pop("format", Said(FORMAT))
    if plain(said_format) != FORMAT:
        raise ConfigError(
            "format", plain(said_format), expected=FORMAT, where=origin_of(said_format)
        )
    sections: Tree = {}
    for name, value in tree.items():
        if name not in SECTIONS:
            raise UnknownNameError("section of a recipe", name, SECTIONS, where=origin_of(value))
        if name in LIST_SECTIONS:
            sections[name] = [_named(name, entry) for entry in _entries(value)]
        elif name == "training":
            sections[name] = _mapping(name, value)
        else:
            sections[name] = _named(name, value, optional=True)
    return sections


def _entries(value: Any) -> list[Any]:
    if isinstance(value, Said):
        listed = value.value if isinstance(value.value, list) else [value.value]
        return [Said(item, value.where) for item in listed if item is not None]
    return value if isinstance(value, list) else [value]


def _named(section: str, value: Any, *, optional: bool = False) -> Tree:
    if isinstance(value, Said) and isinstance(value.value, str):
        return {"name": value}
    tree = _mapping(section, value)
    if "name" not in tree and not optional:
        raise UsageError(
            f"an entry of {section} has no name", where=origin_of(tree), expected="name: NAME"
        )
    named = tree.get("name")
    if named is not None and not (isinstance(named, Said) and isinstance(named.value, str)):
        raise ConfigError(
            f"{section}.name", plain(named), expected="a name", where=origin_of(named)
        )
    return tree


def _mapping(section: str, value: Any) -> Tree:
    if isinstance(value, dict):
        return value
    raise ConfigError(section, plain(value), expected="options by name", where=origin_of(value))


def read_tree(path: Path) -> Any:
    """A YAML or JSON file as a tree that knows the line of every value.

    Raises:
        UsageError: If it cannot be read, or is neither; says where.
    """
    loader: yaml.SafeLoader | None = None
    try:
        text = path.read_text(encoding="utf-8")
        # JSON may be indented by tabs, and holds none elsewhere.
        loader = yaml.SafeLoader(text.replace("\t", " ") if path.suffix == ".json" else text)
        node = loader.get_single_node()
        if node is None:
            raise UsageError("the file is empty", where=str(path), expected="a recipe")
        return _tree_of(node, loader, str(path))
    except UnicodeDecodeError as error:
        raise UsageError("not UTF-8 text", where=str(path), expected="a recipe in YAML") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(
            f"not readable as YAML ({error.problem})", where=f"{path}{line}"
        ) from error
    except yaml.YAMLError as error:
        raise UsageError("not readable as YAML", where=str(path)) from error
    except RecursionError as error:
        raise UsageError("it is nested too deeply", where=str(path)) from error
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=str(path)) from error
    finally:
        if loader is not None:
            loader.dispose()


def _tree_of(node: yaml.Node, loader: yaml.SafeLoader, file: str) -> Any:
    where = f"{file}:{node.start_mark.line + 1}"
    # Other tags are left to the loader, which refuses those that would run code.
    is_plain = node.tag in (loader.DEFAULT_MAPPING_TAG, loader.DEFAULT_SEQUENCE_TAG)
    if isinstance(node, yaml.MappingNode) and is_plain:
        tree: Tree = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node, deep=True))
            if key in tree:
                raise UsageError(
                    f"{key!r} is given twice", where=f"{file}:{key_node.start_mark.line + 1}"
                )
            tree[key] = _tree_of(value_node, loader, file)
        return tree
    holds_mappings = isinstance(node, yaml.SequenceNode) and any(
        isinstance(item, yaml.MappingNode) for item in node.value
    )
    if holds_mappings and is_plain:
        return [_tree_of(item, loader, file) for item in node.value]
    try:
        return Said(loader.construct_object(node, deep=True), where)
    except ValueError as error:
        # Some scalars look like a date or a number and are none: 2020-13-45, 0x_.
        raise UsageError(
            f"{node.value!r} is not readable ({error})", where=where, expected="quotes around text"
        ) from error
