"""The command `omniflow`: its list of commands and its entry point."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer
import typer.main

from omniflow.version import __version__
from omniflow_cli import cache, data, download, logs
from omniflow_cli.commands import Command, CommandGroup, examples
from omniflow_cli.compare import compare
from omniflow_cli.convert import convert
from omniflow_cli.demo import demo
from omniflow_cli.doctor import doctor
from omniflow_cli.evaluate import evaluate
from omniflow_cli.exits import exit_code_of
from omniflow_cli.experiment import experiment
from omniflow_cli.flags import Verbose
from omniflow_cli.generate import generate
from omniflow_cli.list_components import list_components
from omniflow_cli.list_recipes import list_recipes
from omniflow_cli.new_plugin import new_plugin
from omniflow_cli.pull import pull
from omniflow_cli.push import push
from omniflow_cli.sample import sample
from omniflow_cli.show import show
from omniflow_cli.spellings import modernise
from omniflow_cli.train import train

PROGRAM = "omniflow"

app = typer.Typer(
    name=PROGRAM,
    cls=CommandGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        'omniflow sample --prompt "a red circle above a blue square" --output out.png',
        "omniflow train --head vq --refiner mlp",
        "omniflow generate --checkpoint runs/vq-mlp --output predictions.json",
        "omniflow evaluate predictions.json",
        "omniflow show head vq",
    ),
)


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Verbose = False,
) -> None:
    """Sample from OmniFlow, and train, run and score its heads and refiners, by name."""
    if version:
        typer.echo(f"omniflow-zoo {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


app.command(
    cls=Command,
    epilog=examples(
        'omniflow sample --prompt "a red circle above a blue square" --output out.png',
        "omniflow sample --task i2t --image out.png",
        "omniflow sample --task ia2t --image out.png --audio out.wav --guidance image=2",
        'omniflow sample --task t2ia --prompt "a red circle" --count 4 --output out.html',
    ),
)(sample)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow demo",
        "omniflow demo --checkpoint runs/vq-mlp --checkpoint 'runs/flow/best*'",
        "omniflow demo --backbone ./OmniFlow-v0.5 --device cuda --port 8080",
    ),
)(demo)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow train --head vq --refiner mlp",
        "omniflow train --head vq --set head.codebook_size=256 --max-steps 200 --output-dir runs/a",
        "omniflow train --dataset text --set dataset.path=lines.txt --max-length 64",
        "omniflow train --recipe vq-plus-refiner --backbone ./OmniFlow-v0.5 --batch-size 8",
        "omniflow train --output-dir runs/a --resume auto",
        "omniflow train --recipe vq-plus-refiner --num-processes 4",
        "omniflow train --head vq --tracker tensorboard",
        "omniflow train --head vq --push-to-hub acme/scenes-vq",
        "omniflow train --recipe vq --dry-run",
        "omniflow train --recipe vq --backbone-config published --dry-run --device meta",
    ),
)(train)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow generate --checkpoint runs/vq-mlp --output predictions.json",
        "omniflow generate --checkpoint runs/vq-mlp/final --dataset scenes --split validation",
        "omniflow generate --checkpoint runs/vq-mlp --noise-level 1 --steps 28 --limit 100",
        "omniflow generate --checkpoint 'runs/vq-mlp/best*' --task i2t --num-beams 4",
        "omniflow generate --backbone tiny --task t2ia --limit 20 --output pictures",
    ),
)(generate)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow evaluate predictions.json",
        "omniflow evaluate predictions.json --metrics bleu,meteor --output-json eval_results.json",
    ),
)(evaluate)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow compare runs/baseline runs/vq --output report.html",
        "omniflow compare runs/* --figures figures --markdown table.md",
        "omniflow compare first.json second.json --metrics bleu,rouge --json",
    ),
)(compare)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow experiment baseline head-plus-refiner vq vq-plus-refiner --backbone tiny "
        "--dataset scenes --seeds 0,1,2 --output-dir experiments/four",
        "omniflow experiment tiny-baseline tiny-vq --seeds 0,1 --output-dir experiments/two",
    ),
)(experiment)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow convert OmniFlow-v0.5 OmniFlow-v0.5-safetensors",
        "omniflow convert OmniFlow-v0.5 averaged --ema --dtype bf16",
        "omniflow convert best_step1000.pt my-head --backbone ./OmniFlow-v0.5",
    ),
)(convert)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow push runs/vq-mlp acme/scenes-vq",
        "omniflow push runs/vq-mlp/final acme/scenes-vq --revision final --private",
        "omniflow push runs/vq-mlp acme/scenes-vq --license mit --results eval_results.json",
    ),
)(push)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow pull acme/scenes-vq models/scenes-vq",
        "omniflow pull acme/scenes-vq@v1.0 models/scenes-vq",
    ),
)(pull)
app.add_typer(download.app, name="download")
app.add_typer(cache.app, name="cache")
app.add_typer(data.app, name="data")
app.command(
    "list-components",
    cls=Command,
    epilog=examples("omniflow list-components", "omniflow list-components --kind head --json"),
)(list_components)
app.command(
    cls=Command,
    epilog=examples(
        "omniflow show head vq", "omniflow show metric bleu --json", "omniflow show recipe vq"
    ),
)(show)
app.command(
    "list-recipes",
    cls=Command,
    epilog=examples("omniflow list-recipes", "omniflow list-recipes --json"),
)(list_recipes)
app.command(
    "new-plugin",
    cls=Command,
    epilog=examples(
        "omniflow new-plugin my-head",
        "omniflow new-plugin birds --kind dataset --kind metric",
        "omniflow new-plugin run-summary --kind hook --output-dir plugins/run-summary",
    ),
)(new_plugin)
app.command(
    cls=Command,
    epilog=examples("omniflow doctor", "omniflow doctor --plugins", "omniflow doctor --json"),
)(doctor)


@functools.cache
def _commands() -> Callable[..., object]:
    """All commands, made of what their functions take, which is a good part of a start."""
    return typer.main.get_command(app)


def main(argv: Sequence[str] | None = None) -> int:
    """Carry out one command line and return its exit code; see `omniflow_cli.exits`.

    Args:
        argv: The arguments after the program's name; those of the process by default.
    """
    arguments = modernise(list(sys.argv[1:] if argv is None else argv))
    logs.quieten_libraries()
    named = [token for token in arguments[:1] if not token.startswith("-")]
    with logs.shown():
        return exit_code_of(
            lambda: _commands()(
                args=arguments, prog_name=PROGRAM, standalone_mode=False, obj=arguments
            ),
            command=" ".join([PROGRAM, *named]),
            as_json="--json" in arguments,
        )
