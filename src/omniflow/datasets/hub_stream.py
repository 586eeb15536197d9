"""Records of a streamed data set, read from any of them on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

#: So many records apart lie the places that are remembered, to go back to.
REMEMBERED = 500


class HubStream:
    """The records of a stream that belong to a split.

    The first reading goes from the beginning; on its way it remembers a place now and then, to
    which later readings jump, at the file where it lies.

    Args:
        rows: A `datasets.IterableDataset`.
        keep: Whether a row belongs to the split, by its number and content.
        reaching: Tells what goes wrong with the connection.
    """

    def __init__(
        self,
        rows: Any,
        keep: Callable[[int, dict[str, Any]], bool],
        reaching: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.rows = rows
        self.keep = keep
        self.reaching = reaching
        self._places: list[tuple[int, Any]] = [(0, None)]

    def records(self, start: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Number and content of each row, from record `start` of the split on."""
        remembered = min(start // REMEMBERED, len(self._places) - 1)
        row, state = self._places[remembered]
        # Its own: where a reading stands is kept in the rows themselves.
        rows = copy.deepcopy(self.rows)
        if state is not None:
            rows.load_state_dict(state)
        number = remembered * REMEMBERED
        reading = iter(rows)
        while True:
            with self.reaching():
                content = next(reading, None)
            if content is None:
                return
            row += 1
            if not self.keep(row - 1, content):
                continue
            number += 1
            if number == len(self._places) * REMEMBERED:
                self._places.append((row, rows.state_dict()))
            if number > start:
                yield row - 1, content
