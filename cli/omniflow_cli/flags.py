"""Flags that several commands share, and what is said by flag told by its flag."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from omniflow.errors import ConfigError, UsageError
from omniflow_cli import logs

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]
Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", help="Say more on stderr while working.", callback=logs.be_verbose
    ),
]

T = TypeVar("T")


def text(help: str, metavar: str, section: str | None = None) -> Any:
    """A flag whose value is checked by us and not by the parser, so that errors speak alike."""
    return typer.Option(help=help, metavar=metavar, rich_help_panel=section, show_default=False)


def flag_of(name: str) -> str:
    """The flag of a parameter: `batch_size` -> `--batch-size`."""
    return "--" + name.replace("_", "-")


def key_and_value(
    setting: str,
    *,
    flag: str = "--set",
    example: str = "section.option=value, such as head.codebook_size=4096",
) -> tuple[str, str]:
    """Take `head.codebook_size=4096` apart.

    Args:
        setting: What was said.
        flag: Where it was said.
        example: What would have been right.

    Raises:
        UsageError: If there is no `=`, or nothing before it.
    """
    key, equals, value = setting.partition("=")
    if not equals or not key.strip():
        raise UsageError(
            f"{setting!r} says no value",
            where=flag,
            expected=example,
        )
    return key.strip(), value


@contextmanager
def naming_flags(flags: Mapping[str, str]) -> Iterator[None]:
    """While entered, an option that is refused without a place is told with its flag.

    Args:
        flags: Full name of an option (`training.device`) -> the flag that said it.
    """
    try:
        yield
    except ConfigError as error:
        error.where = error.where or flags.get(error.name)
        raise


def checked_flags(options: type[T], values: Mapping[str, str | None], *, owner: str) -> T:
    """Fit what flags said to a dataclass of options; None means that a flag was not given.

    Raises:
        UsageError: If a value does not fit; it names the flag.
    """
    from omniflow.errors import MistakesError
    from omniflow.options import check_options, signature_options

    said = {name: value for name, value in values.items() if value is not None}
    resolved, mistakes = check_options(signature_options(options), said, owner=owner, where=flag_of)
    if mistakes:
        raise mistakes[0] if len(mistakes) == 1 else MistakesError(mistakes)
    with naming_flags({name: flag_of(name) for name in said}):
        return options(**resolved)


def check_writable(path: Path, *, flag: str) -> None:
    """Refuse a file that could not be written, before hours go into what would be in it.

    Raises:
        UsageError: If it is a folder, or its folder cannot be made or written to.
    """
    import os

    from omniflow.files import check_name

    check_name(path, where=flag)
    place = path if path.exists() else path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if path.is_dir():
        problem = "is a folder"
    elif path.exists() and not path.is_file():
        problem = "is not a regular file"
    elif path != place and not place.is_dir():
        problem = f"cannot be written ({place} is not a folder)"
    elif not os.access(place, os.W_OK):
        problem = f"cannot be written (no permission to write to {place})"
    else:
        return
    raise UsageError(f"{path} {problem}", where=flag, expected="a file that you may write to")
