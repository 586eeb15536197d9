"""Other spellings of our flags: underscores, and the names of the original training script."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

import typer

#: Flags that take no value; the token after any other flag is its value.
SWITCHES = frozenset(
    {
        "-h", "--help", "--version", "-v", "--verbose", "--json", "--ema", "--dry-run",
        "--without-refiner", "--plugins",
        "--cache", "--no-cache", "--compile", "--no-compile", "--gradient-checkpointing",
        "--no-gradient-checkpointing", "--shard", "--no-shard", "--records", "--no-records",
        "--private", "--include-training-state", "--include-report", "--include-samples",
        "--streaming", "--force", "--wikitext", "--coco", "--audiocaps", "--llava-cc3m",
        "--install-completion", "--show-completion",
    }
)  # fmt: skip

_RENAMED = {
    "--num-epochs": "--epochs",
    "--num-workers": "--workers",
    # The width of what the head writes; that of its hidden layer was fixed.
    "--text-decoder-head-dim": "--latent-dim",
}
_OPTIONS = {
    "--latent-refiner-hidden-dim": "refiner.hidden_dim",
    "--latent-refiner-layers": "refiner.layers",
}
#: Switches of the script, and the flag with its value that each stands for; of two that choose the
#: same, the later wins.
_CHOICES = {
    "--use-text-decoder-head": ("--head", "mlp"),
    "--use-vq-codebook": ("--head", "vq"),
    "--use-latent-refiner": ("--refiner", "mlp"),
    # The script's own default, of no effect there without the switch.
    "--use-contrastive": ("--contrastive-weight", "0.05"),
}
_FOLDER = "--model-path"
_IN_THE_MODEL = "nothing, the saved model says what it is made of"
#: Flags of the other scripts that have no flag of ours in their place, by command: what is said
#: instead.
_ELSEWHERE = {
    "generate": {
        "--model-path": "nothing, a saved model names its backbone; alone --backbone",
        "--use-text-decoder-head": _IN_THE_MODEL,
        "--use-vq-codebook": _IN_THE_MODEL,
        "--text-decoder-head-dim": _IN_THE_MODEL,
        "--data-config": "nothing, the run's own data; --dataset NAME for others",
        "--max-length": "--max-new-tokens N",
        "--num-workers": "nothing, records are read as they are needed",
        "--max-batches": "--limit RECORDS",
        "--output-json": "--output FILE",
    },
    "evaluate": {"--predictions": "omniflow evaluate FILE, without a flag"},
}


def modernise(arguments: list[str]) -> list[str]:
    """The same command line in today's spelling, which is printed when the script's was used.

    Dashes stand in for underscores in the names of flags; values are never touched.
    """
    command = next((token for token in arguments if not token.startswith("-")), None)
    tokens = list(_tokens(arguments))
    if command != "train" or not any(_is_of_script(flag) for flag, _ in tokens):
        return [part for flag, values in tokens for part in _joined(flag, values)]
    modern: list[str] = []
    chosen: dict[str, str] = {}
    for flag, values in tokens:
        if flag in _CHOICES:
            chosen[flag] = flag
        else:
            modern += _joined(*_translated(flag, values))
    components = {_CHOICES[flag][0]: _CHOICES[flag][1] for flag in _CHOICES if flag in chosen}
    said = {flag for flag, _ in tokens}
    modern += [part for pair in components.items() if pair[0] not in said for part in pair]
    typer.echo(f"note: in today's spelling: omniflow {shlex.join(modern)}", err=True)
    return modern


def of_scripts(command: str, flag: str) -> str | None:
    """What stands today for a flag of the research scripts that a command does not have.

    Args:
        command: With the program before it, `omniflow generate`.
        flag: The flag, with dashes.
    """
    return _ELSEWHERE.get(command.rpartition(" ")[2], {}).get(flag)


def _tokens(arguments: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Flags with their value, written `--flag=value` or `--flag value`, and other arguments."""
    rest = iter(arguments)
    for token in rest:
        if token == "--":
            yield "", [token, *rest]
        elif not token.startswith("--"):
            yield "", [token]
        else:
            name, equals, value = token.partition("=")
            flag = name.replace("_", "-")
            if equals:
                yield flag, ["=", value]
            elif flag in SWITCHES or flag in _CHOICES:
                yield flag, []
            else:
                following = next(rest, None)
                yield flag, [] if following is None else [following]


def _is_of_script(flag: str) -> bool:
    return flag in _RENAMED or flag in _OPTIONS or flag in _CHOICES or flag == _FOLDER


def _translated(flag: str, values: list[str]) -> tuple[str, list[str]]:
    if flag in _RENAMED:
        return _RENAMED[flag], values
    if flag in _OPTIONS and values:
        return "--set", [f"{_OPTIONS[flag]}={values[-1]}"]
    if flag == _FOLDER and values:
        path = values[-1]
        # The script always meant a folder; a bare word would be the name of a backbone.
        return "--backbone", [path if os.sep in path or "/" in path else f"./{path}"]
    return flag, values


def _joined(flag: str, values: list[str]) -> list[str]:
    if not flag:
        return values
    if values[:1] == ["="] and len(values) == 2:
        return [f"{flag}={values[1]}"]
    return [flag, *values]
