"""`omniflow show`: one component with its options, or one shipped recipe."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniflow.errors import UnknownNameError
from omniflow.plugins import installed_plugins
from omniflow.registry import KINDS, Component
from omniflow_cli import render
from omniflow_cli.flags import AsJson

if TYPE_CHECKING:
    from omniflow.options import Option

RECIPE = "recipe"


def show(
    kind: Annotated[str, typer.Argument(help=f"{', '.join(KINDS)} or {RECIPE}.", metavar="KIND")],
    name: Annotated[str, typer.Argument(help="Its name.", metavar="NAME")],
    as_json: AsJson = False,
) -> None:
    """Show a component with its options, or a recipe."""
    if kind == RECIPE:
        _show_recipe(name, as_json)
        return
    if kind not in KINDS:
        raise UnknownNameError("kind", kind, [*KINDS, RECIPE], where="omniflow show")
    page = _page_of(installed_plugins().registry.get(kind, name, where=f"omniflow show {kind}"))
    if as_json:
        render.as_json(page.to_dict())
    else:
        page.render()


@dataclass(frozen=True)
class _Page:
    """What is shown of a component; `suited` are the defaults that a backbone sets for it."""

    component: Component
    description: str
    options: list[Option]
    supplied: list[str]
    suited: dict[str, Any]
    backbone: str

    def to_dict(self) -> dict[str, Any]:
        component = self.component
        return {
            "kind": component.kind,
            "name": component.name,
            "summary": component.summary,
            "distribution": component.origin.distribution,
            "version": component.origin.version,
            "target": _target(component),
            "description": self.description,
            "options": [
                {
                    "name": option.name,
                    "type": option.type_name,
                    "required": option.is_required,
                    "default": None if option.is_required else _plain(option.default),
                    "help": option.help,
                }
                for option in self.options
            ],
            "filled_in": self.supplied,
            "defaults_with": {self.backbone: _plain(self.suited)},
        }

    def render(self) -> None:
        component = self.component
        render.facts(
            [
                (component.kind, component.name),
                ("summary", component.summary),
                ("origin", str(component.origin)),
                ("target", _target(component)),
            ]
        )
        if self.description:
            render.line(f"\n{self.description}")
        render.line()
        if self.options:
            render.table(("option", "type", "default", "help"), map(self._row, self.options))
        else:
            render.line("no options")
        if self.supplied:
            source = "the run" if component.kind == "dataset" else "the backbone"
            render.line(f"filled in from {source}: {', '.join(self.supplied)}")
        if self.options:
            owner, option = component.kind, self.options[0].name
            if component.kind == "metric":
                # The one of Hugging Face stands for many; NAME is its first option, the path.
                is_many = component.name == "huggingface"
                owner, option = ("hf:NAME", "figure") if is_many else (component.name, option)
            render.line(f"set them with: --set {owner}.{option}=VALUE")

    def _row(self, option: Option) -> tuple[str, str, str, str]:
        default = "required" if option.is_required else _shown(option.default)
        if option.name in self.suited:
            default += f" ({_shown(self.suited[option.name])} on {self.backbone})"
        return option.name, option.type_name, default, option.help


def _page_of(component: Component) -> _Page:
    from omniflow.draft import DEFAULTS
    from omniflow.options import SUPPLIED, load_component, options_of, signature_options

    registry = installed_plugins().registry
    loaded = load_component(registry, component.kind, component.qualified_name)
    parameters = {option.name for option in signature_options(loaded)}
    backbone = DEFAULTS["backbone"]
    defaults: dict[str, Any] = {}
    # A metric is no part of a recipe, and needs no torch to be shown.
    if component.kind != "metric":
        chosen: Any = load_component(registry, "backbone", backbone)
        defaults = chosen.recipe_defaults.get(component.kind, {})
    return _Page(
        component=component,
        description=_first_paragraph(inspect.getdoc(loaded) or ""),
        options=options_of(component),
        supplied=sorted(SUPPLIED.get(component.kind, frozenset()) & parameters),
        suited=dict(defaults.get(component.name, {})),
        backbone=backbone,
    )


def _show_recipe(name: str, as_json: bool) -> None:
    from omniflow.draft import Draft, plain
    from omniflow.recipe import shipped_recipes

    recipes = shipped_recipes()
    if name not in recipes:
        raise UnknownNameError("recipe", name, list(recipes), where="omniflow show recipe")
    if as_json:
        sections = Draft.from_file(name).sections
        content = {
            section: [plain(entry) for entry in tree] if isinstance(tree, list) else plain(tree)
            for section, tree in sections.items()
        }
        render.as_json({"name": name, "recipe": content})
    else:
        render.line(recipes[name].read_text(encoding="utf-8").rstrip())


def _first_paragraph(docstring: str) -> str:
    """The summary line and the paragraph after it, up to the arguments."""
    before = docstring.partition("\nArgs:")[0].partition("\nRaises:")[0].strip()
    return "\n\n".join(before.split("\n\n")[:2])


def _target(component: Component) -> str:
    target = component.target
    return target if isinstance(target, str) else f"{target.__module__}:{target.__qualname__}"


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _shown(value: Any) -> str:
    """A default the way it is typed in a recipe."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
