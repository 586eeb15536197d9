"""`omniflow experiment`: recipes side by side, each with several seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniflow.errors import ConfigError, MistakesError, UsageError
from omniflow.plugins import installed_plugins
from omniflow_cli import render
from omniflow_cli.exits import FAULT, MISTAKE, OK
from omniflow_cli.experiment_recipes import named_recipes
from omniflow_cli.flags import AsJson, Verbose, checked_flags, flag_of, text
from omniflow_cli.run_draft import LISTS, NAMES, SETTINGS, draft_of

if TYPE_CHECKING:
    from omniflow.draft import Draft
    from omniflow.experiments.carry_out import Outcome
    from omniflow.experiments.failures import Failure
    from omniflow.recipe import Recipe

MODEL, DATA, LOOP, TRIED, RUN = "Model", "Data", "Loop", "What is made and measured", "Experiment"

#: Steps of a run on a backbone when neither recipe nor flag says steps or epochs: with them four
#: recipes by three seeds take less than half an hour on two cores.
STEPS = {"tiny": 200}

DEFAULT_SEEDS, DEFAULT_FOLDER = "0,1,2", "experiments/experiment"


def experiment(
    context: typer.Context,
    recipes: Annotated[
        list[str],
        typer.Argument(
            help="Recipes by name, YAML files or runs, at least one.",
            metavar="RECIPE...",
        ),
    ],
    seeds: Annotated[
        str, text("Seeds, each a run of every recipe; 0,1,2.", "N,N", RUN)
    ] = DEFAULT_SEEDS,
    output_dir: Annotated[
        str,
        text(
            f"The experiment's folder; what stands in it is not done again. {DEFAULT_FOLDER}.",
            "FOLDER",
            RUN,
        ),
    ] = DEFAULT_FOLDER,
    jobs: Annotated[
        str | None,
        text("Runs at a time; for tiny without a graphics card one a core, else 1.", "N", RUN),
    ] = None,
    backbone: Annotated[
        str | None, text("Backbone by name, or a folder in the published layout.", "NAME", MODEL)
    ] = None,
    encoder: Annotated[
        list[str] | None, text("Encoder by name, repeatable.", "NAME", MODEL)
    ] = None,
    dataset: Annotated[
        list[str] | None,
        text("Dataset by name, repeatable; with a weight to mix by: coco:2.", "NAME[:X]", DATA),
    ] = None,
    data_config: Annotated[
        str | None,
        text("Datasets of the original scripts: data.yml or data_config.json.", "FILE", DATA),
    ] = None,
    batch_size: Annotated[str | None, text("Samples a forward pass.", "N", DATA)] = None,
    max_length: Annotated[str | None, text("Longest text in tokens.", "N", DATA)] = None,
    epochs: Annotated[str | None, text("Passes over the training split.", "N", LOOP)] = None,
    max_steps: Annotated[
        str | None, text("Steps after which a run stops; on tiny 200.", "N", LOOP)
    ] = None,
    lr: Annotated[str | None, text("Peak learning rate.", "X", LOOP)] = None,
    warmup_steps: Annotated[
        str | None, text("Steps over which the learning rate rises.", "N", LOOP)
    ] = None,
    eval_interval: Annotated[str | None, text("Steps between two evaluations.", "N", LOOP)] = None,
    save_interval: Annotated[str | None, text("Steps between two checkpoints.", "N", LOOP)] = None,
    precision: Annotated[str | None, text("auto, fp32, bf16 or fp16.", "NAME", LOOP)] = None,
    device: Annotated[str | None, text("auto, cpu, cuda, cuda:1 or mps.", "NAME", LOOP)] = None,
    cache: Annotated[
        bool | None,
        typer.Option(
            "--cache/--no-cache",
            help="Share what frozen parts compute among the runs; on unless a recipe says no.",
            rich_help_panel=LOOP,
            show_default=False,
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any option of the recipes, repeatable: training.lr=1e-4; of one of them: "
            "vq:head.codebook_size=256.",
            metavar="[RECIPE:]KEY=VALUE",
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    task: Annotated[str | None, text("A task that makes text; t2t.", "TASK", TRIED)] = None,
    noise_levels: Annotated[
        str | None, text("Levels of noise in the given text, 0 to 1; 0.5,0.", "X,X", TRIED)
    ] = None,
    steps: Annotated[str | None, text("Denoising steps from there; 14.", "N", TRIED)] = None,
    split: Annotated[str | None, text("Split of the datasets; test.", "NAME", TRIED)] = None,
    limit: Annotated[str | None, text("Records, the same for all runs; 300.", "N", TRIED)] = None,
    metrics: Annotated[
        str | None, text("Names separated by commas; what suits predictions.", "NAME,NAME", TRIED)
    ] = None,
    resamples: Annotated[
        str | None, text("Draws of records for intervals; 1000.", "N", TRIED)
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Train recipes with several seeds, and compare.

    All are tried out on the same records. Stopped at any moment, the same command goes on; what is
    finished is not done again. A run that fails is told at the end, and does not keep the others
    from theirs.
    """
    from omniflow.experiments.options import ExperimentOptions

    said: dict[str, Any] = dict(context.params)
    numbers = {name: said[name] for name in ("task", "steps", "split", "limit", "resamples")}
    numbers["metrics"] = None if metrics is None else [one for one in metrics.split(",") if one]
    numbers["noise_levels"] = None if noise_levels is None else _levels(noise_levels)
    options = checked_flags(ExperimentOptions, numbers, owner="experiment")
    chosen_seeds = _seeds(seeds)
    count = None if jobs is None else _jobs(jobs)
    settled, failures = _resolved(named_recipes(recipes), said)

    # Everything above needs no torch and takes no time.
    from omniflow.experiments.carry_out import default_jobs, run_experiment
    from omniflow_cli.experiment_progress import ExperimentProgress

    watcher = ExperimentProgress()
    for failure in failures:
        watcher.failed(failure)
    outcome = run_experiment(
        settled,
        chosen_seeds,
        Path(output_dir),
        registry=installed_plugins().registry,
        options=options,
        jobs=count or default_jobs(settled, chosen_seeds),
        failures=failures,
        watcher=watcher,
    )
    if as_json:
        written = (outcome.folder / "results.json").read_text(encoding="utf-8")
        render.as_json({"folder": str(outcome.folder), **json.loads(written)})
    else:
        _show(outcome)
    return _code(outcome.failures)


