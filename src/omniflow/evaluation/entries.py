"""What is compared: runs, prediction files and result files, each with all that it tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path

from omniflow.errors import DataError, UsageError, closest
from omniflow.evaluation.json_stream import JsonStream, MalformedJsonError
from omniflow.evaluation.predictions import (
    MANIFEST,
    PredictionFile,
    prediction_path,
    read_predictions,
)
from omniflow.evaluation.results import FORMAT as RESULTS
from omniflow.evaluation.results import Evaluation, read_results
from omniflow.evaluation.run_record import RunRecord, is_run, read_run

#: Where a run has them.
PREDICTIONS_NAME, RESULTS_NAME = "predictions.json", "eval_results.json"

#: From predictions and their file to figures.
Scoring = Callable[[PredictionFile, Path], Evaluation]

_EXPECTED = "a run, a predictions.json, or an eval_results.json"


@dataclass(frozen=True)
class Entry:
    """One thing that is compared.

    Args:
        name: What it is called in tables.
        path: What was named.
        run: The run, where it is one.
        evaluation: Figures of its predictions; None when there are none.
        predictions: The predictions themselves; None when there are none.
        notes: What is missing or does not fit, a sentence each.
    """

    name: str
    path: Path
    run: RunRecord | None = None
    evaluation: Evaluation | None = None
    predictions: PredictionFile | None = None
    notes: tuple[str, ...] = ()

    @property
    def task(self) -> str | None:
        """The task of its predictions, as far as it is told."""
        if self.evaluation is not None and self.evaluation.task:
            return self.evaluation.task
        return None if self.predictions is None else self.predictions.task


def read_entries(
    paths: Sequence[str | Path],
    *,
    score: Scoring | None = None,
    scores_anew: bool = False,
    names: Sequence[str] | None = None,
) -> list[Entry]:
    """Read runs, prediction files and result files.

    Of a run, `eval_results.json` and `predictions.json` in its folder are read.

    Args:
        paths: What is compared, at least one.
        score: Makes figures of predictions that have none; without it they stay without.
        scores_anew: Whether figures that are there give way to those of `score`.
        names: What they are called; their file names, made distinct, when None.

    Raises:
        UsageError: If one of them is nothing of the kind.
        DataError: If a file that was named, or one of a run, is damaged.
    """
    if not paths:
        raise UsageError("there is nothing to compare", expected=_EXPECTED)
    places = [Path(path) for path in paths]
    called = list(names) if names is not None else distinct_names(places)
    return [
        _entry(place, name, score, scores_anew) for place, name in zip(places, called, strict=True)
    ]


def distinct_names(places: Sequence[Path]) -> list[str]:
    """The shortest ends of paths by which each differs from the others."""
    parts = [place.resolve().parts for place in places]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-depth:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{'/'.join(one[-1:])} ({number})" for number, one in enumerate(parts, 1)]


def _entry(place: Path, name: str, score: Scoring | None, scores_anew: bool) -> Entry:
    if not place.exists():
        siblings = [child.name for child in place.parent.iterdir()] if place.parent.is_dir() else []
        raise UsageError(
            "there is no such file or folder",
            where=str(place),
            expected=_EXPECTED,
            nearest=[str(place.parent / near) for near in closest(place.name, siblings)],
        )
    if place.is_dir() and is_run(place):
        entry = _of_run(place, name)
    elif place.is_dir() and not (place / MANIFEST).is_file():
        raise _no_entry(place)
    elif place.is_file() and _is_result(place):
        entry = _of_results(place, name)
    else:
        entry = Entry(name, place, predictions=read_predictions(place))
    return _scored(entry, score, scores_anew)


def _no_entry(place: Path) -> UsageError:
    is_model = (place / "config.json").is_file()
    run = next((parent for parent in place.resolve().parents if is_run(parent)), None)
    return UsageError(
        "the folder is a saved model, not a run" if is_model else "the folder is no run",
        where=str(place),
        expected=_EXPECTED,
        nearest=[] if run is None else [_as_said(run)],
    )


def _as_said(folder: Path) -> str:
    here = Path.cwd()
    return str(folder.relative_to(here)) if folder.is_relative_to(here) else str(folder)


def _is_result(file: Path) -> bool:
    """Whether the head of a JSON file says so; what is wrong with it is for its reader to tell."""
    try:
        with JsonStream(file) as stream:
            if stream.peek() != "{":
                return False
            for key in stream.object_keys():
                if key == "records":
                    return False
                value = stream.value()
                if key == "format":
                    return bool(value == RESULTS)
    except (OSError, MalformedJsonError, ValueError, RecursionError):
        return False
    return False


def _of_run(folder: Path, name: str) -> Entry:
    run = read_run(folder)
    entry = Entry(name, folder, run=run, notes=run.notes)
    results, predictions = folder / RESULTS_NAME, folder / PREDICTIONS_NAME
    if results.is_file():
        entry = replace(entry, evaluation=read_results(results))
    if predictions.is_file():
        entry = _with_predictions(entry, predictions)
    else:
        entry = _noted(entry, f"it has no {PREDICTIONS_NAME}, so no predictions are shown")
    if not results.is_file() and not predictions.is_file():
        entry = _noted(entry, f"it has no {RESULTS_NAME} either, so it has no metrics")
    return entry


def _of_results(file: Path, name: str) -> Entry:
    evaluation = read_results(file)
    entry = Entry(name, file, evaluation=evaluation)
    said = evaluation.path
    places = [] if said is None else [Path(said), file.parent / Path(said).name]
    place = next((place for place in places if place.is_file()), None)
    if place is None:
        return _noted(entry, f"its predictions ({said or 'not told'}) are not there to be shown")
    return _with_predictions(entry, place)


def _with_predictions(entry: Entry, place: Path) -> Entry:
    """The entry with its predictions, where its figures are of them."""
    evaluation = entry.evaluation
    if evaluation is not None and evaluation.sha256 not in (None, _digest(place)):
        return _noted(
            entry,
            f"{place.name} is not what its figures were made of (it has changed since), so no "
            "predictions are shown",
        )
    return replace(entry, predictions=read_predictions(place))


def _scored(entry: Entry, score: Scoring | None, scores_anew: bool) -> Entry:
    predictions = entry.predictions
    if predictions is None or score is None or (entry.evaluation and not scores_anew):
        return entry
    file = entry.path / PREDICTIONS_NAME if entry.run is not None else entry.path
    if entry.run is None and entry.evaluation is not None and entry.evaluation.path:
        file = Path(entry.evaluation.path)
    if not scores_anew and not any(record.prediction for record in predictions.records):
        return _noted(entry, "no metric was asked for that suits its pictures or sounds")
    try:
        return replace(entry, evaluation=score(predictions, prediction_path(file)))
    except DataError as error:
        return _noted(entry, f"its predictions cannot be scored ({error.problem})")


def _noted(entry: Entry, note: str) -> Entry:
    return replace(entry, notes=(*entry.notes, note))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
