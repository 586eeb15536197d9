"""`omniflow convert`: a model in the published layout, written anew as safetensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from omniflow_cli import render
from omniflow_cli.flags import AsJson, Verbose, naming_flags, text

if TYPE_CHECKING:
    from omniflow.backbones.convert import Conversion


def convert(
    folder: Annotated[
        str, typer.Argument(help="A model in the published layout.", metavar="FOLDER")
    ],
    out: Annotated[str, typer.Argument(help="The folder to write; new, or empty.", metavar="OUT")],
    dtype: Annotated[
        str | None,
        text(
            "Precision of the transformer's file: fp32, bf16 or fp16; as it is by default.", "TYPE"
        ),
    ] = None,
    ema: Annotated[
        bool, typer.Option("--ema", help="Put the averaged weights in place of the ordinary ones.")
    ] = False,
    t5: Annotated[
        str | None,
        text("With --ema: T5 of a model that brings none; google/flan-t5-large by default.", "T5"),
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Write a model in the published layout as safetensors.

    Weights in .bin files become safetensors, everything else is copied. Memory holds one tensor at
    a time. Nothing in a file is executed, and nothing that exists is overwritten.
    """
    from omniflow.backbones.convert import convert_folder
    from omniflow_cli.progress import counting

    with counting("MB converted") as count, naming_flags({"dtype": "--dtype"}):
        result = convert_folder(
            folder,
            out,
            dtype=dtype,
            ema=ema,
            t5=t5,
            progress=lambda done, total: count(done // 10**6, total // 10**6),
        )
    if as_json:
        render.as_json(
            {
                "folder": out,
                "converted": result.converted,
                "copied": result.copied,
                "left_out": result.left_out,
                "bytes": result.size,
            }
        )
    else:
        _show(result, out)


def _show(result: Conversion, out: str) -> None:
    rows = [("converted", name) for name in result.converted]
    rows += [("copied", name) for name in result.copied]
    rows += [("left out", name) for name in result.left_out]
    render.table(("what", "file"), rows)
    render.note(f"{out}: {result.size / 1e6:.1f} MB")
