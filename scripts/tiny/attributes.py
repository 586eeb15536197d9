"""What a scene shows, as class numbers, and how well embeddings tell it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from omniflow.scenes.grammar import COLOURS, PLACES, RELATIONS, SHAPES, SIDES, SIZES, Scene

#: Classes of each attribute, "none" first where there may be none: of each colour the shape and
#: the size of the thing that has it, the first thing's colour, the second's, pair, third, place.
CLASSES = (
    *[1 + len(SHAPES)] * len(COLOURS),
    *[1 + len(SIZES)] * len(COLOURS),
    len(COLOURS),
    1 + len(COLOURS),
    1 + len(RELATIONS),
    1 + len(SIDES),
    1 + len(PLACES),
)


def attribute_classes(scenes: Sequence[Scene]) -> Tensor:
    """The class of each attribute [scenes, attributes]."""
    return torch.tensor([_classes(scene) for scene in scenes])


def attribute_loss(logits: Tensor, classes: Tensor) -> tuple[Tensor, float]:
    """Mean cross entropy over the attributes, and the share of shapes that are right.

    Args:
        logits: Of all classes side by side [scenes, sum of `CLASSES`].
        classes: As from `attribute_classes`.
    """
    parts = logits.split(CLASSES, dim=-1)
    losses = [F.cross_entropy(part, classes[:, i]) for i, part in enumerate(parts)]
    guessed = torch.stack([part.argmax(-1) for part in parts[: len(COLOURS)]], dim=1)
    shapes = classes[:, : len(COLOURS)]
    return torch.stack(losses).mean(), (guessed == shapes)[shapes > 0].float().mean().item()


def _classes(scene: Scene) -> list[int]:
    of_colour = {thing.colour: thing for thing in scene.things}
    things = [of_colour.get(colour) for colour in COLOURS]
    second = scene.things[1].colour if len(scene.things) > 1 else None
    return [
        *(0 if thing is None else 1 + SHAPES.index(thing.shape) for thing in things),
        *(0 if thing is None else 1 + SIZES.index(thing.size) for thing in things),
        COLOURS.index(scene.things[0].colour),
        *(
            0 if value is None else 1 + words.index(value)
            for value, words in (
                (second, COLOURS),
                (scene.pair, RELATIONS),
                (scene.third, SIDES),
                (scene.place, PLACES),
            )
        ),
    ]
