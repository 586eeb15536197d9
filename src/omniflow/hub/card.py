"""The model card: metadata that the Hub understands, and what a reader needs to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from omniflow.hub.card_metadata import card_metadata
from omniflow.hub.card_text import join_card, split_card
from omniflow.hub.figures import CardFigure, CardFigures
from omniflow.hub.origins import portable

#: The distribution of the built-in components.
OURS = "omniflow-zoo"


@dataclass(frozen=True)
class CardFacts:
    """What a card is made of.

    Args:
        config: config.json of the model.
        name: What `omniflow.load` is given: a folder, or `owner/name`.
        is_published: Whether that is a name on the Hub.
        recipe: The recipe; None where there is none.
        figures: What was measured; None where nothing was.
        licence: As the Hub spells it (`apache-2.0`); None when unsaid.
    """

    config: Mapping[str, Any]
    name: str
    is_published: bool = False
    recipe: Mapping[str, Any] | None = None
    figures: CardFigures | None = None
    licence: str | None = None


def local_card(config: Mapping[str, Any]) -> str:
    """The card of a model that is in a folder; pushing it makes the one of its repository."""
    parts = {kind: portable(config[kind]) for kind in ("backbone", "head", "refiner")} | {
        "encoder": [portable(encoder) for encoder in config["encoder"]]
    }
    return model_card(CardFacts({**config, **parts}, "PATH"))


def model_card(facts: CardFacts, before: str | None = None) -> str:
    """The text of README.md.

    Args:
        facts: What it is made of.
        before: The card as it was. What a person wrote into it, outside of what is ours, stays, and
            so does metadata that only a person knows.
    """
    kept = split_card(before or "")
    body = "\n".join(_sections(facts))
    return join_card(card_metadata(facts, kept.metadata), kept.above, body, kept.below)


def _sections(facts: CardFacts) -> Iterator[str]:
    config = facts.config
    yield f"# {facts.name.rpartition('/')[2] if facts.is_published else _kind(config)}"
    yield ""
    yield _what(config)
    yield ""
    yield from _use(facts)
    yield from _parts(config)
    if facts.figures is not None and facts.figures.figures:
        yield from _measured(facts.figures)
    if facts.recipe is not None:
        yield from trained(facts.recipe)


def _kind(config: Mapping[str, Any]) -> str:
    return "OmniFlow model" if config.get("trains_backbone") else "OmniFlow text decoder"


def _what(config: Mapping[str, Any]) -> str:
    head, refiner = _name(config["head"]), _name(config["refiner"])
    if config.get("trains_backbone"):
        said = "with the trained transformer of"
    else:
        said = "on the frozen backbone"
    return (
        f"Head `{head}` and refiner `{refiner}` {said} `{_name(config['backbone'])}`; "
        f"{config['trainable']:,} trained parameters. Made with omniflow ({OURS} "
        f"{config['omniflow_version']}), for "
        "[OmniFlow](https://arxiv.org/abs/2412.01169), the any-to-any text / image / audio "
        "rectified-flow transformer."
    )


def _use(facts: CardFacts) -> Iterator[str]:
    yield "## Use"
    yield ""
    packages = [OURS, *_plugins(facts.config)]
    yield "```bash"
    yield f"pip install {' '.join(packages)}"
    yield "```"
    yield ""
    yield "```python"
    yield "import omniflow"
    yield ""
    yield f'model = omniflow.load("{facts.name}")'
    yield "```"
    yield ""
    if facts.is_published:
        yield "```bash"
        yield f"omniflow generate --checkpoint {facts.name} --output predictions.json"
        yield "```"
        yield ""


def _parts(config: Mapping[str, Any]) -> Iterator[str]:
    yield "## Made of"
    yield ""
    yield "| part | component | package | options |"
    yield "| --- | --- | --- | --- |"
    origins = {(part["kind"], part["name"]): part for part in config["components"]}
    for kind in ("backbone", "head", "refiner", "encoder"):
        said = config[kind]
        for choice in said if isinstance(said, list) else [said]:
            origin = origins[kind, _name(choice)]
            options = ", ".join(
                f"{name} {_short(value)}" for name, value in choice.items() if name != "name"
            )
            package = f"{origin['distribution']} {origin['version']}"
            yield f"| {kind} | `{_name(choice)}` | {package} | {_cell(options)} |"
    yield ""
    identity = config["backbone_identity"]
    revision = f" at `{identity['revision']}`" if identity.get("revision") else ""
    yield (
        f"The backbone is a reference: `{identity.get('id')}`{revision}, "
        f"content hash `{str(identity.get('hash'))[:12]}`."
    )
    if str(config["backbone"].get("path", "")).startswith("./"):
        yield (
            "It was read from a folder; say where yours is: "
            '`omniflow.load(..., options={"backbone.path": "FOLDER"})`.'
        )
    yield ""


def _plugins(config: Mapping[str, Any]) -> list[str]:
    """The packages of plugins that it needs, as pip takes them."""
    found = {
        f"{part['distribution']}=={part['version']}"
        for part in config["components"]
        if part["distribution"] != OURS
    }
    return sorted(found)


def _measured(figures: CardFigures) -> Iterator[str]:
    yield "## Measured"
    yield ""
    of = [
        f"{what} `{said}`"
        for what, said in (
            ("task", figures.task),
            ("data", figures.dataset),
            ("split", figures.split),
        )
        if said
    ]
    if of:
        yield f"{', '.join(of)}:"
        yield ""
    yield "| metric | figure | 95 % interval | records | how |"
    yield "| --- | ---: | --- | ---: | --- |"
    for figure in figures.figures:
        yield (
            f"| {_cell(figure.metric)} | {figure.value:.4g} | {interval(figure)} | "
            f"{figure.samples:,} | {_cell(figure.signature)} |"
        )
    yield ""


def trained(recipe: Mapping[str, Any]) -> Iterator[str]:
    """The lines on how it was trained."""
    training = recipe["training"]
    yield "## Trained"
    yield ""
    data = ", ".join(f"`{_name(dataset)}`" for dataset in recipe["dataset"])
    steps = training["max_steps"]
    how_long = f"{training['epochs']} epochs" if steps is None else f"{steps} steps at most"
    yield (
        f"Objective `{_name(recipe['objective'])}` on {data}: {how_long}, batches of "
        f"{training['batch_size']} times {training['grad_accum']}, learning rate "
        f"{training['lr']:g} ({training['lr_schedule']}), seed {training['seed']}. Everything that "
        "was settled is in `recipe.yaml`; the same run again:"
    )
    yield ""
    yield "```bash"
    yield "omniflow train --recipe recipe.yaml --output-dir runs/again"
    yield "```"
    yield ""


def interval(figure: CardFigure) -> str:
    """Its interval as text; a dash where there is none."""
    if figure.interval is None:
        return "-"
    return f"{figure.interval[0]:.4g} to {figure.interval[1]:.4g}"


def _name(choice: Mapping[str, Any]) -> str:
    """The name of a component, without the distribution that it may be told with."""
    return str(choice["name"]).rpartition(":")[2]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _cell(text: str) -> str:
    """A text in a table of Markdown, where a bar would end the cell."""
    return " ".join(text.replace("|", "\\|").split())
