"""What a checkpoint of the research script holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from omniflow.errors import CheckpointError
from omniflow.tensor_files import load_pickle, stored

#: Entries of the file that hold weights, by what they are.
HEAD, REFINER, TEXT_OUTPUT = "text_decoder_head", "latent_refiner", "state_dict"

#: What torch puts before the names of a module that several devices train, or that is compiled.
_WRAPPERS = ("module.", "_orig_mod.")

_EXPECTED = f"a checkpoint of the research script, with {HEAD} or {TEXT_OUTPUT}"


@dataclass(frozen=True)
class LegacyContents:
    """The weights of a checkpoint, by their names in it.

    Args:
        head: Those of the text decoder head; none where the text output was trained.
        refiner: Those of the latent refiner, if there is one.
        text_output: Those of the backbone's last text projection, where that was trained.
        step: How many steps had been taken, where the file says so.
        left_out: Entries that have no place in a saved model, such as the optimizer's.
    """

    head: Mapping[str, Tensor]
    refiner: Mapping[str, Tensor]
    text_output: Mapping[str, Tensor]
    step: int | None
    left_out: tuple[str, ...]


def read_contents(path: Path) -> LegacyContents:
    """Read a checkpoint; nothing in it is executed.

    A file that holds the weights of a head alone, without anything around them, is one as well.

    Raises:
        CheckpointError: If it is missing, damaged, holds more than tensors and plain values, or is
            no such checkpoint.
    """
    content = load_pickle(path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"it holds a {type(content).__name__}", where=str(path), expected=_EXPECTED
        )
    content = {str(name): _unwrapped(value) for name, value in _unwrapped(content).items()}
    if _is_bare(content):
        content = {TEXT_OUTPUT: content}
    if isinstance(content.get(TEXT_OUTPUT), Mapping) and not _is_linear(content[TEXT_OUTPUT]):
        # The script's own generation reads a head from there as well.
        content.setdefault(HEAD, content.pop(TEXT_OUTPUT))
    if HEAD not in content and TEXT_OUTPUT not in content:
        raise CheckpointError(
            f"it holds {_listed(content) or 'nothing'}, and no weights of a head",
            where=str(path),
            expected=_EXPECTED,
        )
    step = content.get("global_step")
    weights = {name: _tensors(content, name, path) for name in (HEAD, REFINER, TEXT_OUTPUT)}
    return LegacyContents(
        head=weights[HEAD],
        refiner=weights[REFINER],
        text_output=weights[TEXT_OUTPUT],
        step=step if isinstance(step, int) and not isinstance(step, bool) else None,
        # Whatever a file calls them, they are shown on a line each.
        left_out=tuple(
            name if name.isprintable() else ascii(name) for name in content if name not in weights
        ),
    )


def _unwrapped(content: Any) -> Any:
    """A mapping without what a wrapper has put before all of its names; anything else as it is."""
    if not isinstance(content, Mapping) or not content:
        return content
    for wrapper in _WRAPPERS:
        if all(isinstance(name, str) and name.startswith(wrapper) for name in content):
            return _unwrapped(
                {name.removeprefix(wrapper): value for name, value in content.items()}
            )
    return content


def _is_bare(content: Mapping[str, Any]) -> bool:
    return bool(content) and all(torch.is_tensor(value) for value in content.values())


def _is_linear(tensors: Mapping[str, Any]) -> bool:
    return set(tensors) <= {"weight", "bias"}


def _listed(content: Mapping[str, Any]) -> str:
    names = sorted(content)
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _tensors(content: Mapping[str, Any], entry: str, path: Path) -> dict[str, Tensor]:
    """The weights of one entry in float32; none if it is not there or is None.

    Raises:
        CheckpointError: If it holds anything but plain tensors of finite numbers.
    """
    found = content.get(entry)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"its {entry} is a {type(found).__name__}", where=str(path), expected="named tensors"
        )
    weights: dict[str, Tensor] = {}
    for name, value in found.items():
        if not torch.is_tensor(value) or not value.is_floating_point():
            kind = str(value.dtype) if torch.is_tensor(value) else type(value).__name__
            raise CheckpointError(
                f"{entry}.{name} is of type {kind.removeprefix('torch.')}",
                where=str(path),
                expected="a tensor of fractions",
            )
        stored(path, (entry, f"{entry}.{name}"), value)
        weights[str(name)] = value.float()
        if not weights[str(name)].isfinite().all():
            raise CheckpointError(
                f"{entry}.{name} holds numbers that are not finite",
                where=str(path),
                expected="an earlier checkpoint: the run had failed by then",
            )
    return weights
