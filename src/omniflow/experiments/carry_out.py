"""An experiment from its recipes to its report."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.assembly import construct_component
from omniflow.cache.frozen import open_cache
from omniflow.errors import ConfigError, OmniFlowError
from omniflow.evaluation.choices import choose_metrics
from omniflow.experiments.failures import Failure, attempted
from omniflow.experiments.one_run import carry_out, is_done, is_trained
from omniflow.experiments.options import ExperimentOptions
from omniflow.experiments.plan import ExperimentFolder, PlannedRun, check_seeds, with_seed
from omniflow.experiments.pool import claimed, in_processes
from omniflow.experiments.results import Results, collect
from omniflow.experiments.watcher import Watcher
from omniflow.experiments.written import write_all
from omniflow.generation.predict import check_task
from omniflow.tasks import Task
from omniflow.training.device import choose_device
from omniflow.training.filling import fill_cache
from omniflow.training.splits import open_datasets

if TYPE_CHECKING:
    from omniflow.interfaces import Objective
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry


@dataclass(frozen=True)
class Outcome:
    """How an experiment ended.

    Args:
        folder: Its folder, with `results.json`, `results.md` and `report.html`.
        results: What the runs that succeeded show, at each noise level.
        failures: Recipes and runs that did not.
    """

    folder: Path
    results: tuple[Results, ...]
    failures: tuple[Failure, ...]


class FailedExperimentError(OmniFlowError):
    """Not one run has succeeded; `failures` say why."""

    def __init__(self, failures: Sequence[Failure]) -> None:
        super().__init__(
            "no run has succeeded",
            notes=[f"{failure.title}: {failure.problem}" for failure in failures],
        )
        self.failures = tuple(failures)


def run_experiment(
    recipes: Mapping[str, Recipe],
    seeds: Sequence[int],
    output_dir: Path,
    *,
    registry: Registry,
    options: ExperimentOptions | None = None,
    jobs: int = 1,
    failures: Sequence[Failure] = (),
    watcher: Watcher | None = None,
) -> Outcome:
    """Train every recipe with every seed, try each out on the same records, and compare.

    What stands in the folder is not done again; a run that was stopped at any moment goes on and
    comes to the same weights. A run that fails does not keep the others from theirs.

    Args:
        recipes: Name -> resolved recipe, the first being what others are compared with.
        seeds: Of the runs; they take the place of the recipes' own.
        output_dir: The experiment's folder: new, empty, or that of the same recipes.
        registry: Where names are looked up; processes of their own look among installed plugins.
        options: What is made and measured.
        jobs: Runs at a time; with 1 they are carried out in this process.
        failures: Recipes that did not fit, which are told with the others.
        watcher: Who is told how it goes.

    Raises:
        UsageError: If an option, the folder or its content does not fit; nothing has been done.
        FailedExperimentError: If no run has succeeded.
        InterruptedRunError: If Ctrl-C or SIGTERM came; the same call goes on.
    """
    options, watcher = options or ExperimentOptions(), watcher or Watcher()
    _check(recipes, seeds, options, jobs, registry)
    folder = ExperimentFolder(output_dir)
    folder.check(recipes)
    with claimed(output_dir) as claim:
        folder.write(recipes, options)
        runs = list(folder.runs(list(recipes), seeds))
        left = [run for run in runs if not _is_done(run, recipes, options, registry)]
        watcher.planned(runs, left, jobs)
        if not all(is_trained(run.folder) for run in left):
            _do_frozen_work(recipes, len(seeds), registry, watcher)
        if jobs > 1:
            failed = in_processes(left, output_dir, jobs=jobs, watcher=watcher, claim=claim)
        else:
            failed = _here(left, recipes, options, registry, watcher)
        every = (*failures, *failed)
        unsuccessful = {(failure.name, failure.seed) for failure in failed}
        successful = [run for run in runs if (run.name, run.seed) not in unsuccessful]
        if not successful:
            raise FailedExperimentError(every)
        results = collect(successful, options)
        write_all(output_dir, results, options, every)
        return Outcome(output_dir, results, every)


def default_jobs(recipes: Mapping[str, Recipe], seeds: Sequence[int]) -> int:
    """Runs at a time that suit this machine: one a core for `tiny` without a graphics card, else 1.

    Larger models take all cores and all memory, and a card works on one run at a time.
    """
    is_small = all(
        recipe.backbone.name == "tiny" and choose_device(recipe.training.device).type == "cpu"
        for recipe in recipes.values()
    )
    return min(len(recipes) * len(seeds), os.cpu_count() or 1) if is_small else 1


def _check(
    recipes: Mapping[str, Recipe],
    seeds: Sequence[int],
    options: ExperimentOptions,
    jobs: int,
    registry: Registry,
) -> None:
    if not recipes:
        raise ConfigError("recipes", [], expected="at least one recipe")
    for name in recipes:
        if name != Path(name).name or name.startswith("."):
            raise ConfigError("recipes", name, expected="names that a folder can have")
    check_seeds(seeds)
    if jobs < 1:
        raise ConfigError("jobs", jobs, expected="a whole number >= 1")
    check_task(Task.parse(options.task, where="--task"))
    choose_metrics(options.metrics, registry, where="--metrics")


def _is_done(
    run: PlannedRun,
    recipes: Mapping[str, Recipe],
    options: ExperimentOptions,
    registry: Registry,
) -> bool:
    """Whether nothing is left to do; what is damaged is for the run to find."""
    try:
        return is_done(run.folder, with_seed(recipes[run.name], run.seed), options, registry)
    except OmniFlowError:
        return False


def _here(
    runs: Sequence[PlannedRun],
    recipes: Mapping[str, Recipe],
    options: ExperimentOptions,
    registry: Registry,
    watcher: Watcher,
) -> list[Failure]:
    """Carry out runs in this process, one after the other."""
    failures = []
    for run in runs:
        watcher.begun(run)

        def action(run: PlannedRun = run) -> None:
            recipe = with_seed(recipes[run.name], run.seed)
            carry_out(run, recipe, options, registry, watcher)

        failure = attempted(run, action)
        if failure is None:
            watcher.finished(run)
        else:
            failures.append(failure)
            watcher.failed(failure)
    return failures


def _do_frozen_work(
    recipes: Mapping[str, Recipe], seeds: int, registry: Registry, watcher: Watcher
) -> None:
    """Fill the cache once for all runs, where together they ask for all that there is.

    Runs of the same time would otherwise each compute what none has written yet.
    """
    alike: dict[str, list[Recipe]] = {}
    for recipe in recipes.values():
        same = (recipe.backbone, recipe.encoder, recipe.dataset, recipe.objective)
        alike.setdefault(repr(same), []).append(recipe)
    for same_work in alike.values():
        recipe = same_work[0]
        try:
            if open_cache(recipe.training) is None or not _reads_all(same_work, seeds, registry):
                continue
            with watcher.filling() as progress:
                fill_cache(recipe, registry=registry, progress=progress)
        except OmniFlowError:
            # The runs themselves meet it, and tell it as theirs.
            continue


def _reads_all(recipes: Sequence[Recipe], seeds: int, registry: Registry) -> bool:
    """Whether runs by these recipes read at least as many samples as the training split has."""
    recipe = recipes[0]
    objective: Objective = construct_component(registry, "objective", recipe.objective)
    dataset = open_datasets(
        recipe, registry, "train", objective.modalities, objective.task_weights()
    )
    if dataset.is_streaming:
        return False
    samples = len(dataset)
    read = sum(
        min(
            recipe.training.epochs * samples,
            (recipe.training.max_steps or samples)
            * recipe.training.batch_size
            * recipe.training.grad_accum,
        )
        for recipe in recipes
    )
    return seeds * read >= samples
