"""Stretches of bytes of a file, here or behind a URL, without what lies before them."""

from __future__ import annotations

import importlib
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from omniflow.errors import UsageError
from omniflow.hub_access import one_line, reaching_hub, without_secrets

#: Bytes that are fetched by one request while a file is read from its beginning.
BLOCK = 1 << 20

#: Up to so many bytes from an offset on; fewer at the end of the file.
ReadAt = Callable[[int, int], bytes]


class ByteFile(ABC):
    """A file that is read in pieces; holds no open handle, so that any process may read it."""

    #: The file, for messages and ids.
    name: str

    @property
    @abstractmethod
    def size(self) -> int | None:
        """Its bytes; None where a server does not say."""

    @abstractmethod
    def read(self, start: int, end: int) -> bytes:
        """The bytes in [start, end), fewer where the file ends before.

        Raises:
            OSError: If a file here cannot be read.
            UsageError: If a server cannot be reached, or sends something else.
        """

    @abstractmethod
    def reading(self, start: int) -> Any:
        """A context with a `ReadAt`, whose offsets begin at `start` and never go back.

        Raises:
            OSError, UsageError: As `read`, then and later.
        """

    @abstractmethod
    def state(self) -> tuple[object, ...]:
        """What tells it from another file, or from itself once it is changed.

        Raises:
            OSError: If there is no such file here.
        """

    def blocks(self, start: int = 0) -> Iterator[bytes]:
        """The file from an offset to its end, block by block."""
        with self.reading(start) as read:
            while block := read(start, BLOCK):
                yield block
                start += len(block)


class LocalFile(ByteFile):
    """A file on this machine.

    Args:
        path: Where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    @cached_property
    def size(self) -> int:
        """Its bytes."""
        return self.path.stat().st_size

    def state(self) -> tuple[object, ...]:
        """What changes when the file does."""
        status = self.path.stat()
        return (self.path.resolve(), status.st_size, status.st_mtime_ns)

    def read(self, start: int, end: int) -> bytes:
        """The bytes in [start, end)."""
        with self.path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), max(0, end - start), start)

    @contextmanager
    def reading(self, start: int) -> Iterator[ReadAt]:
        """Reads anywhere, with one handle."""
        with self.path.open("rb", buffering=0) as file:
            yield lambda offset, size: os.pread(file.fileno(), size, offset)


class RemoteFile(ByteFile):
    """A file behind a URL, of which the server sends stretches, or all from the beginning on.

    Requests are repeated as the Hub's client does it: after 429, 5xx and lost connections.

    Args:
        url: Where it is.
        hub_id: The data set on the Hub that it is a file of; its token is sent along. None for
            what is elsewhere, where no token goes.
        revision: Of that data set, for messages.
    """

    def __init__(self, url: str, *, hub_id: str | None = None, revision: str | None = None) -> None:
        self.url = url
        self.hub_id = hub_id
        self.revision = revision
        self.name = without_secrets(url)

    @property
    def size(self) -> int | None:
        """Its bytes, as the server says."""
        return self._known[0]

    def state(self) -> tuple[object, ...]:
        """Its URL, which names a commit where the file is on the Hub."""
        return (self.url,)

    @property
    def has_ranges(self) -> bool:
        """Whether the server sends stretches of it."""
        return self._known[1]

    def read(self, start: int, end: int) -> bytes:
        """The bytes in [start, end), by one request; without ranges from the beginning on."""
        end = end if self.size is None else min(end, self.size)
        if start >= end:
            return b""
        if not self.has_ranges:
            with self.reading(start) as read:
                return read(start, end - start)
        with self._reaching():
            utils = importlib.import_module("huggingface_hub.utils")
            response = utils.http_backoff("GET", self.url, **self._asking(start, end))
            utils.hf_raise_for_status(response)
            content: bytes = response.content
            if response.status_code != 206 or len(content) != end - start:
                raise OSError(f"{len(content)} bytes came, {end - start} were asked for")
            return content

    @contextmanager
    def reading(self, start: int) -> Iterator[ReadAt]:
        """Reads ahead by blocks, or all that comes of one request where there are no ranges."""
        if self.has_ranges:
            yield _Window(lambda at: self.read(at, at + BLOCK), can_jump=True).read
            return
        blocks = self._whole()
        try:
            yield _Window(lambda at: next(blocks, b""), can_jump=False).read
        finally:
            blocks.close()

    def _whole(self) -> Generator[bytes]:
        utils = importlib.import_module("huggingface_hub.utils")
        with (
            self._reaching(),
            utils.http_stream_backoff("GET", self.url, **self._asking()) as response,
        ):
            utils.hf_raise_for_status(response)
            yield from response.iter_bytes(BLOCK)

    @cached_property
    def _known(self) -> tuple[int | None, bool]:
        """Size, and whether there are ranges: what comes when one byte is asked for."""
        utils = importlib.import_module("huggingface_hub.utils")
        with (
            self._reaching(),
            utils.http_stream_backoff("GET", self.url, **self._asking(0, 1)) as response,
        ):
            if response.status_code == 416:
                return 0, True
            utils.hf_raise_for_status(response)
            has_ranges = response.status_code == 206
            said = response.headers.get("Content-Range" if has_ranges else "Content-Length", "")
        size = said.rpartition("/")[2]
        return (int(size) if size.isdecimal() else None), has_ranges and size.isdecimal()

    def _asking(self, start: int = 0, end: int | None = None) -> dict[str, Any]:
        hub = importlib.import_module("huggingface_hub")
        # Compressed on the way, a stretch would be one of something else.
        headers = {"Accept-Encoding": "identity"}
        if self.hub_id is not None:
            headers |= importlib.import_module("huggingface_hub.utils").build_hf_headers()
        if end is not None:
            headers["Range"] = f"bytes={start}-{end - 1}"
        return {"headers": headers, "timeout": hub.constants.HF_HUB_DOWNLOAD_TIMEOUT}

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        if self.hub_id is not None:
            with reaching_hub(self.hub_id, self.revision, kind="dataset"):
                yield
            return
        errors = importlib.import_module("huggingface_hub.errors")
        try:
            yield
        except (errors.HTTPError, OSError, RuntimeError) as error:
            reason = without_secrets(one_line(error.__cause__ or error))
            raise UsageError(f"cannot be fetched ({reason})", where=self.name) from error


class _Window:
    """The bytes that were fetched last, of a file that is read on and on.

    Args:
        more: Bytes from an offset on: that where the last ones ended, or any further on.
        can_jump: Whether it may be further on.
    """

    def __init__(self, more: Callable[[int], bytes], *, can_jump: bool) -> None:
        self._more = more
        self._can_jump = can_jump
        self._start = 0
        self._held = b""

    def read(self, offset: int, size: int) -> bytes:
        """Up to so many bytes from an offset on, which is never less than the one before."""
        while self._start + len(self._held) <= offset:
            self._start = offset if self._can_jump else self._start + len(self._held)
            self._held = self._more(self._start)
            if not self._held:
                return b""
        pieces = [self._held[offset - self._start :]]
        known = len(pieces[0])
        while known < size and (piece := self._more(offset + known)):
            pieces.append(piece)
            known += len(piece)
        self._start, self._held = offset, b"".join(pieces)
        return self._held[:size]
