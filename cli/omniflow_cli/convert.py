"""`omniflow convert`: published models as safetensors, research checkpoints as saved models."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from omniflow_cli import render
from omniflow_cli.flags import AsJson, Verbose, naming_flags, text

if TYPE_CHECKING:
    from omniflow.backbones.convert import Conversion
    from omniflow.legacy.convert import LegacyConversion
    from omniflow.legacy.recognise import Gate

_OF_FOLDERS, _OF_CHECKPOINTS = "Published models", "Research checkpoints"


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A model in the published layout, or a .pt of the research script.",
            metavar="FOLDER|FILE",
        ),
    ],
    out: Annotated[str, typer.Argument(help="The folder to write; new, or empty.", metavar="OUT")],
    dtype: Annotated[
        str | None,
        text(
            "Precision of the transformer's file: fp32, bf16 or fp16; as it is by default.",
            "TYPE",
            _OF_FOLDERS,
        ),
    ] = None,
    ema: Annotated[
        bool,
        typer.Option(
            "--ema",
            help="Put the averaged weights in place of the ordinary ones.",
            rich_help_panel=_OF_FOLDERS,
        ),
    ] = False,
    t5: Annotated[
        str | None,
        text(
            "With --ema: T5 of a model that brings none; google/flan-t5-large by default.",
            "T5",
            _OF_FOLDERS,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        text(
            "Name, folder or Hub id of the model that it was trained on; omniflow-v0.5.",
            "NAME",
            _OF_CHECKPOINTS,
        ),
    ] = None,
    refiner_gate: Annotated[
        str | None,
        text(
            "Which half of a gated refiner's first layer goes through silu: first or second.",
            "HALF",
            _OF_CHECKPOINTS,
        ),
    ] = None,
    without_refiner: Annotated[
        bool,
        typer.Option(
            "--without-refiner",
            help="Leave the refiner out: the script never decoded what it made.",
            rich_help_panel=_OF_CHECKPOINTS,
        ),
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write models and checkpoints of others as safetensors.

    A folder in the published layout keeps it: weights in .bin files become safetensors, everything
    else is copied, and memory holds one tensor at a time. A checkpoint of train_text.py becomes a
    saved model: head and refiner are told from their shapes, and `omniflow generate --checkpoint
    OUT` takes it. Nothing in a file is executed, and nothing that exists is overwritten.
    """
    of_folders = {"--dtype": dtype, "--ema": ema, "--t5": t5}
    of_checkpoints = {
        "--backbone": backbone,
        "--refiner-gate": refiner_gate,
        "--without-refiner": without_refiner,
    }
    source, out = (os.path.expanduser(place) for place in (source, out))
    path = Path(source)
    if path.is_file() or path.suffix in (".pt", ".pth"):
        _refuse(of_folders, "a folder in the published layout")
        converted = _checkpoint(source, out, backbone, refiner_gate, without_refiner)
        facts, rows, size = _facts_of_checkpoint(converted)
    else:
        _refuse(of_checkpoints, "a checkpoint of the research script, a file")
        folder = _folder(source, out, dtype, ema, t5)
        facts, rows, size = _facts_of_folder(folder)
    if as_json:
        render.as_json({"folder": out, **facts})
    else:
        render.table(("what", "file"), rows)
        render.note(f"{out}: {size}")


def _refuse(flags: Mapping[str, Any], what: str) -> None:
    from omniflow.errors import UsageError

    for flag, value in flags.items():
        if value:
            raise UsageError("has no use here", where=flag, expected=f"it beside {what}")


def _folder(source: str, out: str, dtype: str | None, ema: bool, t5: str | None) -> Conversion:
    from omniflow.backbones.convert import convert_folder
    from omniflow_cli.progress import counting

    with counting("MB converted") as count, naming_flags({"dtype": "--dtype"}):
        return convert_folder(
            source,
            out,
            dtype=dtype,
            ema=ema,
            t5=t5,
            progress=lambda done, total: count(done // 10**6, total // 10**6),
        )


def _facts_of_folder(result: Conversion) -> tuple[dict[str, Any], list[tuple[str, str]], str]:
    rows = [("converted", name) for name in result.converted]
    rows += [("copied", name) for name in result.copied]
    rows += [("left out", name) for name in result.left_out]
    facts = {
        "converted": result.converted,
        "copied": result.copied,
        "left_out": result.left_out,
        "bytes": result.size,
    }
    return facts, rows, f"{result.size / 1e6:.1f} MB"


def _checkpoint(
    source: str, out: str, backbone: str | None, gate: str | None, without_refiner: bool
) -> LegacyConversion:
    from omniflow.legacy.convert import BACKBONE, convert_checkpoint
    from omniflow_cli.run_draft import backbone_named

    with naming_flags({"refiner_gate": "--refiner-gate"}):
        return convert_checkpoint(
            source,
            out,
            backbone=backbone_named(backbone or BACKBONE),
            refiner_gate=cast("Gate | None", gate),
            without_refiner=without_refiner,
            where="--backbone",
        )


def _facts_of_checkpoint(
    result: LegacyConversion,
) -> tuple[dict[str, Any], list[tuple[str, str]], str]:
    rows = [
        ("head", _spelt(result.head)),
        ("refiner", _spelt(result.refiner)),
        ("backbone", result.backbone["id"]),
        *(("left out", name) for name in result.left_out),
        *(("note", note) for note in result.notes),
    ]
    facts = {
        "head": result.head,
        "refiner": result.refiner,
        "backbone": result.backbone,
        "parameters": result.parameters,
        "step": result.step,
        "left_out": result.left_out,
        "notes": result.notes,
    }
    step = "" if result.step is None else f" of step {result.step}"
    return facts, rows, f"{result.parameters:,} parameters{step}"


def _spelt(choice: Mapping[str, Any]) -> str:
    """A component with its options: `norm-mlp hidden_dim=4096 layers=2`."""
    options = (f"{name}={value}" for name, value in choice.items() if name != "name")
    return " ".join([str(choice["name"]), *options])
