"""One file from the Hub to the disk: gone on with where it was left, checked, then renamed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from omniflow.connection.listing import HubFile
from omniflow.connection.patience import Patience
from omniflow.connection.ranges import read_range
from omniflow.errors import OmniFlowError

#: How the name of a file ends that is not whole yet.
PARTIAL = ".part"


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
    the one that the Hub tells is fetched once more, from its beginning.

    Args:
        url: The file at a commit.
        target: Where it goes; its folder is made.
        file: What the Hub says of it.
        patience: How often is tried again.
        received: Takes the number of bytes that came, what was left before among them; negative
            ones are to be forgotten.

    Raises:
        OmniFlowError: If its content is not what the Hub says, twice.
        OSError: If it cannot be written.
        HTTPError: That of the Hub's client.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + PARTIAL)
    for attempt in range(2):
        digest = _complete(url, partial, file, patience, received)
        if is_right(digest, partial, file):
            partial.replace(target)
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


def _complete(
    url: str,
    partial: Path,
    file: HubFile,
    patience: Patience,
    received: Callable[[int], None],
) -> str:
    """Append what is missing of a file; the SHA-256 of all of it."""
    size = file.size or 0
    if partial.exists() and partial.stat().st_size > size:
        partial.unlink()
    digest = hashlib.sha256()
    with partial.open("ab+") as out:
        out.seek(0)
        while block := out.read(1 << 20):
            digest.update(block)
            received(len(block))
        for chunk in read_range(url, out.tell(), size, patience):
            out.write(chunk)
            digest.update(chunk)
            received(len(chunk))
        # On the disk before its name says that it is whole.
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()


def is_right(sha256: str, path: Path, file: HubFile) -> bool:
    """Whether a file has the content that the Hub told of; where it told nothing, it has."""
    if file.sha256 is not None:
        return sha256 == file.sha256
    if file.blob is None:
        return True
    content = path.read_bytes()
    header = f"blob {len(content)}\0".encode()
    return hashlib.sha1(header + content, usedforsecurity=False).hexdigest() == file.blob
