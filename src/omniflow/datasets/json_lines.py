"""JSON lines: an object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from omniflow.datasets.record_index import RecordIndex, index_records
from omniflow.datasets.record_media import type_name
from omniflow.datasets.table import TableDataset
from omniflow.errors import DataError

#: Records whose keys are looked at to know the columns.
_LOOKED_AT = 1000


class JsonLinesDataset(TableDataset):
    """Captions, pictures and sounds that a .jsonl file names, an object a line.

    What a record lacks is null or not there. A text may be a list of texts: the first one is
    learnt, and predictions are compared with all of them.

    Args:
        options: Those of every table.
    """

    suffix = ".jsonl"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def _indexed(self) -> RecordIndex:
        return index_records(self.path)

    def _columns(self) -> Sequence[str]:
        names: dict[str, None] = {}
        problem = "is empty"
        for number in range(min(len(self._index), _LOOKED_AT)):
            try:
                names |= dict.fromkeys(self._row(self._index.read(number)))
            except (ValueError, RecursionError) as error:
                problem = f"no line holds an object, the last one looked at is {error}"
        if not names:
            raise DataError(problem, where=str(self.path), expected="an object with keys a line")
        return list(names)

    def _row(self, content: bytes) -> Mapping[str, Any]:
        try:
            row = json.loads(content.decode())
        except UnicodeDecodeError as error:
            raise ValueError(f"byte 0x{content[error.start]:02x} is not UTF-8") from error
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON ({error.msg} at column {error.colno})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{type_name(row)} where an object was expected")
        return row
