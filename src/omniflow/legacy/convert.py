"""A checkpoint of the research script written anew as a saved model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.assembly import construct
from omniflow.checkpoints import content_hash, read_json
from omniflow.draft import Draft
from omniflow.errors import CheckpointError, ConfigError, UsageError
from omniflow.files import check_name, check_new_folder, write_json, writing_folder
from omniflow.legacy.contents import LegacyContents, read_contents
from omniflow.legacy.recognise import (
    GATES,
    Gate,
    Recognised,
    recognise_head,
    recognise_refiner,
    recognise_text_output,
)
from omniflow.plugins import installed_plugins
from omniflow.resolve import resolve

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel
    from omniflow.registry import Registry

#: What the script was given to train on.
BACKBONE = "omniflow-v0.5"

FORMAT = "omniflow.conversion/1"

_NEVER_DECODED = (
    "refiner: the script decoded what the head had made, and never what the refiner made of it; "
    "here the refiner comes before the decoder"
)


@dataclass(frozen=True)
class LegacyConversion:
    """What was made of a checkpoint.

    Args:
        head: The head's name and options.
        refiner: The refiner's.
        backbone: Identity of the backbone: id, revision and content hash.
        parameters: Number of parameters that were taken over.
        step: How many steps the checkpoint had taken, where it says so.
        left_out: What of the file has no place in a saved model.
        notes: What was taken for granted.
    """

    head: Mapping[str, Any]
    refiner: Mapping[str, Any]
    backbone: Mapping[str, str]
    parameters: int
    step: int | None
    left_out: tuple[str, ...]
    notes: tuple[str, ...]


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    backbone: str | Mapping[str, Any] = BACKBONE,
    refiner_gate: Gate | None = None,
    without_refiner: bool = False,
    registry: Registry | None = None,
    where: str | None = None,
) -> LegacyConversion:
    """Write a checkpoint of `train_text.py` anew as a saved model, for `omniflow.load`.

    Nothing in the file is executed. What it holds is told from names and shapes. The new folder is
    whole or not there.

    Args:
        source: The file, such as `best_step1000.pt`.
        target: The folder to write; may exist if it is empty.
        backbone: The model that it was trained on: a name, or a name beside its options.
        refiner_gate: Which half of a gated refiner's first layer goes through silu, `first` or
            `second`; the file does not say.
        without_refiner: Whether the refiner is left out: the script itself never decoded what it
            makes.
        registry: Where names are looked up; the installed plugins by default.
        where: Where the backbone was said, for messages.

    Raises:
        UsageError: If the target is not empty, or the backbone is unknown or cannot be had.
        CheckpointError: If the file is damaged, holds more than tensors and plain values, has an
            architecture that nothing here computes, does not fit the backbone, or is gated in a
            way that nobody said.
        ConfigError: If `refiner_gate` is neither of the two.
    """
    if refiner_gate not in (None, *GATES):
        raise ConfigError("refiner_gate", refiner_gate, expected=" or ".join(GATES))
    path, folder = (Path(os.path.expanduser(place)) for place in (source, target))
    _check_target(folder)
    contents = read_contents(path)
    head = _head(contents, path)
    refiner = None
    if contents.refiner and not without_refiner:
        refiner = recognise_refiner(contents.refiner, gate=refiner_gate, where=str(path))
    _check_chain(head, refiner, path)
    said = Draft.from_mapping({"backbone": backbone}, where=where)
    model = _empty_model(head, refiner, said, registry)
    _check_backbone(model, head, path)
    state = _prefixed("head", head) | _prefixed("refiner", refiner)
    model.load_trained_state(state, where=str(path))
    left_out, notes = _left_out(contents, refiner), _notes(head, refiner)
    with writing_folder(folder) as temporary:
        model.write_files(temporary)
        write_json(temporary / "conversion.json", _record(path, contents.step, left_out, notes))
        # Hashing the backbone may have taken minutes.
        _check_target(folder)
    return LegacyConversion(
        head=model.parts.head.to_dict(),
        refiner=model.parts.refiner.to_dict(),
        backbone=read_json(folder / "config.json")["backbone_identity"],
        parameters=model.summary()["trainable"],
        step=contents.step,
        left_out=left_out,
        notes=notes,
    )


def _check_target(folder: Path) -> None:
    check_name(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError("is a file", where=str(folder), expected="a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            "is not empty", where=str(folder), expected="a new folder: nothing is overwritten"
        )
    check_new_folder(folder)


def _head(contents: LegacyContents, path: Path) -> Recognised:
    if contents.head:
        return recognise_head(contents.head, where=str(path))
    if not contents.text_output:
        raise CheckpointError("its head has no weights", where=str(path))
    return recognise_text_output(contents.text_output, where=str(path))


def _check_chain(head: Recognised, refiner: Recognised | None, path: Path) -> None:
    if refiner is not None and refiner.input_dim != head.output_dim:
        raise CheckpointError(
            f"its refiner reads latents of width {refiner.input_dim}, "
            f"and its head writes {head.output_dim}",
            where=str(path),
            expected="a head and a refiner of one run",
        )


def _empty_model(
    head: Recognised,
    refiner: Recognised | None,
    backbone: Draft,
    registry: Registry | None,
) -> OmniFlowModel:
    """The model that the weights go into; the backbone's own are not read."""
    registry = registry or installed_plugins().registry
    parts = {
        "head": {"name": head.name, **head.options},
        "refiner": "none" if refiner is None else {"name": refiner.name, **refiner.options},
    }
    recipe = resolve(Draft.from_mapping(parts).over(backbone), registry)
    return construct(recipe.backbone, recipe.head, recipe.refiner, (), registry)


def _check_backbone(model: OmniFlowModel, head: Recognised, path: Path) -> None:
    named = model.parts.backbone.options.get("path", model.parts.backbone.name)
    features, latent_dim = model.backbone.feature_dims[model.features], model.backbone.latent_dim
    if (head.input_dim, head.output_dim) != (features, latent_dim):
        raise CheckpointError(
            f"its head takes features of width {head.input_dim} to latents of width "
            f"{head.output_dim}; backbone {named} has features {model.features} of width "
            f"{features} and latents of width {latent_dim}",
            where=str(path),
            expected="the backbone that it was trained on, whose text decoder reads such latents",
        )


def _prefixed(part: str, recognised: Recognised | None) -> dict[str, Any]:
    state = {} if recognised is None else recognised.state
    return {f"{part}.{name}": tensor for name, tensor in state.items()}


def _left_out(contents: LegacyContents, refiner: Recognised | None) -> tuple[str, ...]:
    is_dropped = bool(contents.refiner) and refiner is None
    return (*contents.left_out, *(["latent_refiner"] if is_dropped else []))


def _notes(head: Recognised, refiner: Recognised | None) -> tuple[str, ...]:
    if refiner is None:
        return head.notes
    return (*head.notes, *refiner.notes, _NEVER_DECODED)


def _record(
    path: Path, step: int | None, left_out: Sequence[str], notes: Sequence[str]
) -> dict[str, Any]:
    """Where a saved model came from, for whoever finds it later."""
    return {
        "format": FORMAT,
        "source": path.name,
        "sha256": content_hash(path),
        "step": step,
        "left_out": list(left_out),
        "notes": list(notes),
    }
