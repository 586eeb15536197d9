"""Drafts to a recipe: every name found, every option checked, every default filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from omniflow.draft import BY_DEFAULT, Draft, Said, Tree, origin_of, plain
from omniflow.errors import ConfigError, MistakesError, UsageError
from omniflow.mixing import MIXING_KEYS, Mixing, labels_of
from omniflow.options import (
    Option,
    check_options,
    load_component,
    options_of,
    signature_options,
)
from omniflow.plugins import DISTRIBUTION
from omniflow.recipe import LIST_SECTIONS, SINGLE_SECTIONS, Choice, Recipe, TrainingOptions

if TYPE_CHECKING:
    from omniflow.interfaces import Backbone, Objective
    from omniflow.registry import Component, Registry

T = TypeVar("T")


def resolve(draft: Draft, registry: Registry) -> Recipe:
    """Settle everything that the draft leaves open.

    Raises:
        UsageError: If anything does not fit; all mistakes are reported together.
    """
    mistakes: list[UsageError] = []
    chosen: dict[str, Any] = {}
    suited = _collect(mistakes, lambda: _objective_defaults(draft, registry)) or {}
    names = {kind: suited[kind] for kind in SINGLE_SECTIONS if kind in suited}
    draft = draft.over(Draft.from_mapping(names, where=BY_DEFAULT)).over(Draft.defaults())
    defaults = _collect(mistakes, lambda: _backbone_defaults(draft, registry)) or {}
    if "training" in suited:
        training_defaults = {**suited["training"], **defaults.get("training", {})}
        defaults = {**defaults, "training": training_defaults}
    for kind in SINGLE_SECTIONS:
        chosen[kind] = _choose(registry, kind, draft.sections[kind], defaults, mistakes)
    for kind in LIST_SECTIONS:
        entries = draft.sections.get(kind, [])
        chosen[kind] = tuple(_choose(registry, kind, tree, defaults, mistakes) for tree in entries)
    _check_apart(chosen["dataset"], mistakes)
    training = _training(draft.sections.get("training", {}), defaults, mistakes)
    _refuse(mistakes)
    return Recipe(**chosen, training=cast(TrainingOptions, training))


def resolve_datasets(draft: Draft, registry: Registry) -> tuple[Choice, ...]:
    """Settle the datasets of a draft and nothing else, for whoever has a model already.

    Raises:
        UsageError: If anything does not fit; all mistakes are reported together.
    """
    mistakes: list[UsageError] = []
    entries = draft.over(Draft.defaults()).sections["dataset"]
    chosen = [_choose(registry, "dataset", tree, {}, mistakes) for tree in entries]
    _check_apart(chosen, mistakes)
    _refuse(mistakes)
    return tuple(choice for choice in chosen if choice is not None)


def _check_apart(datasets: Sequence[Choice | None], mistakes: list[UsageError]) -> None:
    """Refuse a dataset that is there twice, and labels that are."""
    choices = [choice for choice in datasets if choice is not None]
    labels = labels_of(choices)
    for place, choice in enumerate(choices):
        before = choices[:place]
        if any((choice.name, choice.options) == (each.name, each.options) for each in before):
            mistakes.append(
                UsageError(
                    f"dataset {choice.name} is there twice, with the same options",
                    where=choice.where.get("name"),
                    expected=f"once, and a weight for it: {choice.name}:2",
                )
            )
        elif labels[place] in labels[:place]:
            mistakes.append(
                ConfigError(
                    f"dataset.{place}.label",
                    labels[place],
                    expected="a label of its own",
                    where=choice.where.get("label", choice.where.get("name")),
                )
            )


def _refuse(mistakes: list[UsageError]) -> None:
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else MistakesError(mistakes)


def _backbone_defaults(draft: Draft, registry: Registry) -> Mapping[str, Any]:
    said = draft.sections["backbone"]["name"]
    name = _name(registry, "backbone", said)
    loaded = load_component(registry, "backbone", name, where=said.where)
    return cast("type[Backbone]", loaded).recipe_defaults


def _objective_defaults(draft: Draft, registry: Registry) -> Mapping[str, Any]:
    said = draft.over(Draft.defaults()).sections["objective"]["name"]
    name = _name(registry, "objective", said)
    loaded = load_component(registry, "objective", name, where=said.where)
    return cast("type[Objective]", loaded).recipe_defaults


def _name(registry: Registry, kind: str, said: Said) -> str:
    """The name as said; a default that others claim too means the built-in."""
    name = str(said.value)
    is_claimed = said.where == BY_DEFAULT and name not in registry.names(kind)
    return f"{DISTRIBUTION}:{name}" if is_claimed else name


def _choose(
    registry: Registry,
    kind: str,
    tree: Tree,
    defaults: Mapping[str, Any],
    mistakes: list[UsageError],
) -> Choice | None:
    said = {key: value for key, value in tree.items() if key != "name"}
    name = _name(registry, kind, tree["name"])
    where = {key: origin for key, value in tree.items() if (origin := origin_of(value))}
    component = _collect(mistakes, lambda: registry.get(kind, name, where=where.get("name")))
    if component is None:
        return None
    options = _collect(mistakes, lambda: _checked_options(registry, component))
    if options is None:
        return None
    suited = defaults.get(kind, {}).get(component.name, {})
    values = _overlaid(plain(said), suited)
    if kind == "dataset":
        options = [*options, *signature_options(Mixing)]
    resolved, found = check_options(options, values, owner=f"{kind} {name}", where=where.get)
    mistakes.extend(found)
    if kind != "dataset":
        return Choice(name, resolved, where)
    said_of_mix = {key: resolved.pop(key) for key in MIXING_KEYS if key in resolved}
    return Choice(name, resolved, where, _mixing(name, said_of_mix, where, mistakes))


def _mixing(
    name: str, values: Mapping[str, Any], where: Mapping[str, str], mistakes: list[UsageError]
) -> Mixing | None:
    """What was said about mixing, None if nothing was."""
    try:
        mixing = Mixing(**values)
    except ConfigError as error:
        place = where.get(error.name.partition(".")[0])
        mistakes.append(error.located(f"dataset.{values.get('label') or name}", place))
        return None
    return mixing if mixing.to_dict() else None


def _checked_options(registry: Registry, component: Component) -> list[Option]:
    load_component(registry, component.kind, component.qualified_name)
    return options_of(component)


def _training(
    tree: Tree, defaults: Mapping[str, Any], mistakes: list[UsageError]
) -> TrainingOptions | None:
    where = {key: origin for key, value in tree.items() if (origin := origin_of(value))}
    values = _overlaid(plain(tree), defaults.get("training", {}))
    resolved, found = check_options(
        signature_options(TrainingOptions), values, owner="training", where=where.get
    )
    mistakes.extend(found)
    if found:
        return None
    try:
        return TrainingOptions(**resolved)
    except ConfigError as error:
        mistakes.append(error.located("training", where.get(error.name)))
        return None


def _overlaid(over: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    """Options over defaults; where both are mappings, key by key."""
    merged = dict(below)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = {**merged[key], **value} if both else value
    return merged


def _collect(mistakes: list[UsageError], action: Callable[[], T]) -> T | None:
    """The action's result, or None with its mistake noted."""
    try:
        return action()
    except UsageError as error:
        if str(error) not in map(str, mistakes):
            mistakes.append(error)
        return None
