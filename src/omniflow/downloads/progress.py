"""Who follows a download."""

from __future__ import annotations


class DownloadReporter:
    """Is told how a download goes; this one keeps it to itself. Several threads call it."""

    def planned(self, name: str, source: str, parts: int, size: int, room: int) -> None:
        """What is about to be fetched, once that is known.

        Args:
            name: What is fetched.
            source: Where from, with its commit.
            parts: Parts that are not here yet.
            size: Their bytes.
            room: Free bytes where they go.
        """

    def received(self, count: int) -> None:
        """So many bytes came; negative ones have to be fetched again."""

    def told(self, line: str) -> None:
        """A wait, or what was found in the folder."""
