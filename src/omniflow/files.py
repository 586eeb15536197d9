"""Files and folders that are whole or not there: written beside the target, then renamed.

A crash at any moment leaves the previous file or folder as it was.
"""

from __future__ import annotations

import errno
import json
import os
import re
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

#: Letters of a target's name that its temporary neighbour shares: the rest of it is long enough.
_SHARED_NAME = 40

#: Names of temporary neighbours, and of a folder that was moved aside.
_BESIDE = re.compile(r"\.(.+?)\.(?:[0-9a-f]{32}\.tmp|[a-z0-9_]{8}(?:\.previous)?)")


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


def check_name(path: str | Path, *, where: str | None = None) -> None:
    """Refuse what cannot be the name of a file or folder, whether there is one or not.

    Raises:
        UsageError: If it is empty, too long, or a symbolic link in a circle.
    """
    if not str(path):
        raise UsageError("the name is empty", where=where, expected="a file or folder")
    try:
        Path(path).exists()
        Path(path).resolve().parent.exists()
    # Python before 3.13 tells a circle of links by a RuntimeError, and a zero by a ValueError.
    except (OSError, RuntimeError, ValueError) as error:
        problem = error.strerror if isinstance(error, OSError) else os.strerror(errno.ELOOP)
        problem = "a zero byte in it" if isinstance(error, ValueError) else problem
        raise UsageError(
            f"{path} cannot be written ({problem})", where=where, expected="another name"
        ) from error


def check_new_folder(path: str | Path, *, where: str | None = None) -> None:
    """Refuse a folder that another one cannot take the place of.

    Raises:
        UsageError: If the process works in it, or it is the root of a disk or volume.
    """
    folder = Path(path).resolve()
    if Path.cwd().is_relative_to(folder):
        problem = "is, or holds, the folder that this runs in"
    elif folder.is_mount():
        problem = "is where a disk or volume is mounted, and cannot be replaced"
    else:
        return
    raise UsageError(
        f"{path} {problem}", where=where, expected=f"a new folder, such as {Path(path) / 'new'}"
    )


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends without an error."""
    check_name(path)
    target = Path(path).resolve()
    if target.exists() and not target.is_file() and not target.is_dir():
        raise UsageError("is not a regular file", where=str(path), expected="a file to replace")
    beside = target.with_name(f".{target.name[:_SHARED_NAME]}.{uuid.uuid4().hex}.tmp")
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
    check_name(target)
    path, target = target, target.resolve()
    with _told(path):
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{target.name[:_SHARED_NAME]}."
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=target.parent))
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


def remove_leftovers(folder: Path, names: re.Pattern[str]) -> None:
    """Remove what processes that were killed have left beside the targets that they wrote.

    Where a folder had been moved aside and nothing has taken its place, it is put back. Nobody may
    be writing the targets meanwhile.

    Args:
        folder: Where they are; it need not exist.
        names: Names of the targets, the first `_SHARED_NAME` letters of each.
    """
    # Backwards, so that NAME.previous comes before NAME.
    for place in sorted(folder.glob(".*"), reverse=True):
        found = _BESIDE.fullmatch(place.name)
        if found is None or not names.fullmatch(found[1]):
            continue
        target = folder / found[1]
        if place.suffix == ".previous" and not target.exists():
            os.replace(place, target)
        elif place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink()


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
