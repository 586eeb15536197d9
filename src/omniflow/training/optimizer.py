"""The optimizer of a run: AdamW, with decay and learning rate by group of parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import nn

from omniflow.errors import ConfigError, closest

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import TrainingOptions

#: Devices on which one kernel updates all parameters. On the CPU it takes 0.4 of the time, and
#: gives the same bits every time, which are not those of the other implementation.
FUSED = ("cpu", "cuda")


def make_optimizer(model: OmniFlowModel, options: TrainingOptions) -> torch.optim.AdamW:
    """AdamW over what a model trains.

    Weights of two dimensions and more decay; biases, norms, embeddings and codebooks do not, as
    they would be drawn to values that mean nothing. Groups hold `lr_scale`, which `set_lr` reads.

    Args:
        model: The model.
        options: How the run trains.

    Raises:
        ConfigError: If nothing of the model is trained, or `lr_scale` names a part that is not.
    """
    groups: dict[tuple[float, bool], list[tuple[str, nn.Parameter]]] = {}
    scales = _scales(model, options)
    for name, parameter, decays in _parameters(model):
        key = (scales[name.split(".", 1)[0]], decays)
        groups.setdefault(key, []).append((name, parameter))
    return torch.optim.AdamW(
        [
            {
                "params": parameters,
                "lr": options.lr * scale,
                "lr_scale": scale,
                "weight_decay": options.weight_decay if decays else 0.0,
            }
            for (scale, decays), parameters in groups.items()
        ],
        lr=options.lr,
        fused=model.device.type in FUSED or None,
    )


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its part of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def _scales(model: OmniFlowModel, options: TrainingOptions) -> dict[str, float]:
    """The factor of every part that has something to train."""
    parts = dict.fromkeys((name.split(".", 1)[0] for name, _ in model.named_trainable()), 1.0)
    if not parts:
        raise ConfigError(
            "head", "without parameters", expected="something to train in head or refiner"
        )
    for name, scale in (options.lr_scale or {}).items():
        if name not in parts:
            raise ConfigError(
                "training.lr_scale",
                {name: scale},
                expected=f"parts that this run trains: {', '.join(parts)}",
                nearest=closest(name, list(parts)),
            )
        parts[name] = scale
    return parts


def _parameters(model: OmniFlowModel) -> Iterator[tuple[str, nn.Parameter, bool]]:
    """What is trained by name, and whether it decays; in the order of `named_trainable`."""
    tables = {
        id(parameter)
        for part in model.trained_modules().values()
        for module in part.modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag)
        for parameter in module.parameters(recurse=False)
    }
    for name, parameter in model.named_trainable():
        is_table = id(parameter) in tables or "codebook" in name.rsplit(".", 1)[-1]
        yield name, parameter, parameter.ndim >= 2 and not is_table
