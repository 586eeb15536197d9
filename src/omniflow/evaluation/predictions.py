"""predictions.json: what a model made, what it should have made, and how likely that was."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omniflow.errors import DataError
from omniflow.evaluation.json_stream import JsonStream, MalformedJsonError
from omniflow.evaluation.prediction_records import (
    MEDIA_KEYS,
    describe,
    optional_text,
    record_from_json,
)
from omniflow.files import write_json
from omniflow.interfaces.metric import Prediction

FORMAT = "omniflow.predictions/1"

#: Pictures and sounds in a folder, with this file that lists them.
MEDIA_FORMAT, MANIFEST = "omniflow.media/1", "manifest.json"

#: What a file says beside its records, each a text or nothing.
_SAID = ("model", "task", "dataset", "split")


@dataclass(frozen=True)
class PredictionFile:
    """The content of a predictions.json.

    Args:
        model: The checkpoint or Hub id that made the predictions; None when unsaid.
        task: Their task; None when unsaid or when records differ.
        records: One prediction each, ids distinct, at least one.
        dataset: The data that they were made of: Hub ids or names; None when unsaid.
        split: Its split; None when unsaid.
    """

    model: str | None
    task: str | None
    records: tuple[Prediction, ...]
    dataset: str | None = None
    split: str | None = None


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
        "dataset": predictions.dataset,
        "split": predictions.split,
        "records": [record_to_json(record) for record in predictions.records],
    }
    write_json(path, content)


def pair_predictions(
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    task: str = "",
    model: str | None = None,
) -> PredictionFile:
    """Texts and what they should have been, in two lists of one length, as a prediction file.

    Args:
        predictions: The texts that were made.
        references: For each a text, or several.
        task: Their task.
        model: What made them.

    Raises:
        DataError: If the lists are empty or not of one length.
    """
    if not predictions or len(predictions) != len(references):
        raise DataError(
            f"there are {len(predictions)} predictions and {len(references)} references",
            expected="at least one prediction, and a reference (or a list of them) for each",
        )
    records = tuple(
        Prediction(str(number), task, made, (wanted,) if isinstance(wanted, str) else tuple(wanted))
        for number, (made, wanted) in enumerate(zip(predictions, references, strict=True), 1)
    )
    return PredictionFile(model=model, task=task or None, records=records)


def read_predictions(path: str | Path) -> PredictionFile:
    """Read a predictions.json, a bare list of its records, or a folder of media.

    A record needs `id`, `prediction` and `references`; its `task` defaults to the file's, and is
    empty when neither says. One with `image` or `audio`, the name of a file beside this one, needs
    no prediction. Keys that nobody knows are left alone. The file is read piece by piece, so that
    memory holds the texts and not the file.

    Raises:
        DataError: If the file or one of its records is not what it should be; names both.
    """
    path = prediction_path(path)
    try:
        with JsonStream(path) as stream:
            return _read(stream, path)
    except FileNotFoundError as error:
        raise _refused("there is no such file", path) from error
    except OSError as error:
        raise _refused(f"the file cannot be read ({error.strerror or error})", path) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"byte {error.start} is not UTF-8 text", where=str(path), expected="a JSON file"
        ) from error
    except MalformedJsonError as error:
        raise DataError(
            f"not valid JSON: {error.message} in column {error.column}",
            where=f"{path}:{error.line}",
            expected="a predictions.json",
            notes=["the file may have been cut off while it was written or copied"]
            if error.is_cut
            else (),
        ) from error
    except (ValueError, RecursionError) as error:
        # Numbers of thousands of digits, and brackets nested thousands deep.
        raise _refused(f"not readable as JSON: {error}", path) from error


def prediction_path(path: str | Path) -> Path:
    """The file itself; of a folder of media, its manifest."""
    place = Path(path)
    return place / MANIFEST if (place / MANIFEST).is_file() else place


def _refused(problem: str, path: Path) -> DataError:
    return DataError(problem, where=str(path), expected="a predictions.json")


def _read(stream: JsonStream, path: Path) -> PredictionFile:
    first = stream.peek()
    if not first:
        raise _refused("the file is empty", path)
    head: dict[str, Any] = {}
    if first == "[":
        records = _records(stream.items(), None, path)
    elif first == "{":
        records = _read_object(stream, head, path)
    else:
        raise _no_list("the content", stream.value(), path)
    stream.end()
    task = optional_text(head, "task", str(path))
    if task:
        records = [record if record.task else replace(record, task=task) for record in records]
    if task is None and len({record.task for record in records}) == 1:
        task = records[0].task or None
    said = {key: optional_text(head, key, str(path)) for key in ("model", "dataset", "split")}
    return PredictionFile(task=task, records=tuple(records), **said)


def _read_object(stream: JsonStream, head: dict[str, Any], path: Path) -> list[Prediction]:
    """The records; what stands beside them goes to `head`."""
    records: list[Prediction] | None = None
    for key in stream.object_keys():
        if key == "records" and stream.peek() == "[":
            # Once the head is known to be another's, its records are not looked at.
            if "format" in head:
                _check_head(head, path)
            records = _records(stream.items(), head.get("task"), path)
        elif key in ("format", *_SAID, "records"):
            head[key] = stream.value()
        else:
            stream.value()
    _check_head(head, path)
    if records is None:
        raise _no_list("records", head.get("records"), path)
    return records


def _records(found: Iterable[Any], task: str | None, path: Path) -> list[Prediction]:
    records = list(_distinct(_numbered(found, task, path), path))
    if not records:
        raise DataError(
            "the file holds no records", where=str(path), expected="at least one prediction"
        )
    return records


def _numbered(found: Iterable[Any], task: str | None, path: Path) -> Iterator[Prediction]:
    for number, record in enumerate(found, 1):
        yield record_from_json(record, number, task, path)


def _distinct(records: Iterable[Prediction], path: Path) -> Iterator[Prediction]:
    numbers: dict[str, int] = {}
    for number, record in enumerate(records, 1):
        first = numbers.setdefault(record.id, number)
        if first != number:
            raise DataError(
                f"id {record.id!r} is also the id of record {first}",
                where=f"{path}, record {number}",
                expected="a different id for each record",
            )
        yield record


def _no_list(subject: str, found: Any, path: Path) -> DataError:
    return DataError(
        f"{subject} is {describe(found)}", where=str(path), expected="a list of records"
    )


def _check_head(head: dict[str, Any], path: Path) -> None:
    found = head.get("format")
    if found not in (FORMAT, MEDIA_FORMAT):
        problem = f"format is {describe(found)}" if "format" in head else "the file has no format"
        newer = isinstance(found, str) and found.startswith(FORMAT.rpartition("/")[0] + "/")
        raise DataError(
            problem,
            where=str(path),
            expected=f"{FORMAT!r} (or a bare list of records)",
            notes=["it was written for another version of omniflow"] if newer else (),
        )
    for key in _SAID:
        optional_text(head, key, str(path))


def record_to_json(record: Prediction) -> dict[str, Any]:
    """A record as it stands in the file."""
    content: dict[str, Any] = {
        "id": record.id,
        "task": record.task,
        "prediction": record.prediction,
        "references": list(record.references),
    }
    for name in MEDIA_KEYS:
        if getattr(record, name) is not None:
            content[name] = getattr(record, name)
    if record.tokens is not None:
        content["token_count"] = record.tokens.count
        content["token_nll"] = record.tokens.nll if math.isfinite(record.tokens.nll) else None
        content["token_correct"] = record.tokens.correct
    return content
