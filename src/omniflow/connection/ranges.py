"""Stretches of files on the Hub, gone on with where a connection broke."""

from __future__ import annotations

import io
from collections.abc import Iterator

from omniflow.connection.patience import Patience, passing
from omniflow.errors import OmniFlowError


def read_range(url: str, start: int, end: int, patience: Patience) -> Iterator[bytes]:
    """The bytes [start, end) of a file.

    Whatever arrived is kept when a connection breaks, and the rest is asked for. The token goes to
    the Hub alone, not to where it redirects.

    Args:
        url: The file at a commit, so that it does not change on the way.
        start: Its first byte that is wanted.
        end: The byte after the last.
        patience: How often is tried again.

    Raises:
        OmniFlowError: If it turns out shorter, or the server knows no ranges.
        StoppedError: If told to stop.
        HTTPError: That of the Hub's client, when it does not pass.
    """
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    at, failures = start, 0
    while at < end:
        try:
            for chunk in _answer(url, at, end):
                at += len(chunk)
                failures = 0
                patience.go_on()
                yield chunk
            if at >= end:
                return
            raise _ended_early(url, at)
        except (HTTPError, _EndedEarlyError) as error:
            failures += 1
            found = passing(error)
            reason = found.reason if found else "the file ended early"
            if found is None and not isinstance(error, _EndedEarlyError):
                raise
            asked_s = found.asked_s if found else None
            if patience.is_over(failures, asked_s):
                raise
            patience.wait(failures, reason, asked_s)


def _answer(url: str, start: int, end: int) -> Iterator[bytes]:
    """What comes of one request; it may be less than was asked for."""
    from huggingface_hub import constants, get_session
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
    )

    headers = {
        **build_hf_headers(library_name="omniflow"),
        "Range": f"bytes={start}-{end - 1}",
        # Bytes are counted as they lie in the file.
        "Accept-Encoding": "identity",
    }
    wanted = end - start
    with get_session().stream(
        "GET", url, headers=headers, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
    ) as response:
        hf_raise_for_status(response)
        if response.status_code != 206 and start:
            raise OmniFlowError(
                "the server sends whole files alone, and this one broke off or is read in parts",
                where=url.partition("?")[0],
                expected="a server that knows ranges",
            )
        # In the pieces that come, so that none is lost with the connection.
        for chunk in response.iter_bytes():
            # A server without ranges goes on after the end.
            yield chunk[:wanted]
            wanted -= min(wanted, len(chunk))
            if not wanted:
                return


class _EndedEarlyError(OmniFlowError):
    """A file turned out shorter than the Hub says."""


def _ended_early(url: str, at: int) -> _EndedEarlyError:
    return _EndedEarlyError(f"the file ended at byte {at}", where=url.partition("?")[0])


class RangeFile(io.RawIOBase):
    """A file on the Hub that is read where it is asked for; nothing is read ahead.

    Args:
        url: The file at a commit.
        size: Its bytes.
        patience: How often is tried again.
    """

    def __init__(self, url: str, size: int, patience: Patience) -> None:
        super().__init__()
        self.url = url
        self.size = size
        self._patience = patience
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in the file."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position; nothing is asked for."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        self._at = min(max(0, base + offset), self.size)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """So many bytes from the position on, fewer at the end of the file alone."""
        end = self.size if size is None or size < 0 else min(self.size, self._at + size)
        content = b"".join(read_range(self.url, self._at, end, self._patience))
        self._at = max(self._at, end)
        return content

    def readall(self) -> bytes:
        """Everything from the position on."""
        return self.read()
