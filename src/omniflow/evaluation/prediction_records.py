"""One record of a prediction file, as it was read from JSON: checked, and told what is wrong."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omniflow.errors import DataError
from omniflow.interfaces.metric import Prediction, TokenScores

TOKEN_KEYS = ("token_count", "token_nll", "token_correct")
MEDIA_KEYS = ("image", "audio")


def record_from_json(record: Any, number: int, task: str | None, path: Path) -> Prediction:
    """A record with everything in its place.

    Args:
        record: What was read.
        number: Its place in the file, from 1.
        task: The file's task, for a record without one.
        path: The file; names of pictures and sounds are relative to its folder.

    Raises:
        DataError: If it is not what it should be; names the file and the record.
    """
    where = f"{path}, record {number}"
    if not isinstance(record, dict):
        raise DataError(
            f"the record is {describe(record)}",
            where=where,
            expected="an object with id, prediction and references",
        )
    identifier = _text(record, "id", where)
    if not identifier:
        raise DataError("id is empty", where=where, expected="a text of its own")
    where = f"{where} ({identifier})"
    media = {name: _file(record, name, where, path.parent) for name in MEDIA_KEYS}
    has_media = any(media.values())
    return Prediction(
        id=identifier,
        task=sys.intern(optional_text(record, "task", where) or task or ""),
        # Of a picture or sound there is no text.
        prediction=(optional_text(record, "prediction", where) or "")
        if has_media
        else _text(record, "prediction", where),
        references=_references(record, where, may_be_empty=has_media),
        tokens=_token_scores(record, where),
        **media,
    )


def _file(record: Mapping[str, Any], name: str, where: str, folder: Path) -> str | None:
    found = optional_text(record, name, where)
    return None if found is None else str(folder / found)


def _references(record: Mapping[str, Any], where: str, *, may_be_empty: bool) -> tuple[str, ...]:
    references = _value(record, "references", where)
    expected = "a list of at least one text"
    if not isinstance(references, list):
        raise DataError(f"references is {describe(references)}", where=where, expected=expected)
    if not references and not may_be_empty:
        raise DataError("references is an empty list", where=where, expected=expected)
    for position, reference in enumerate(references, 1):
        if not isinstance(reference, str):
            raise DataError(
                f"reference {position} is {describe(reference)}", where=where, expected="a text"
            )
    return tuple(references)


def _token_scores(record: Mapping[str, Any], where: str) -> TokenScores | None:
    given = [key for key in TOKEN_KEYS if record.get(key) is not None]
    if not any(key in record for key in TOKEN_KEYS):
        return None
    if len(given) < len(TOKEN_KEYS):
        missing = ", ".join(key for key in TOKEN_KEYS if key not in given)
        raise DataError(
            f"token scores without {missing}",
            where=where,
            expected=f"{', '.join(TOKEN_KEYS)}, or none of them",
        )
    count = _whole_number(record, "token_count", where)
    correct = _whole_number(record, "token_correct", where)
    if correct > count:
        raise DataError(
            f"token_correct is {correct}", where=where, expected=f"at most token_count, {count}"
        )
    return TokenScores(count=count, nll=_nll(record, where), correct=correct)


def _whole_number(record: Mapping[str, Any], key: str, where: str) -> int:
    value = record[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise DataError(f"{key} is {describe(value)}", where=where, expected="a whole number >= 0")
    return value


def _nll(record: Mapping[str, Any], where: str) -> float:
    value = record["token_nll"]
    try:
        valid = type(value) in (int, float) and math.isfinite(value) and value >= 0
    except OverflowError:  # a whole number beyond any float
        valid = False
    if not valid:
        raise DataError(
            f"token_nll is {describe(value)}", where=where, expected="a finite number >= 0"
        )
    return float(value)


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = _value(record, key, where)
    if not isinstance(value, str):
        raise DataError(f"{key} is {describe(value)}", where=where, expected="a text")
    return value


def optional_text(record: Mapping[str, Any], key: str, where: str) -> str | None:
    """The text under a key; None when there is none, or null."""
    return None if record.get(key) is None else _text(record, key, where)


def _value(record: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in record:
        raise DataError(
            f"the record has no {key}",
            where=where,
            expected="id, prediction and references",
            notes=[f"it has: {', '.join(record) or 'nothing'}"],
        )
    return record[key]


def describe(value: Any) -> str:
    """A JSON value in a few words, the way it was written."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the text {_shortened(repr(value))}"
    if isinstance(value, int) and abs(value) >= 10**18:
        return "a very large number"
    return json.dumps(value)


def _shortened(text: str, limit: int = 40) -> str:
    return text if len(text) <= limit else f"{text[:limit]}..."
