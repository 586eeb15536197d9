"""predictions.json: what a model made, what it should have made, and how likely that was."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniflow.errors import DataError
from omniflow.files import write_json
from omniflow.interfaces.metric import Prediction, TokenScores

FORMAT = "omniflow.predictions/1"
TOKEN_KEYS = ("token_count", "token_nll", "token_correct")


@dataclass(frozen=True)
class PredictionFile:
    """The content of a predictions.json.

    Args:
        model: The checkpoint or Hub id that made the predictions; None when unsaid.
        task: Their task; None when unsaid or when records differ.
        records: One prediction each, ids distinct, at least one.
    """

    model: str | None
    task: str | None
    records: tuple[Prediction, ...]


def write_predictions(path: str | Path, predictions: PredictionFile) -> None:
    """Write a predictions.json; a crash at any moment leaves the previous file whole.

    What took hours to generate is written as it is, also when `read_predictions` would complain
    (ids twice, a log-likelihood that is not a number, written as null).

    Raises:
        OmniFlowError: If the file cannot be written.
    """
    content = {
        "format": FORMAT,
        "model": predictions.model,
        "task": predictions.task,
        "records": [_record_to_json(record) for record in predictions.records],
    }
    write_json(path, content)


def read_predictions(path: str | Path) -> PredictionFile:
    """Read a predictions.json, or a bare list of its records.

    A record needs `id`, `prediction` and `references`; its `task` defaults to the file's, and is
    empty when neither says. Keys that nobody knows are left alone.

    Raises:
        DataError: If the file or one of its records is not what it should be; names both.
    """
    content = _load_json(path)
    model, task, subject = None, None, "the content"
    if isinstance(content, dict):
        _check_format(content, path)
        model = _optional_text(content, "model", str(path))
        task = _optional_text(content, "task", str(path))
        content, subject = content.get("records"), "records"
    if not isinstance(content, list):
        raise DataError(
            f"{subject} is {_describe(content)}", where=str(path), expected="a list of records"
        )
    if not content:
        raise DataError(
            "the file holds no records", where=str(path), expected="at least one prediction"
        )
    records = tuple(
        _record_from_json(record, number, task, path) for number, record in enumerate(content, 1)
    )
    _check_ids(records, path)
    if task is None and len({record.task for record in records}) == 1:
        task = records[0].task or None
    return PredictionFile(model=model, task=task, records=records)


def _load_json(path: str | Path) -> Any:
    try:
        # utf-8-sig: editors on Windows put a byte order mark in front.
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise DataError(
            "there is no such file", where=str(path), expected="a predictions.json"
        ) from error
    except OSError as error:
        raise DataError(
            f"the file cannot be read ({error.strerror or error})",
            where=str(path),
            expected="a predictions.json",
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start} is not UTF-8 text", where=str(path), expected="a JSON file"
        ) from error
    if not text.strip():
        raise DataError("the file is empty", where=str(path), expected="a predictions.json")
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        # Nothing follows the place of the error, or only the first half of a word or number.
        ends_early = error.msg.startswith("Unterminated") or (
            error.pos > 0 and re.fullmatch(r"[\w.+-]*\s*", text[error.pos :]) is not None
        )
        notes = ["the file may have been cut off while it was written or copied"]
        raise DataError(
            f"not valid JSON: {error.msg} in column {error.colno}",
            where=f"{path}:{error.lineno}",
            expected="a predictions.json",
            notes=notes if ends_early else (),
        ) from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and brackets nested thousands deep.
        raise DataError(
            f"not readable as JSON: {error}", where=str(path), expected="a predictions.json"
        ) from error


def _check_format(content: Mapping[str, Any], path: str | Path) -> None:
    found = content.get("format")
    if found == FORMAT:
        return
    problem = f"format is {_describe(found)}" if "format" in content else "the file has no format"
    newer = isinstance(found, str) and found.startswith(FORMAT.rpartition("/")[0] + "/")
    raise DataError(
        problem,
        where=str(path),
        expected=f"{FORMAT!r} (or a bare list of records)",
        notes=["it was written for another version of omniflow"] if newer else (),
    )


def _check_ids(records: tuple[Prediction, ...], path: str | Path) -> None:
    numbers: dict[str, int] = {}
    for number, record in enumerate(records, 1):
        first = numbers.setdefault(record.id, number)
        if first != number:
            raise DataError(
                f"id {record.id!r} is also the id of record {first}",
                where=f"{path}, record {number}",
                expected="a different id for each record",
            )


def _record_from_json(record: Any, number: int, task: str | None, path: str | Path) -> Prediction:
    where = f"{path}, record {number}"
    if not isinstance(record, dict):
        raise DataError(
            f"the record is {_describe(record)}",
            where=where,
            expected="an object with id, prediction and references",
        )
    identifier = _text(record, "id", where)
    if not identifier:
        raise DataError("id is empty", where=where, expected="a text of its own")
    where = f"{where} ({identifier})"
    return Prediction(
        id=identifier,
        task=_optional_text(record, "task", where) or task or "",
        prediction=_text(record, "prediction", where),
        references=_references(record, where),
        tokens=_token_scores(record, where),
    )


def _references(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    references = _value(record, "references", where)
    expected = "a list of at least one text"
    if not isinstance(references, list):
        raise DataError(f"references is {_describe(references)}", where=where, expected=expected)
    if not references:
        raise DataError("references is an empty list", where=where, expected=expected)
    for position, reference in enumerate(references, 1):
        if not isinstance(reference, str):
            raise DataError(
                f"reference {position} is {_describe(reference)}", where=where, expected="a text"
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
        raise DataError(f"{key} is {_describe(value)}", where=where, expected="a whole number >= 0")
    return value


def _nll(record: Mapping[str, Any], where: str) -> float:
    value = record["token_nll"]
    try:
        valid = type(value) in (int, float) and math.isfinite(value) and value >= 0
    except OverflowError:  # a whole number beyond any float
        valid = False
    if not valid:
        raise DataError(
            f"token_nll is {_describe(value)}", where=where, expected="a finite number >= 0"
        )
    return float(value)


def _text(record: Mapping[str, Any], key: str, where: str) -> str:
    value = _value(record, key, where)
    if not isinstance(value, str):
        raise DataError(f"{key} is {_describe(value)}", where=where, expected="a text")
    return value


def _optional_text(record: Mapping[str, Any], key: str, where: str) -> str | None:
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


def _describe(value: Any) -> str:
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


def _record_to_json(record: Prediction) -> dict[str, Any]:
    content: dict[str, Any] = {
        "id": record.id,
        "task": record.task,
        "prediction": record.prediction,
        "references": list(record.references),
    }
    if record.tokens is not None:
        content["token_count"] = record.tokens.count
        content["token_nll"] = record.tokens.nll if math.isfinite(record.tokens.nll) else None
        content["token_correct"] = record.tokens.correct
    return content
