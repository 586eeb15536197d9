"""The metadata of a model card, by which the Hub lists, links and compares models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omniflow.hub.origins import hub_ids

if TYPE_CHECKING:
    from omniflow.hub.card import CardFacts
    from omniflow.hub.figures import CardFigure, CardFigures

LIBRARY = "omniflow"
TASK = "any-to-any"
_TAGS = (LIBRARY, TASK)

#: What the Hub calls a task of ours; every other one is any-to-any.
_TASKS = {
    "t2t": "text-generation",
    "i2t": "image-to-text",
    "a2t": "audio-text-to-text",
    "t2i": "text-to-image",
    "i2i": "image-to-image",
    "t2a": "text-to-audio",
    "a2a": "audio-to-audio",
}


def card_metadata(facts: CardFacts, before: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of a card.

    Args:
        facts: What the card is made of.
        before: The metadata of the card as it was. What we do not know stays as a person wrote it;
            figures, which are of other weights, do not.
    """
    config = facts.config
    known = dict(before)
    for figure_key in ("metrics", "model-index"):
        known.pop(figure_key, None)
    tags = [*_TAGS, *(str(tag) for tag in _listed(before.get("tags")))]
    known |= {"library_name": LIBRARY, "pipeline_tag": TASK, "tags": list(dict.fromkeys(tags))}
    if facts.licence is not None:
        known["license"] = facts.licence
    # What is no Hub id begins with `./` by now.
    bases = hub_ids([{"revision": None, **config["backbone"]}])
    if bases:
        known["base_model"] = bases[0]
        relation = "finetune" if config.get("trains_backbone") else "adapter"
        known["base_model_relation"] = relation
    datasets = hub_ids(list(facts.recipe["dataset"])) if facts.recipe is not None else []
    if datasets:
        known["datasets"] = datasets
    if facts.figures is not None and facts.figures.figures:
        known["metrics"] = list(dict.fromkeys(_metric(one) for one in facts.figures.figures))
        name = facts.name.rpartition("/")[2]
        known["model-index"] = [{"name": name, "results": [_result(facts.figures)]}]
    return known


def _result(figures: CardFigures) -> dict[str, Any]:
    """One entry of the model index: a task, a data set, and the figures."""
    task = figures.task or TASK
    data = figures.dataset or "unknown"
    dataset: dict[str, Any] = {"type": data, "name": data}
    if figures.split is not None:
        dataset["split"] = figures.split
    return {
        "task": {"type": _TASKS.get(task, TASK), "name": task},
        "dataset": dataset,
        "metrics": [_entry(figure) for figure in figures.figures],
    }


def _entry(figure: CardFigure) -> dict[str, Any]:
    name = figure.metric
    if figure.interval is not None:
        low, high = figure.interval
        name = f"{name} (95 % interval {low:.4g} to {high:.4g})"
    return {"type": _metric(figure), "value": figure.value, "name": name}


def _metric(figure: CardFigure) -> str:
    """What the Hub calls a metric; `hf:NAME` is one of its own."""
    return figure.metric.removeprefix("hf:")


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
