"""What libraries say, on stderr: one plain line each, and each line once."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import typer

LIBRARY = logging.getLogger("omniflow")
PYTHON_WARNINGS = logging.getLogger("py.warnings")
PLUGINS = logging.getLogger("omniflow.plugins")

#: Read by the libraries when they are imported; what a person has set stays.
_QUIET = {
    "DIFFUSERS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class _Lines(logging.Handler):
    """Writes `warning: text` to stderr; a text that was written before is left out."""

    def __init__(self) -> None:
        super().__init__()
        self._written: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.levelname.lower()}: {record.getMessage().strip()}"
        if line not in self._written:
            self._written.add(line)
            typer.echo(line, err=True)


def quieten_libraries() -> None:
    """Switch the chatter and the progress bars of the libraries below us off by default."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


@contextmanager
def shown() -> Iterator[None]:
    """While entered, our own warnings go to stderr; those of other libraries wait for --verbose."""
    handler, hidden = _Lines(), logging.NullHandler()
    level = LIBRARY.level
    LIBRARY.addHandler(handler)
    PYTHON_WARNINGS.addHandler(hidden)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        LIBRARY.removeHandler(handler)
        LIBRARY.setLevel(level)
        for added in (handler, hidden):
            PYTHON_WARNINGS.removeHandler(added)


def be_verbose(is_verbose: bool) -> bool:
    """Show what is worth knowing and not only what is worth a warning; callback of --verbose."""
    if is_verbose:
        LIBRARY.setLevel(logging.INFO)
        for handler in LIBRARY.handlers:
            if isinstance(handler, _Lines):
                PYTHON_WARNINGS.addHandler(handler)
    return is_verbose


@contextmanager
def plugins_untold() -> Iterator[None]:
    """While entered, plugins that fail say nothing, for commands that list them anyway."""
    PLUGINS.disabled = True
    try:
        yield
    finally:
        PLUGINS.disabled = False
