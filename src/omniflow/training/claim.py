"""One run at a time in a folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

from omniflow.errors import OmniFlowError, UsageError

#: File that a run holds locked while it is at work in its folder.
CLAIM = ".claim"

#: So often in a row the folder may vanish between being made and being used.
_MOST_ATTEMPTS = 1000


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """While entered, no other run is at work in the folder, on any machine that sees it.

    The claim ends with the process, however it ends. A system or file system that knows no such
    claims grants every one. A folder that is made here and left empty is removed again.

    Raises:
        UsageError: If another run is, or there is something else in the place of the claim.
        OmniFlowError: If the folder cannot be written to.
    """
    path = folder / CLAIM
    is_new = not folder.exists()
    with _locked(path):
        try:
            yield
        finally:
            # The folder may have been moved meanwhile; one that is not empty is not removed.
            with suppress(OSError):
                path.unlink()
                if is_new:
                    folder.rmdir()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    for attempt in count(1):
        # Through a link a file elsewhere would be made, or written over.
        if path.is_symlink():
            raise UsageError("is a link", where=str(path), expected="no file of this name")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            # A run that left the folder empty has just removed it.
            if isinstance(error, FileNotFoundError) and attempt < _MOST_ATTEMPTS:
                continue
            raise OmniFlowError(
                f"cannot be written ({error.strerror or error})", where=str(path.parent)
            ) from error
        with file:
            _lock(file, path.parent)
            # Another run may have ended, and removed the file, between the two lines above.
            if _is_at(file, path):
                _sign(file)
                yield
                return


def _lock(file: IO[str], folder: Path) -> None:
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is at work in this folder{_signed(folder / CLAIM)}",
                where=str(folder),
                expected="one at a time, or another --output-dir",
            ) from error
        # A file system that knows no claims.
        except OSError:
            return


def _sign(file: IO[str]) -> None:
    """Say who has the claim, for a person who looks for the process; there may be no room."""
    with suppress(OSError):
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()


def _signed(path: Path) -> str:
    try:
        who = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return f" ({who})" if who else ""


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
