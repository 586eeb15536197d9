"""Metrics as a person names them: `bleu`, `distribution:name`, `hf:NAME`, with their options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from omniflow.errors import MistakesError, UnknownNameError, UsageError
from omniflow.recipe import Choice

if TYPE_CHECKING:
    from omniflow.interfaces.metric import Metric, Prediction
    from omniflow.registry import Registry

#: What comes before the name of a metric of Hugging Face `evaluate`, and the component for it.
FOREIGN, FOREIGN_COMPONENT = "hf:", "huggingface"

TEXT_METRICS = ("bleu", "rouge", "meteor")
TOKEN_METRICS = ("accuracy", "perplexity")


def fitting_metrics(records: Sequence[Prediction]) -> tuple[str, ...]:
    """What is computed when nobody says: metrics of text, and of tokens where all have scores."""
    has_tokens = all(record.tokens is not None for record in records)
    return TEXT_METRICS + TOKEN_METRICS if has_tokens else TEXT_METRICS


def choose_metrics(
    names: Sequence[str],
    registry: Registry,
    *,
    settings: Sequence[tuple[str, Any]] = (),
    where: str | None = None,
) -> dict[str, Choice]:
    """The components that names stand for, every option settled.

    Args:
        names: Registered names, or `hf:NAME`.
        registry: Where the components are.
        settings: `NAME.OPTION` and its value, in the order that they were said.
        where: The flag that named the metrics.

    Returns:
        Name -> component and options, each name once.

    Raises:
        UsageError: If there is no such metric or option, or a value does not fit; tells them all.
    """
    from omniflow.options import check_options, load_component, options_of

    given = _by_metric(names, settings)
    choices: dict[str, Choice] = {}
    mistakes: list[UsageError] = []
    for name in dict.fromkeys(names):
        foreign = name.startswith(FOREIGN)
        component = FOREIGN_COMPONENT if foreign else name
        load_component(registry, "metric", component, where=where)
        values = given[name] | ({"path": name.removeprefix(FOREIGN)} if foreign else {})
        found = registry.get("metric", component)
        options, wrong = check_options(
            options_of(found), values, owner=f"metric {name}", where=lambda _: "--set"
        )
        mistakes += wrong
        choices[name] = Choice(component, options)
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else MistakesError(mistakes)
    return choices


def construct_metrics(choices: Mapping[str, Choice], registry: Registry) -> dict[str, Metric]:
    """The metrics by name, ready to compute."""
    from omniflow.assembly import construct_component

    return {
        name: construct_component(registry, "metric", choice) for name, choice in choices.items()
    }


def _by_metric(
    names: Sequence[str], settings: Sequence[tuple[str, Any]]
) -> dict[str, dict[str, Any]]:
    given: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, value in settings:
        # Names of metrics may hold points themselves.
        name, point, option = key.rpartition(".")
        if not point:
            raise UsageError(
                f"{key!r} names no option",
                where="--set",
                expected="METRIC.OPTION=VALUE, such as bleu.tokenizer=zh",
            )
        if name not in given:
            raise UnknownNameError("metric to be computed", name, list(given), where="--set")
        given[name][option] = value
    return given
