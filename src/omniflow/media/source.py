"""The file of a sound or picture, before a decoder sees it."""

from __future__ import annotations

from pathlib import Path

from omniflow.errors import DataError


def require_content(path: str | Path) -> Path:
    """The path of a file that is there and has something in it.

    Raises:
        DataError: If there is no such file, it is no regular file, cannot be read, or is empty.
    """
    file = Path(path).expanduser()
    try:
        if not file.exists():
            raise DataError("there is no such file", where=str(path))
        if not file.is_file():
            raise DataError("is not a regular file", where=str(path))
        with file.open("rb") as opened:
            if not opened.read(1):
                raise DataError("the file is empty", where=str(path))
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path)) from error
    return file