def _resolved(
    named: Mapping[str, Any], said: Mapping[str, Any]
) -> tuple[dict[str, Recipe], list[Failure]]:
    """Every recipe with the flags over it; one that does not fit is a failure of its own.

    Raises:
        UsageError: If none fits.
    """
    from omniflow.experiments.failures import failure_of
    from omniflow.resolve import resolve

    known = {*NAMES, *LISTS, *SETTINGS, "backbone", "data_config"}
    flags: dict[str, Any] = {name: said.get(name) for name in known}
    settings = said["setting"] or []
    registry = installed_plugins().registry
    settled: dict[str, Recipe] = {}
    mistakes: dict[str, UsageError] = {}
    for name, base in named.items():
        try:
            own = {**flags, "setting": _settings_of(name, named, settings)}
            settled[name] = resolve(_with_steps(draft_of(own, base)), registry)
        except UsageError as error:
            mistakes[name] = error
    if not settled:
        told = list({error.render(): error for error in mistakes.values()}.values())
        raise told[0] if len(told) == 1 else MistakesError(told)
    return settled, [failure_of(name, None, error) for name, error in mistakes.items()]


def _with_steps(draft: Draft) -> Draft:
    """The draft with this command's own number of steps, where none is said."""
    from omniflow.draft import Draft

    sections = draft.over(Draft.defaults()).sections
    steps = STEPS.get(str(sections["backbone"]["name"].value))
    if steps is None or {"max_steps", "epochs"} & sections.get("training", {}).keys():
        return draft
    below = Draft.from_mapping({"training": {"max_steps": steps}}, where="omniflow experiment")
    return draft.over(below)


def _settings_of(name: str, names: Mapping[str, Any], settings: Sequence[str]) -> list[str]:
    """What `--set` says to a recipe: all without a recipe's name before them, and its own."""
    found = []
    for setting in settings:
        owner, colon, rest = setting.partition(":")
        is_owned = bool(colon) and "=" not in owner and "." not in owner
        if is_owned and owner not in names:
            raise UsageError(
                f"there is no recipe {owner} in this experiment",
                where="--set",
                expected=f"one of {', '.join(names)} before the colon, or none",
            )
        if not is_owned:
            found.append(setting)
        elif owner == name:
            found.append(rest)
    return found


def _levels(said: str) -> list[float]:
    try:
        return [float(one) for one in said.split(",")]
    except ValueError as error:
        raise ConfigError(
            "noise_levels", said, expected="numbers separated by commas, such as 0.5,0",
            where="--noise-levels",
        ) from error  # fmt: skip


def _seeds(said: str) -> list[int]:
    from omniflow.experiments.plan import check_seeds

    try:
        seeds = [int(one) for one in said.split(",") if one.strip()]
        check_seeds(seeds)
    except ValueError as error:
        raise ConfigError(
            "seeds", said, expected="whole numbers separated by commas, such as 0,1,2",
            where="--seeds",
        ) from error  # fmt: skip
    except ConfigError as error:
        error.where = "--seeds"
        raise
    return seeds


def _jobs(said: str) -> int:
    if not said.isascii() or not said.isdecimal() or int(said) < 1:
        raise ConfigError("jobs", said, expected="a whole number >= 1", where=flag_of("jobs"))
    return int(said)


def _code(failures: Sequence[Failure]) -> int:
    if not failures:
        return OK
    return MISTAKE if all(failure.is_mistake for failure in failures) else FAULT


def _show(outcome: Outcome) -> None:
    from omniflow.experiments.tables import contrasts_table, means_table, verdicts

    for results in outcome.results:
        for table in (means_table(results), contrasts_table(results)):
            if table.rows:
                render.line(table.title)
                render.headed_table(table.headers, table.rows, right=table.figures())
    for results in outcome.results:
        for sentence in verdicts(results):
            render.line(sentence)
    for table in (means_table(outcome.results[0]), contrasts_table(outcome.results[0])):
        if table.rows:
            render.note(f"note: {table.note}")
    for failure in outcome.failures:
        render.note(f"failed: {failure.title}: {failure.problem}")
    for name in ("results.json", "results.md", "report.html"):
        render.note(f"written: {outcome.folder / name}")
