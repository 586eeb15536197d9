"""One file from the Hub to the disk: gone on with where it was left, checked, then renamed."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from omniflow.connection.listing import HubFile
from omniflow.connection.patience import Patience
from omniflow.connection.ranges import read_range
from omniflow.errors import OmniFlowError

#: How the name of a file ends that is not whole yet.
PARTIAL = ".part"

#: Between two looks at whether another process is done with a file.
_LOOK_S = 0.2


def fetch_file(
    url: str,
    target: Path,
    file: HubFile,
    *,
    patience: Patience,
    received: Callable[[int], None] = lambda count: None,
) -> str:
    """Bring a file here and return its SHA-256.

    What an earlier call left in `target.part` is not asked for again. A file whose checksum is not
    the one that the Hub tells is fetched once more, from its beginning. While another process is
    fetching the same file, it is waited for.

    Args:
        url: The file at a commit.
        target: Where it goes; its folder is made.
        file: What the Hub says of it.
        patience: How often is tried again.
        received: Takes the number of bytes that came, what was left before among them; negative
            ones are to be forgotten.

    Raises:
        OmniFlowError: If its content is not what the Hub says, twice, or it cannot be written.
        HTTPError: That of the Hub's client.
    """
    partial = target.with_name(target.name + PARTIAL)
    for attempt in range(2):
        with _alone(partial, patience) as (out, has_waited):
            if has_waited and (digest := _brought_meanwhile(target, file)):
                partial.unlink()
                received(target.stat().st_size)
                return digest
            digest = _complete(url, out, file, patience, received)
            if is_right(digest, partial, file):
                _put_in_place(partial, target)
                return digest
            received(-partial.stat().st_size)
            partial.unlink()
        if not attempt:
            patience.tell(f"{file.path} arrived damaged; it is fetched again")
    raise OmniFlowError(
        f"{file.path} arrived damaged twice",
        where=url.partition("?")[0],
        expected="the content whose checksum the Hub tells",
    )


@contextmanager
def _alone(partial: Path, patience: Patience) -> Iterator[tuple[FileIO, bool]]:
    """A file that is not whole yet, open and nobody else's, and whether that had to be waited for.

    Two that append to one file would each count what they received themselves, and leave both in
    it. The lock is that of the file: it ends with the process, and leaves nothing behind.
    """
    has_waited = False
    while True:
        with _opened(partial) as out:
            try:
                fcntl.flock(out, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not has_waited:
                    patience.tell(f"another process is fetching {partial.stem}; it is waited for")
                has_waited = True
                patience.stopped.wait(_LOOK_S)
                patience.go_on()
                continue
            # Who had it until now may have given it its name, or removed it.
            if _is_at(out, partial):
                yield out, has_waited
                return
            has_waited = True


def _opened(partial: Path) -> FileIO:
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        return partial.open("ab+", buffering=0)
    except OSError as error:
        raise _unwritable(partial, error) from error


def _is_at(out: FileIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(out.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _brought_meanwhile(target: Path, file: HubFile) -> str | None:
    """The SHA-256 of what another process has put in place; None where that is not the file."""
    if not target.is_file() or target.stat().st_size != file.size:
        return None
    with target.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return digest if is_right(digest, target, file) else None


def _complete(
    url: str,
    out: FileIO,
    file: HubFile,
    patience: Patience,
    received: Callable[[int], None],
) -> str:
    """Append what is missing of a file; the SHA-256 of all of it."""
    size = file.size or 0
    if out.seek(0, os.SEEK_END) > size:
        out.truncate(0)
    digest = hashlib.sha256()
    out.seek(0)
    while block := out.read(1 << 20):
        digest.update(block)
        received(len(block))
    for chunk in read_range(url, out.tell(), size, patience):
        _write(out, chunk)
        digest.update(chunk)
        received(len(chunk))
    # On the disk before its name says that it is whole.
    os.fsync(out.fileno())
    return digest.hexdigest()


def _write(out: FileIO, chunk: bytes) -> None:
    """Write all of it; a full disk is no trouble of the connection, and is told as what it is."""
    left = memoryview(chunk)
    try:
        while left:
            left = left[out.write(left) :]
    except OSError as error:
        raise _unwritable(Path(str(out.name)), error) from error


def _put_in_place(partial: Path, target: Path) -> None:
    """Give a whole file its name."""
    try:
        partial.replace(target)
    except OSError as error:
        raise _unwritable(target, error) from error


def _unwritable(path: Path, error: OSError) -> OmniFlowError:
    return OmniFlowError(
        f"cannot be written ({error.strerror or error})",
        where=str(path),
        expected="a place with room that you may write to",
        notes=["what came is kept: the same command goes on with it"],
    )


def is_right(sha256: str, path: Path, file: HubFile) -> bool:
    """Whether a file has the content that the Hub told of; where it told nothing, it has."""
    if file.sha256 is not None:
        return sha256 == file.sha256
    if file.blob is None:
        return True
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == file.blob
