"""`omniflow train`: a head and a refiner on a frozen backbone, or the transformer itself."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniflow.errors import OmniFlowError
from omniflow.plugins import installed_plugins
from omniflow_cli import render
from omniflow_cli.dry_run import dry_run as try_out
from omniflow_cli.exits import OK
from omniflow_cli.flags import AsJson, Verbose, flag_of, naming_flags, text
from omniflow_cli.many_processes import launched, process_count
from omniflow_cli.push import show
from omniflow_cli.push_after import check_push, push_run
from omniflow_cli.recorded_packages import naming_packages
from omniflow_cli.run_draft import SETTINGS, draft_of, is_said
from omniflow_cli.run_place import AUTO, choose_place

if TYPE_CHECKING:
    from omniflow.hub.record import Pushed
    from omniflow.training.reporter import RunResult

MODEL, DATA, LOSS, LOOP, RUN = "Model", "Data", "Loss", "Loop", "Run"


def train(
    context: typer.Context,
    head: Annotated[str | None, text("Head by name.", "NAME", MODEL)] = None,
    refiner: Annotated[str | None, text("Refiner by name.", "NAME", MODEL)] = None,
    backbone: Annotated[
        str | None, text("Backbone by name, or a folder in the published layout.", "NAME", MODEL)
    ] = None,
    backbone_config: Annotated[
        str | None,
        text(
            "A transformer's config.json: train it from random weights. Or: published, its sizes.",
            "FILE",
            MODEL,
        ),
    ] = None,
    encoder: Annotated[
        list[str] | None, text("Encoder by name, repeatable.", "NAME", MODEL)
    ] = None,
    latent_dim: Annotated[
        str | None, text("Width that head and refiner work in; the backbone's.", "N", MODEL)
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
    objective: Annotated[str | None, text("Objective by name.", "NAME", LOSS)] = None,
    ce_weight: Annotated[str | None, text("Weight of the cross entropy.", "X", LOSS)] = None,
    mse_weight: Annotated[str | None, text("Weight of the latents' error.", "X", LOSS)] = None,
    contrastive_weight: Annotated[
        str | None, text("Weight of the contrastive term.", "X", LOSS)
    ] = None,
    vq_weight: Annotated[str | None, text("Weight of the commitment loss.", "X", LOSS)] = None,
    epochs: Annotated[str | None, text("Passes over the training split.", "N", LOOP)] = None,
    max_steps: Annotated[str | None, text("Steps after which to stop.", "N", LOOP)] = None,
    lr: Annotated[str | None, text("Peak learning rate.", "X", LOOP)] = None,
    lr_scale: Annotated[
        list[str] | None,
        text("Factor of a part's learning rate, repeatable: refiner=0.5.", "PART=X", LOOP),
    ] = None,
    weight_decay: Annotated[str | None, text("Weight decay of AdamW.", "X", LOOP)] = None,
    warmup_steps: Annotated[
        str | None, text("Steps over which the learning rate rises.", "N", LOOP)
    ] = None,
    lr_schedule: Annotated[
        str | None, text("cosine, linear or constant, after the warm-up.", "NAME", LOOP)
    ] = None,
    min_lr: Annotated[str | None, text("What the learning rate falls to; 0.", "X", LOOP)] = None,
    grad_accum: Annotated[
        str | None, text("Batches whose gradients make one step.", "N", LOOP)
    ] = None,
    ema_decay: Annotated[
        str | None, text("Decay of the average of trained weights; 0 for none.", "X", LOOP)
    ] = None,
    log_interval: Annotated[str | None, text("Steps between two log lines.", "N", LOOP)] = None,
    eval_interval: Annotated[str | None, text("Steps between two evaluations.", "N", LOOP)] = None,
    early_stopping: Annotated[
        str | None, text("Evaluations without a better one that end the run; 0: never.", "N", LOOP)
    ] = None,
    save_interval: Annotated[str | None, text("Steps between two checkpoints.", "N", LOOP)] = None,
    keep: Annotated[str | None, text("Step checkpoints kept, the newest.", "N", LOOP)] = None,
    precision: Annotated[str | None, text("auto, fp32, bf16 or fp16.", "NAME", LOOP)] = None,
    gradient_checkpointing: Annotated[
        bool | None,
        typer.Option(
            "--gradient-checkpointing/--no-gradient-checkpointing",
            help="Compute activations again in the backward pass: less memory, more time.",
            rich_help_panel=LOOP,
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None, text("auto, cpu, cuda, cuda:1 or mps; meta with --dry-run.", "NAME", LOOP)
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile",
            help="Compile the forward and backward pass with torch.compile; off.",
            rich_help_panel=LOOP,
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        bool | None,
        typer.Option(
            "--shard/--no-shard",
            help="Each of several processes keeps a part of the trained weights; off.",
            rich_help_panel=LOOP,
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        str | None, text("Processes that read samples ahead of the steps; 0.", "N", DATA)
    ] = None,
    seed: Annotated[str | None, text("Start of every random number.", "N", LOOP)] = None,
    cache: Annotated[
        bool | None,
        typer.Option(
            "--cache/--no-cache",
            help="Keep what frozen parts compute for the next run; on unless the recipe says no.",
            rich_help_panel=LOOP,
            show_default=False,
        ),
    ] = None,
    tracker: Annotated[
        list[str] | None,
        text("Tracker by name, repeatable: tensorboard, trackio or wandb.", "NAME", RUN),
    ] = None,
    num_processes: Annotated[
        str | None,
        text("Processes on this machine that share every step, one a GPU; 1.", "N", RUN),
    ] = None,
    recipe: Annotated[
        str | None, text("Recipe by name, or a YAML file; flags win over it.", "NAME|FILE", RUN)
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any option of the recipe, repeatable: head.codebook_size=4096; wins over flags.",
            metavar="KEY=VALUE",
            rich_help_panel=RUN,
            show_default=False,
        ),
    ] = None,
    output_dir: Annotated[
        str | None,
        text(
            "The run's folder, new or empty; runs/HEAD-REFINER or runs/OBJECTIVE, the next free.",
            "FOLDER",
            RUN,
        ),
    ] = None,
    resume: Annotated[
        str | None,
        text("auto: continue the run in the folder if there is one. Or: the run.", "auto|RUN", RUN),
    ] = None,
    push_to_hub: Annotated[
        str | None,
        text("Hub repository that the run is pushed to at its end; looked at before.", "REPO", RUN),
    ] = None,
    private: Annotated[
        bool,
        typer.Option(
            "--private",
            help="With --push-to-hub: make the repository private.",
            rich_help_panel=RUN,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check recipe, data, disk and memory, and time a step; write nothing.",
            rich_help_panel=RUN,
        ),
    ] = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> int:
    """Train head and refiner, or with them the transformer.

    The backbone is frozen; with --objective flow its transformer is trained on every task. Nothing
    needs to be said: there is an embedded backbone and an embedded dataset, and options that suit
    them. The run's folder holds its recipe, metrics, checkpoints, `best` and `final`.
    """
    from omniflow.draft import Draft
    from omniflow.resolve import resolve

    said: Mapping[str, Any] = context.params
    base = Draft.empty() if recipe is None else Draft.from_file(recipe, where="--recipe")
    place = choose_place(output_dir, resume, lambda: _stem(draft_of(said, base)))
    if place.is_resumed and recipe is None:
        base = Draft.from_file(str(place.folder))
    flags = {key: flag_of(name) for name, key in SETTINGS.items() if is_said(said[name])}
    if dry_run:
        count = process_count(num_processes)
        check_push(push_to_hub, private=private, is_dry=True)
        with naming_packages():
            return try_out(draft_of(said, base), place, flags, processes=count, as_json=as_json)
    registry = installed_plugins().registry
    with naming_packages():
        settled = resolve(draft_of(said, base), registry)
    count = process_count(num_processes)
    check_push(push_to_hub, private=private)

    # Everything above needs no torch and takes no time.
    from omniflow.training import trainer
    from omniflow.training.processes import Processes, is_one_of_many
    from omniflow_cli.progress import reporting

    if count > 1 and not is_one_of_many():
        return launched(context.obj, count)
    with naming_flags(flags):
        # All have settled on the same place before one of them writes to it.
        processes = Processes.join(settled.training.device)
    if processes.is_main:
        place.make_room()
        if resume == AUTO and not place.is_resumed:
            render.note(f"note: there is no run to resume in {place.folder}; starting one")
    watched = reporting(place.folder) if processes.is_main else nullcontext()
    with naming_flags(flags), watched as reporter:
        result = trainer.train(
            settled,
            output_dir=place.folder,
            registry=registry,
            resume=place.is_resumed,
            reporter=reporter,
        )
    processes.leave()
    if not processes.is_main:
        return OK
    return _ended(result, push_to_hub, private=private, as_json=as_json)


def _ended(result: RunResult, repo: str | None, *, private: bool, as_json: bool) -> int:
    """Push the run if that was asked for, and tell what came of it; a failed push is told last."""
    failure: OmniFlowError | None = None
    pushed: Pushed | None = None
    if repo is not None:
        try:
            pushed = push_run(result.folder, repo, private=private)
        except OmniFlowError as error:
            failure = error
    if as_json and failure is None:
        hub = {} if pushed is None else {"hub": pushed.to_dict()}
        render.as_json({**_content(result), **hub})
    elif not as_json:
        _show(result)
        if pushed is not None:
            show(pushed)
    if failure is not None:
        raise failure
    return OK


def _stem(draft: Any) -> str:
    """HEAD-REFINER, or the objective where it isn't the usual one, for the folder's name."""
    from omniflow.draft import DEFAULTS, Draft

    sections = draft.over(Draft.defaults()).sections
    objective: str = sections["objective"]["name"].value
    if objective != DEFAULTS["objective"]:
        return objective.replace(":", "-")
    return "-".join(sections[kind]["name"].value for kind in ("head", "refiner"))


def _content(result: RunResult) -> dict[str, Any]:
    return {
        "folder": str(result.folder),
        "steps": result.steps,
        "first": dict(result.first),
        "best": dict(result.best),
        "last": dict(result.last),
        "seconds": round(result.seconds, 3),
        "trainable": result.trainable,
        "texts_cut": result.texts_cut,
        "records_skipped": result.records_skipped,
        "records_unserved": result.records_unserved,
        "stopped_early": result.is_stopped_early,
    }


def _skipped(result: RunResult) -> str:
    """How many, and where they are listed."""
    if not result.records_skipped:
        return "0"
    return f"{result.records_skipped}, listed in {result.folder / 'skipped.jsonl'}"


def _unserved(result: RunResult) -> list[tuple[str, str]]:
    """How many were of no use, where any was."""
    count = result.records_unserved
    return [("records unserved", f"{count}, as they serve no task")] if count else []


def _show(result: RunResult) -> None:
    first, best = result.first, result.best
    changes = [
        (title, f"{first[name]:.4g} -> {best[name]:.4g}")
        for name, title in (
            ("ppl", "perplexity"),
            ("accuracy", "accuracy"),
            ("loss", "validation loss"),
        )
        if name in first and name in best
    ]
    render.facts(
        [
            ("run", str(result.folder)),
            ("steps", f"{result.steps} (best: {best['step']}) in {result.seconds:.1f} s"),
            ("trained", f"{result.trainable:,} parameters"),
            *changes,
            ("texts cut", str(result.texts_cut)),
            ("records skipped", _skipped(result)),
            *_unserved(result),
        ]
    )
    if result.steps and best["step"] == 0:
        render.note(
            "note: no evaluation was better than the untrained model's, which is what best/ holds; "
            "give the run more steps (--epochs, --max-steps) or more data"
        )
    render.line(f"next: omniflow generate --checkpoint {result.folder}")
