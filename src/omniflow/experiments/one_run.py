"""One run of an experiment: trained, tried out and scored, each as far as it isn't yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from omniflow.assembly import construct_component, load
from omniflow.checkpoints import checkpoint_folder, read_model_config
from omniflow.errors import DataError, UsageError
from omniflow.evaluation.choices import choose_metrics, construct_metrics, fitting_metrics
from omniflow.evaluation.predictions import read_predictions
from omniflow.evaluation.results import read_results, write_results
from omniflow.evaluation.scoring import evaluate_predictions
from omniflow.experiments.changes import changes_between
from omniflow.experiments.plan import plain_recipe
from omniflow.experiments.watcher import Watcher
from omniflow.generation.generate_file import generate_file
from omniflow.generation.partial import remove_partials, works_begun
from omniflow.generation.plan import GenerationPlan, plan_generation
from omniflow.hub.origins import data_name
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.tasks import Task
from omniflow.training.device import choose_device
from omniflow.training.joined import JoinedDataset
from omniflow.training.run_folder import RunFolder
from omniflow.training.trainer import train
from omniflow.version import __version__

if TYPE_CHECKING:
    from omniflow.evaluation.predictions import PredictionFile
    from omniflow.experiments.options import ExperimentOptions
    from omniflow.experiments.plan import PlannedRun
    from omniflow.interfaces import Backbone, Dataset
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import Choice, Recipe
    from omniflow.registry import Registry

#: Longest text in tokens that is made or scored, where an objective does not limit texts.
MAX_LENGTH = 256

#: Records that are generated at a time.
BATCH_SIZE = 32

#: Key of a prediction file under which stands what its texts were made by.
MADE_BY = "experiment"

Counting = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Attempt:
    """What a trained model makes at one noise level.

    Args:
        level: The level of a given text; None where no text is given.
        predictions: The file of what it makes.
        results: The file of the figures.
    """

    level: float | None
    predictions: Path
    results: Path


def carry_out(
    run: PlannedRun,
    recipe: Recipe,
    options: ExperimentOptions,
    registry: Registry,
    watcher: Watcher | None = None,
) -> None:
    """Train, generate and score; what stands already is left as it is.

    Raises:
        UsageError: If the folder holds the run of another recipe, or something does not fit.
        TrainingError: If the loss is not finite, memory runs out or the disk is full.
        InterruptedRunError: If Ctrl-C or SIGTERM came while training; the state is saved.
    """
    watcher = watcher or Watcher()
    _train(run.folder, recipe, registry, watcher)
    place = checkpoint_folder(run.folder)

    @cache
    def read() -> OmniFlowModel:
        return load(place, registry=registry).to(choose_device(recipe.training.device))

    for attempt in attempts_of(run.folder, options):
        made_by = _made_by(place, recipe, options, attempt)
        if _read_made_by(attempt.predictions) != made_by:
            records = _records(recipe, options, registry)
            plan = _plan(read().backbone, recipe, options, attempt.level or 0.0)
            about = {
                "model": str(place),
                "dataset": data_name(choice.to_dict() for choice in recipe.dataset),
                "split": options.split,
                MADE_BY: made_by,
            }
            with watcher.generating() as progress:
                _generate(
                    read(), records, plan, attempt.predictions, about, options.limit, progress
                )
        _score(attempt, options, registry)


def attempts_of(folder: Path, options: ExperimentOptions) -> list[Attempt]:
    """One for every noise level."""
    return [
        Attempt(level, options.predictions(folder, level), options.results(folder, level))
        for level in options.levels
    ]


def is_done(folder: Path, recipe: Recipe, options: ExperimentOptions, registry: Registry) -> bool:
    """Whether a run is trained, and tried out and scored as these options say."""
    if not is_trained(folder):
        return False
    place = checkpoint_folder(folder)
    for attempt in attempts_of(folder, options):
        if _read_made_by(attempt.predictions) != _made_by(place, recipe, options, attempt):
            return False
        choices = _metrics(read_predictions(attempt.predictions), options, registry)
        if not _is_scored(attempt, choices, options):
            return False
    return True


def is_trained(folder: Path) -> bool:
    """Whether all steps of a run are taken; what is written last says so."""
    return (folder / "final" / "config.json").is_file()


def _train(folder: Path, recipe: Recipe, registry: Registry, watcher: Watcher) -> None:
    is_begun = (folder / "recipe.yaml").is_file()
    if is_begun:
        _check_recipe(folder, recipe)
    if is_trained(folder):
        return
    is_resumable = RunFolder(folder).is_resumable
    if is_begun and not is_resumable:
        # Stopped before its first checkpoint: its first steps are taken again.
        shutil.rmtree(folder)
    with watcher.training(folder) as reporter:
        train(recipe, output_dir=folder, registry=registry, resume=is_resumable, reporter=reporter)


def _check_recipe(folder: Path, recipe: Recipe) -> None:
    path = folder / "recipe.yaml"
    before = yaml.safe_load(path.read_text(encoding="utf-8"))
    changes = changes_between(before, plain_recipe(recipe))
    if changes:
        raise UsageError(
            "the run in this folder is of another recipe",
            where=str(path),
            expected="the same recipe to go on with it",
            notes=changes,
        )


def _generate(
    model: OmniFlowModel,
    records: Dataset,
    plan: GenerationPlan,
    target: Path,
    about: Mapping[str, Any],
    limit: int | None,
    progress: Counting,
) -> None:
    made_by = about[MADE_BY]
    if any(not made_by.items() <= work.items() for work in works_begun(target)):
        # Begun with other options, which nobody asks for any more.
        remove_partials(target)
    generate_file(
        model, records, plan, target, about=about, work=made_by, batch_size=BATCH_SIZE,
        limit=limit, progress=progress,
    )  # fmt: skip


def _plan(
    backbone: Backbone, recipe: Recipe, options: ExperimentOptions, level: float
) -> GenerationPlan:
    task = Task.parse(options.task)
    max_length = recipe.objective.options.get("max_length", MAX_LENGTH)
    return plan_generation(
        backbone,
        task,
        noise_level=level,
        steps=options.steps,
        seed=options.generation_seed,
        max_length=max_length,
        decoding=TextDecoding(max_new_tokens=max_length),
    )


def _made_by(
    place: Path, recipe: Recipe, options: ExperimentOptions, attempt: Attempt
) -> dict[str, Any]:
    """What texts are made by, as plain data: other predictions are made again."""
    said = options.to_dict()
    return {
        "version": __version__,
        "weights": read_model_config(place / "config.json").get("weights_hash"),
        "datasets": plain_recipe(recipe)["dataset"],
        "noise_level": attempt.level,
        **{name: said[name] for name in ("task", "steps", "split", "limit", "generation_seed")},
    }


def _read_made_by(path: Path) -> Any:
    """What the predictions in a file were made by; None where there are none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get(MADE_BY) if isinstance(content, dict) else None


