"""Names of losses: those of an objective, those that its head adds, and those a recipe weighs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from omniflow.errors import ConfigError, PluginError, closest


def check_weight_names(
    weights: Mapping[str, float], own: Collection[str], added: Collection[str] | None
) -> None:
    """Refuse a weight that no loss goes by.

    Args:
        weights: Weight of each loss by its name.
        own: Names that the objective knows.
        added: Names of the head's losses; when None they are not known yet, and nothing is refused.

    Raises:
        ConfigError: If there is one.
    """
    if added is None:
        return
    known = {*own, *added}
    for name, weight in weights.items():
        if name not in known:
            raise ConfigError(
                f"objective.weights.{name}",
                weight,
                expected=f"the name of a loss: {', '.join(sorted(known))}",
                nearest=closest(name, known),
            )


def check_head_losses(head: str, own: Collection[str], added: Collection[str]) -> None:
    """Refuse a loss of a head that goes by a name of the objective.

    Args:
        head: The head's name.
        own: Names that the objective keeps to itself.
        added: Names of the head's losses.

    Raises:
        PluginError: If there is one.
    """
    taken = sorted({"loss", *own} & {*added})
    if taken:
        raise PluginError(
            f"head {head} returns a loss called {taken[0]!r}",
            expected="a name that the objective does not use itself",
        )
