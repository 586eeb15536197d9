"""Weights of a published model: found by name, checked as a whole, then read one by one."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from omniflow.backbones.averages import named_averages
from omniflow.backbones.layout import TRANSFORMERS_NAMES, WEIGHT_NAMES, PublishedFolder
from omniflow.errors import CheckpointError
from omniflow.models.qformer import is_legacy_key
from omniflow.tensor_files import StoredTensor, scan_tensors, stream

if TYPE_CHECKING:
    from omniflow.backbones.t5_source import T5Source

#: Prefix of the text VAE, T5 included, in the transformer's file.
TEXT_VAE_PREFIX = "text_decoder."

#: Prefix of T5 in it.
T5_PREFIX = TEXT_VAE_PREFIX + "encoder."

#: Tables that are computed when a file comes without them.
POSITION_TABLES = frozenset({"pos_embed.pos_embed", "audio_embedder.pos_embed"})

#: Frequencies that older versions of transformers wrote and nothing reads.
_FREQUENCIES = re.compile(r"text_decoder\..*rotary_emb\.inv_freq$")

#: How many names a message lists.
_LISTED = 10

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """An attribute of a module that holds a tensor; names of tied tensors share one place."""

    module: nn.Module
    key: str

    @property
    def tensor(self) -> torch.Tensor:
        """What it holds."""
        tensor: torch.Tensor = getattr(self.module, self.key)
        return tensor

    def fill(self, tensor: torch.Tensor) -> None:
        """Put another tensor in."""
        is_parameter = isinstance(self.tensor, nn.Parameter)
        held = nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor
        setattr(self.module, self.key, held)


@dataclass(frozen=True)
class FoundWeights:
    """Where each tensor of a model is stored; nothing is missing and every shape fits.

    Args:
        tensors: By name of the model; a tied tensor under the first of its names.
        files: Every file that is read, by the name under which it counts in the content hash.
        is_computed: Names of the position tables that no file has.
    """

    tensors: Mapping[str, StoredTensor]
    files: Mapping[str, Path]
    is_computed: frozenset[str]

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the file: of its last text projection, else of its first tensor."""
        first = next(iter(self.tensors.values()))
        return self.tensors.get("text_output.weight", first).dtype


def find_weights(
    folder: PublishedFolder,
    t5: T5Source,
    transformer: nn.Module | None,
    text_vae: nn.Module,
    *,
    is_averaged: bool = False,
) -> FoundWeights:
    """Look up the tensors of a model, fetching the files when they are on the Hub.

    The transformer's files come first. What they lack of the text VAE is looked for in
    `text_vae/`; a T5 that they lack as a whole comes from where its configuration came from.

    Args:
        folder: The model.
        t5: Where its T5 lies.
        transformer: The joint transformer, on the meta device; None when its weights are not
            wanted.
        text_vae: The text VAE, on the meta device.
        is_averaged: Whether averaged weights take the place of the ordinary ones.

    Raises:
        CheckpointError: If a file is damaged, a tensor is missing or does not fit.
        UsageError: If a file cannot be fetched.
    """
    search = _Search(dict(_places(transformer, text_vae)))
    if is_averaged and transformer is not None:
        path = folder.averages()
        search.files[f"transformer/{path.name}"] = path
        search.add(named_averages(path, transformer, text_vae, prefix=TEXT_VAE_PREFIX))
    search.scan("transformer", folder.weights(), is_shared=transformer is None)
    lacking = search.missing()
    if any(_is_of_text_vae(name) for name in lacking):
        files = folder.part("text_vae").weights((*TRANSFORMERS_NAMES, *WEIGHT_NAMES))
        search.scan("text_vae", files, prefix=TEXT_VAE_PREFIX)
        if files:
            _logger.warning("%s: weights of the text VAE come from text_vae/", folder.source.path)
    if not search.has(T5_PREFIX):
        files = t5.encoder.weights(TRANSFORMERS_NAMES)
        _logger.info("%s: the weights of T5 come from %s", folder.source.path, t5.encoder.label)
        search.scan("t5", files, prefix=T5_PREFIX, is_shared=True)
    return search.finished(folder.source.path)