def _records(recipe: Recipe, options: ExperimentOptions, registry: Registry) -> Dataset:
    """The records of the split, several datasets one after the other."""
    parts: list[Dataset] = [
        construct_component(registry, "dataset", choice, split=options.split)
        for choice in recipe.dataset
    ]
    for part in parts:
        part.restrict_to({"text", *Task.parse(options.task).given})
    names = [choice.name for choice in recipe.dataset]
    return parts[0] if len(parts) == 1 else JoinedDataset(parts, names)


def _metrics(
    file: PredictionFile, options: ExperimentOptions, registry: Registry
) -> dict[str, Choice]:
    """The metrics that were asked for, or those that suit the predictions."""
    names = options.metrics or fitting_metrics(file.records)
    return choose_metrics(names, registry, where="--metrics")


def _score(attempt: Attempt, options: ExperimentOptions, registry: Registry) -> None:
    file = read_predictions(attempt.predictions)
    choices = _metrics(file, options, registry)
    if _is_scored(attempt, choices, options):
        return
    evaluation = evaluate_predictions(
        file, construct_metrics(choices, registry), choices=choices,
        resamples=options.resamples, path=attempt.predictions,
    )  # fmt: skip
    write_results(attempt.results, evaluation)


def _is_scored(attempt: Attempt, choices: Mapping[str, Choice], options: ExperimentOptions) -> bool:
    """Whether the results are of these predictions, metrics and resamples."""
    try:
        evaluation = read_results(attempt.results)
    except DataError:
        return False
    with attempt.predictions.open("rb") as file:
        is_of_these = evaluation.sha256 == file_digest(file, "sha256").hexdigest()
    figures = evaluation.figures.values()
    drawn = [f.interval.resamples or 0 for f in figures if f.interval is not None]
    wanted = [(choice.name, dict(choice.options)) for choice in choices.values()]
    found = [(figure.component, dict(figure.options or {})) for figure in figures]
    return is_of_these and found == wanted and max(drawn, default=0) == options.resamples
