"""Files and folders that are whole or not there: written beside the target, then renamed.

A crash at any moment leaves the previous file or folder as it was.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omniflow.errors import OmniFlowError, UsageError

# Targets that a person can put right; anything else (a full disk) is a fault of the run.
_WRONG_TARGET = (PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file; folders on the way are made, a symbolic link is followed.

    Raises:
        UsageError: If the target cannot be written to (no permission, a folder of that name).
        OmniFlowError: If writing fails (a full disk).
    """
    with replacing(path) as temporary:
        # A lone surrogate has no UTF-8 bytes; as a backslash escape it stays valid JSON.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def write_json(path: str | Path, content: Any) -> None:
    """Write plain data as indented JSON; its numbers must be finite. Errors as `write_text`."""
    write_text(path, json.dumps(content, ensure_ascii=False, allow_nan=False, indent=2) + "\n")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error."""
    target = Path(path).resolve()
    if target.exists() and not target.is_file() and not target.is_dir():
        raise UsageError("is not a regular file", where=str(path), expected="a file to replace")
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    with _told(path):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            yield beside
            # Some writers make files that nobody else may read.
            beside.chmod(_mode_of(target))
            _flush(beside)
            os.replace(beside, target)
        finally:
            beside.unlink(missing_ok=True)


@contextmanager
def writing_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of `target` when the block ends without an error.

    The old folder is moved aside before the new one is renamed into its place and removed after
    it, so that at every moment one whole folder exists under the name or beside it. A symbolic
    link is followed.
    """
    path, target = target, target.resolve()
    with _told(path):
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        previous = temporary.with_name(temporary.name + ".previous")
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush(file)
            if target.exists():
                os.replace(target, previous)
            os.replace(temporary, target)
        finally:
            if previous.exists() and not target.exists():
                os.replace(previous, target)
            for leftover in (temporary, previous):
                if leftover.exists():
                    shutil.rmtree(leftover)


@contextmanager
def _told(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mistake = UsageError if isinstance(error, _WRONG_TARGET) else OmniFlowError
        raise mistake(
            f"cannot be written ({error.strerror or error})",
            where=str(path),
            expected="a place with room that you may write to",
        ) from error


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _mode_of(target: Path) -> int:
    """The permissions of the file that is there, or else what a new file gets."""
    return target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
