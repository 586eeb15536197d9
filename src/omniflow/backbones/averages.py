"""Averaged weights (`ema_transformer.pt`): a list without names, in the order of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from omniflow.errors import CheckpointError
from omniflow.tensor_files import StoredTensor, load_pickle, stored

if TYPE_CHECKING:
    from torch import nn

#: What the file says about the averaging, beside the averages themselves.
SETTINGS: Mapping[str, type] = {
    "decay": float,
    "min_decay": float,
    "optimization_step": int,
    "update_after_step": int,
    "use_ema_warmup": bool,
    "inv_gamma": float,
    "power": float,
}

_LIST = "shadow_params"


@dataclass(frozen=True)
class Averages:
    """An exponential moving average of parameters, as diffusers' `EMAModel` stores it.

    Args:
        settings: How it is averaged, and how often it was, under the names of `SETTINGS`.
        shadows: The averages, in the order of the module's parameters; buffers are left out and
            tied parameters are there once. Their values are read by `tensor_files.stream`.
    """

    settings: Mapping[str, float | int | bool]
    shadows: tuple[StoredTensor, ...]


def read_ema(path: Path) -> Averages:
    """Read what a file of averages holds; the values stay in the file.

    Raises:
        CheckpointError: If it is missing, damaged, or not such a file.
    """
    content = load_pickle(path)
    shadows = content.get(_LIST) if isinstance(content, dict) else None
    if not isinstance(shadows, list) or not all(torch.is_tensor(shadow) for shadow in shadows):
        raise CheckpointError(
            "it holds no averaged weights",
            where=str(path),
            expected=f"a dictionary with a list of tensors under {_LIST}",
        )
    for name, kind in SETTINGS.items():
        value = content.get(name)
        if not isinstance(value, kind) and not (kind is float and type(value) is int):
            raise CheckpointError(
                f"its {name} is {value!r}", where=str(path), expected=f"a {kind.__name__}"
            )
    return Averages(
        settings={name: content[name] for name in SETTINGS},
        shadows=tuple(
            stored(path, (_LIST, position), shadow) for position, shadow in enumerate(shadows)
        ),
    )


def named_averages(
    path: Path, transformer: nn.Module, text_vae: nn.Module, *, prefix: str
) -> dict[str, StoredTensor]:
    """Averages by the names of the parameters that they belong to.

    The list covers the transformer and the text VAE with its T5, or the transformer alone.

    Args:
        path: The file.
        transformer: The joint transformer; may be on the meta device.
        text_vae: The text VAE, likewise.
        prefix: What stands before the names of the text VAE.

    Raises:
        CheckpointError: If the file is unreadable, or its list is of another length or a tensor
            of another shape than the parameters.
    """
    shadows = read_ema(path).shadows
    parameters = dict(transformer.named_parameters())
    whole = parameters | {prefix + name: each for name, each in text_vae.named_parameters()}
    if len(shadows) not in (len(parameters), len(whole)):
        raise CheckpointError(
            f"it averages {len(shadows)} parameters",
            where=str(path),
            expected=f"{len(whole)}, or the {len(parameters)} of the transformer alone",
        )
    named = dict(zip(whole, shadows, strict=False))
    _refuse_other_shapes(named, {name: tuple(whole[name].shape) for name in named}, path)
    return named


def _refuse_other_shapes(
    named: Mapping[str, StoredTensor], wanted: Mapping[str, Sequence[int]], path: Path
) -> None:
    wrong = [name for name, shadow in named.items() if shadow.shape != wanted[name]]
    if wrong:
        raise CheckpointError(
            f"{len(wrong)} averages have another shape than their parameter",
            where=str(path),
            notes=[
                f"{name} has {list(named[name].shape)}, expected {list(wanted[name])}"
                for name in wrong[:5]
            ],
        )
