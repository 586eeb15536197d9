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
        return cls(_sections(_read_yaml(path)))

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
        return Draft({section: tree}).over(self)

    def name_of(self, section: str) -> Said | None:
        """The component that a single section names."""
        named: Said | None = self.sections.get(section, {}).get("name")
        return named

    def _with_list_setting(self, section: str, rest: list[str], said: Said) -> Draft:
        entries: list[Tree] = list(self.sections.get(section, []))
        names = [entry["name"].value for entry in entries]
        if rest[0].isdigit() and len(rest) > 1:
            position = int(rest.pop(0))
        elif rest[0] in names and len(rest) > 1:
            position = names.index(rest.pop(0))
        else:
            position = 0 if len(entries) == 1 else len(entries)
        if position >= len(entries):
            raise UsageError(
                f"{section}.{'.'.join(rest)} fits no {section}",
                where=said.where,
                expected=f"{section}.NAME.{rest[-1]} with one of {', '.join(names)}"
                if names
                else f"a {section} to be named first",
            )
        entries[position] = _merged(_nested(rest, said), entries[position])
        return Draft({**self.sections, section: entries})


def plain(tree: Any) -> Any:
    """The values alone, without where they were said."""
    if isinstance(tree, Said):
        return tree.value
    if isinstance(tree, Mapping):
        return {key: plain(value) for key, value in tree.items()}
    return tree


def origin_of(tree: Any) -> str | None:
    """Where the first value of a tree was said."""
    if isinstance(tree, Said):
        return tree.where
    return next((origin_of(value) for value in tree.values()), None)


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
            where=origin_of(tree) if isinstance(tree, Said) else None,
            expected=f"sections {', '.join(SECTIONS)}",
        )
    said_format = tree.pop("format", Said(FORMAT))
    if plain(said_format) != FORMAT:
        raise ConfigError("format", plain(said_format), expected=FORMAT, where=said_format.where)
    sections: Tree = {}
    for name, value in tree.items():
        if name not in SECTIONS:
            raise UnknownNameError("section of a recipe", name, SECTIONS, where=_where_of(value))
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
            f"an entry of {section} has no name", where=_where_of(tree), expected="name: NAME"
        )
    named = tree.get("name")
    if named is not None and not (isinstance(named, Said) and isinstance(named.value, str)):
        raise ConfigError(
            f"{section}.name", plain(named), expected="a name", where=_where_of(named)
        )
    return tree


def _mapping(section: str, value: Any) -> Tree:
    if isinstance(value, dict):
        return value
    raise ConfigError(section, plain(value), expected="options by name", where=_where_of(value))


def _where_of(value: Any) -> str | None:
    if isinstance(value, Said | dict):
        return origin_of(value)
    return next((_where_of(item) for item in value), None)


def _read_yaml(path: Path) -> Any:
    """A YAML file as a tree that knows the line of every value."""
    loader: yaml.SafeLoader | None = None
    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
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
    finally:
        if loader is not None:
            loader.dispose()


def _tree_of(node: yaml.Node, loader: yaml.SafeLoader, file: str) -> Any:
    where = f"{file}:{node.start_mark.line + 1}"
    if isinstance(node, yaml.MappingNode):
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
    if holds_mappings:
        return [_tree_of(item, loader, file) for item in node.value]
    return Said(loader.construct_object(node, deep=True), where)