def fill(
    found: FoundWeights,
    transformer: nn.Module,
    text_vae: nn.Module,
    *,
    dtype: torch.dtype,
    device: torch.device,
) -> None:
    """Read the tensors into their places, each straight in its precision on its device.

    Memory beyond the model itself: the largest tensor, or a few hundredths of a file.
    """
    places = dict(_places(transformer, text_vae))
    values = stream(found.tensors.values())
    for name, value in zip(found.tensors, values, strict=True):
        wanted = dtype if value.is_floating_point() else value.dtype
        places[name].fill(value.to(device=device, dtype=wanted, copy=True))
    for name in found.is_computed:
        places[name].module.reset_positions()  # type: ignore[operator]


class _Search:
    """What was found so far, by place.

    Args:
        places: Every name of the model with its place.
    """

    def __init__(self, places: Mapping[str, Place]) -> None:
        self.places = places
        self.first = {place: name for name, place in reversed(list(places.items()))}
        self.found: dict[str, StoredTensor] = {}
        self.unexpected: list[str] = []
        self.files: dict[str, Path] = {}

    def scan(
        self, part: str, files: tuple[Path, ...], *, prefix: str = "", is_shared: bool = False
    ) -> None:
        """Look through files; what was found before stays.

        Args:
            part: What the files are called in the content hash, before a slash.
            files: The files.
            prefix: What stands before their names in the model.
            is_shared: Whether they hold other models too, whose tensors are no surprise.
        """
        self.files |= {f"{part}/{file.name}": file for file in files}
        tensors = {prefix + name: tensor for name, tensor in scan_tensors(files).items()}
        self.add(tensors)
        if not is_shared:
            self.unexpected += [
                name for name in tensors if name not in self.places and not _is_legacy(name)
            ]

    def add(self, tensors: Mapping[str, StoredTensor]) -> None:
        """Take over tensors for places that have none."""
        for name, tensor in tensors.items():
            if name in self.places:
                self.found.setdefault(self.first[self.places[name]], tensor)

    def has(self, prefix: str) -> bool:
        """Whether any tensor was found whose name starts so."""
        return any(name.startswith(prefix) for name in self.found)

    def missing(self) -> list[str]:
        """Names of the places that have no tensor, position tables aside."""
        names = sorted(self.first.values())
        return [name for name in names if name not in self.found | dict.fromkeys(POSITION_TABLES)]

    def finished(self, model: str) -> FoundWeights:
        """The result, when nothing is missing and everything fits."""
        self._refuse_missing(model)
        for name, tensor in self.found.items():
            _check(name, tensor, self.places[name].tensor)
        if self.unexpected:
            _logger.warning(
                "%s: %d tensors that this model does not have are left out: %s",
                model,
                len(self.unexpected),
                ", ".join(self.unexpected[:_LISTED]),
            )
        computed = POSITION_TABLES & self.places.keys() - self.found.keys()
        return FoundWeights(self.found, self.files, frozenset(computed))

    def _refuse_missing(self, model: str) -> None:
        missing = self.missing()
        if not missing:
            return
        more = len(missing) - _LISTED
        raise CheckpointError(
            f"{len(missing)} tensors are missing",
            where=model,
            expected="the weights of transformer, text VAE and T5 in one set of files",
            notes=[
                *(f"missing: {name}" for name in missing[:_LISTED]),
                *([f"... and {more} more"] if more > 0 else []),
            ],
        )


def _check(name: str, tensor: StoredTensor, wanted: torch.Tensor) -> None:
    if tensor.shape != tuple(wanted.shape):
        raise CheckpointError(
            f"{name} has shape {list(tensor.shape)}",
            where=str(tensor.file),
            expected=f"{list(wanted.shape)}, as the configuration says",
        )
    if tensor.dtype.is_floating_point != wanted.dtype.is_floating_point:
        raise CheckpointError(
            f"{name} is of type {str(tensor.dtype).removeprefix('torch.')}",
            where=str(tensor.file),
            expected="floating point numbers"
            if wanted.dtype.is_floating_point
            else "whole numbers",
        )


def _places(transformer: nn.Module | None, text_vae: nn.Module) -> Iterator[tuple[str, Place]]:
    """Name in the file -> the place that it fills; tied ones have two names."""
    for prefix, part in (("", transformer), (TEXT_VAE_PREFIX, text_vae)):
        if part is None:
            continue
        for name in part.state_dict():
            path, _, key = name.rpartition(".")
            yield prefix + name, Place(part.get_submodule(path), key)


def _is_legacy(name: str) -> bool:
    return is_legacy_key(name) or _FREQUENCIES.search(name) is not None


def _is_of_text_vae(name: str) -> bool:
    return name.startswith(TEXT_VAE_PREFIX) and not name.startswith(T5_PREFIX)
