"""`omniflow demo`: a page in the browser that makes anything of anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

from omniflow_cli import render
from omniflow_cli.flags import Verbose, naming_flags, text

if TYPE_CHECKING:
    import torch

    from omniflow.demo.models import OfferedModels
    from omniflow.generation.find_models import FoundModel
    from omniflow.model import OmniFlowModel

BACKBONE = "tiny"

#: Where runs are looked for when no model is named.
RUNS = "runs"


def demo(
    backbone: Annotated[
        list[str] | None,
        text("Backbone by name, folder or Hub id; repeatable.", "NAME", "Models"),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        text("A run, a saved model, a pattern or a Hub id; repeatable.", "RUN|HUB_ID", "Models"),
    ] = None,
    device: Annotated[
        str, text("auto, cpu, cuda, cuda:1 or mps; auto.", "NAME", "Models")
    ] = "auto",
    host: Annotated[
        str, text("Address to listen at; 0.0.0.0 lets other computers in.", "ADDRESS", "Server")
    ] = "127.0.0.1",
    port: Annotated[
        str | None, text("Port; the first free one from 7860 on.", "N", "Server")
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Serve a page that makes text, pictures and sounds.

    It offers the models that are named; without any, `tiny` and the runs in runs/. The page asks no
    other computer for anything. Ctrl-C ends it. Takes the extra demo:
    pip install "omniflow-zoo[demo]".
    """
    from omniflow.demo.page import import_gradio
    from omniflow.demo.server import check_address, served
    from omniflow.training.device import choose_device

    with naming_flags({"training.device": "--device"}):
        place = choose_device(device)
    models = _offered(backbone or [], checkpoint or [], place)
    number = None if port is None else _port(port)
    # What cannot be had or read is told here and not to the first visitor.
    check_address(host, number)
    render.note(f"opening {models.names[0]}; the address comes when it can be used")
    import_gradio()
    models.get(models.names[0])
    with served(models, host=host, port=number) as address:
        render.line(f"{', '.join(models.names)}: {address}")
        render.note("Ctrl-C ends it")
        Event().wait()


def _port(said: str) -> int:
    from omniflow.errors import ConfigError

    if not said.isascii() or not said.isdigit() or not 0 < int(said) < 2**16:
        raise ConfigError("port", said, expected="a whole number from 1 to 65535", where="--port")
    return int(said)


def _offered(
    backbones: Sequence[str], checkpoints: Sequence[str], device: torch.device
) -> OfferedModels:
    """The models by the name that a visitor sees; names are looked up, nothing is read."""
    from omniflow.demo.models import OfferedModels
    from omniflow.generation.find_models import find_models

    found = [model for said in checkpoints for model in find_models(said, where="--checkpoint")]
    if not backbones and not checkpoints:
        backbones, found = [BACKBONE], _runs()
    readers = {said: _backbone(said, device) for said in backbones}
    readers |= {model.name: _saved(model.folder, device) for model in found}
    return OfferedModels(readers)


def _runs() -> list[FoundModel]:
    """The saved models in the folder of runs; most people have none yet."""
    from omniflow.errors import CheckpointError
    from omniflow.generation.find_models import find_models

    try:
        return find_models(f"{RUNS}/*")
    except CheckpointError:
        return []


def _backbone(said: str, device: torch.device) -> Callable[[], OmniFlowModel]:
    from omniflow_cli.models_said import assembled, backbone_recipe

    recipe = backbone_recipe(said, {})
    return lambda: assembled(recipe, device)


def _saved(folder: Path, device: torch.device) -> Callable[[], OmniFlowModel]:
    from omniflow_cli.models_said import loaded

    return lambda: loaded(folder, device)
