"""The training loop: one for every objective and every component."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from omniflow.assembly import assemble, check_backbone, construct_component, read_config
from omniflow.cache.frozen import cached, open_cache
from omniflow.errors import ConfigError, DataError, TrainingError
from omniflow.interfaces import Dataset, Objective
from omniflow.recipe import Recipe
from omniflow.seeds import mixed_seed
from omniflow.training.device import autocast, choose_device
from omniflow.training.ema import DecaySchedule, WeightAverage
from omniflow.training.failures import failures_told
from omniflow.training.interrupts import InterruptedRunError, Interrupts
from omniflow.training.order import BatchOrder, JoinedDataset
from omniflow.training.reporter import Reporter, RunResult
from omniflow.training.run_folder import RunFolder
from omniflow.training.schedule import Plan
from omniflow.training.state import optimizer_tensors, restore_optimizer

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel
    from omniflow.registry import Registry

#: Keeps the random numbers of evaluations apart from those of training steps.
EVALUATION_SEED = 0x5EED


def train(
    recipe: Recipe,
    *,
    output_dir: Path,
    registry: Registry,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> RunResult:
    """Carry out a recipe: assemble the model, train it, and write the run's folder.

    Args:
        recipe: The resolved recipe.
        output_dir: The run's folder; must be empty or new unless resuming.
        registry: Where the recipe's names are looked up.
        resume: Continue from the folder's latest checkpoint.
        reporter: Who is told what happens.

    Raises:
        UsageError: If recipe, data or folder do not fit; nothing has been written then.
        TrainingError: If the loss is not finite, memory runs out or the disk is full; the last
            checkpoint stands.
        InterruptedRunError: If Ctrl-C or SIGTERM came; the state is saved.
    """
    device = choose_device(recipe.training.device)
    objective: Objective = construct_component(registry, "objective", recipe.objective)
    training_set = open_datasets(recipe, registry, "train", objective.modalities)
    validation_set = open_datasets(recipe, registry, "validation", objective.modalities)
    folder = RunFolder(output_dir)
    folder.check(resuming=resume)
    cache = open_cache(recipe.training)
    with failures_told(device, "while the model was read"):
        model = assemble(recipe, registry, device=device)
    objective.check(model)
    loop = TrainingLoop(
        recipe, model, objective, training_set, validation_set, folder, reporter or Reporter()
    )
    loop.reporter.assembled(recipe, model.summary())
    if resume:
        loop.restore()
    # Also when resuming: flags may have changed what the rest of the run does.
    folder.write_recipe(recipe)
    with (
        failures_told(device, lambda: f"after step {loop.step}", folder.kept),
        cached(model.frozen, cache),
    ):
        return loop.run()


def open_datasets(
    recipe: Recipe, registry: Registry, split: str, modalities: Collection[str]
) -> Dataset:
    """One split of the recipe's datasets, as one dataset that brings the given modalities.

    Raises:
        DataError: If no dataset is named, or one of them has nothing in this split.
    """
    if not recipe.dataset:
        raise DataError("the recipe names no dataset", expected="at least one, such as scenes")
    parts: list[Dataset] = []
    for choice in recipe.dataset:
        part: Dataset = construct_component(registry, "dataset", choice, split=split)
        part.restrict_to(modalities)
        if len(part) == 0:
            raise DataError(f"the {split} split of dataset {choice.name} is empty")
        parts.append(part)
    return parts[0] if len(parts) == 1 else JoinedDataset(parts)


class TrainingLoop:
    """State of a run in progress.

    Random numbers are drawn from torch's global generator, which is seeded anew from the recipe's
    seed and the step's number before every step: that is what makes a resumed run exact.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: OmniFlowModel,
        objective: Objective,
        training_set: Dataset,
        validation_set: Dataset,
        folder: RunFolder,
        reporter: Reporter,
    ) -> None:
        self.options = recipe.training
        self.model = model
        self.objective = objective
        self.validation_set = validation_set
        self.folder = folder
        self.reporter = reporter
        self.order = BatchOrder(training_set, self.options.batch_size, self.options.seed)
        self.plan = Plan.of(self.options, len(training_set))
        parameters = list(model.trainable_parameters())
        if not parameters:
            raise ConfigError(
                "head", "without parameters", expected="something to train in head or refiner"
            )
        self.optimizer = torch.optim.AdamW(
            parameters, lr=self.options.lr, weight_decay=self.options.weight_decay
        )
        self.average = self._make_average()
        self.step = 0
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}
        self.evaluations: dict[str, dict[str, float]] = {}
        self.texts_cut = 0

    def run(self) -> RunResult:
        """Take the steps that are left, evaluating, logging and saving on the way."""
        started = time.perf_counter()
        self.interval_start = started
        with Interrupts() as interrupts:
            if "first" not in self.evaluations:
                self._evaluate()
            self.reporter.started(self.plan, self.step, self.order.dataset.notices())
            while self.step < self.plan.total_steps:
                self._take_step()
                self._after_step()
                if interrupts.received is not None:
                    self._check_finite()
                    saved = self._save()
                    raise InterruptedRunError(interrupts.received, str(saved), self.step)
        with self._averaged():
            self.model.save_pretrained(self.folder.path / "final")
        result = self._result(time.perf_counter() - started)
        self.reporter.finished(result)
        return result

    def restore(self) -> None:
        """Take up the latest checkpoint of the folder.

        Raises:
            CheckpointError: If there is none or it does not belong to this recipe.
        """
        trained, tensors, state = self.folder.read_checkpoint()
        config = read_config(self.folder.latest / "config.json")
        check_backbone(self.model, config["backbone_identity"], self.folder.latest)
        self.model.load_trained_state(trained, where=str(self.folder.latest))
        restore_optimizer(self.optimizer, tensors)
        device = self.model.device
        self.sums = {
            key.removeprefix("sum."): value.to(device)
            for key, value in tensors.items()
            if key.startswith("sum.")
        }
        self.counts = dict(state["counts"])
        if self.average is not None:
            self.average.restore(tensors, state.get("ema_updates", 0))
        self.step = state["step"]
        self.evaluations = state["evaluations"]
        self.texts_cut = state["texts_cut"]
        self.folder.forget_metrics_after(self.step)

    def _take_step(self) -> None:
        options = self.options
        torch.manual_seed(mixed_seed(options.seed, self.step))
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        for part in range(options.grad_accum):
            samples = self.order.batch(self.step * options.grad_accum + part)
            batch = self.objective.collate(self.model, samples)
            with autocast(self.model.device, options.precision):
                losses = self.objective.losses(self.model, batch)
            (losses.total / options.grad_accum).backward()  # type: ignore[no-untyped-call]
            self._add_up({**losses.terms, "loss": losses.total}, options.grad_accum)
            self.texts_cut += self.objective.texts_cut(batch)
        # Clip before the step: clipping after it bounds a gradient nobody uses again.
        norm = torch.nn.utils.clip_grad_norm_(self.model.trainable_parameters(), options.grad_clip)
        self._add_up({"grad_norm": norm}, 1)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr(self.step)
        self.optimizer.step()
        self.step += 1
        if self.average is not None:
            self.average.after_step(self.step)
        self.reporter.stepped(self.step)

    def _add_up(self, figures: Mapping[str, Tensor], parts: int) -> None:
        """Keep sums on the device; they are looked at when logging only."""
        for name, value in figures.items():
            share = value.detach().float() / parts
            self.sums[name] = self.sums[name] + share if name in self.sums else share
            self.counts[name] = self.counts.get(name, 0.0) + 1 / parts

    def _after_step(self) -> None:
        options = self.options
        is_last = self.step == self.plan.total_steps
        is_evaluated = is_last or self.step % options.eval_interval == 0
        is_saved = is_last or self.step % options.save_interval == 0
        if is_evaluated or is_saved or self.step % options.log_interval == 0:
            self._check_finite()
        if is_last or self.step % options.log_interval == 0:
            self._log()
        if is_evaluated:
            self._evaluate()
        if is_saved:
            self._save()

    def _check_finite(self) -> None:
        """Stop before numbers that are none reach a checkpoint."""
        figures = {name: float(value) for name, value in self.sums.items()}
        broken = {name: value for name, value in figures.items() if not math.isfinite(value)}
        if not broken:
            return
        raise TrainingError(
            f"loss is not finite at step {self.step} "
            f"({', '.join(f'{name}: {value}' for name, value in broken.items())})",
            notes=[
                self.folder.kept(),
                "try a smaller --lr, --precision fp32, or a smaller weight of the term named above",
            ],
        )

    def _log(self) -> None:
        steps = self.step % self.options.log_interval or self.options.log_interval
        # A term may be missing from some steps: its mean is over those that had it.
        means = {name: float(value) / self.counts[name] for name, value in self.sums.items()}
        now = time.perf_counter()
        seconds, self.interval_start = now - self.interval_start, now
        figures = {
            # First, so that a component's figure never takes the place of one of these below.
            **self.model.head.statistics(),
            **means,
            "step": self.step,
            "split": "train",
            "epoch": self.step / self.plan.steps_per_epoch,
            "lr": self.plan.lr(self.step - 1),
            "texts_cut": self.texts_cut,
            "seconds": round(seconds, 3),
            "samples_per_s": round(
                steps * self.options.batch_size * self.options.grad_accum / seconds, 2
            ),
        }
        self.sums, self.counts = {}, {}
        self.folder.append_metrics(figures)
        self.reporter.logged(figures)

    def _make_average(self) -> WeightAverage | None:
        options = self.options
        if not options.ema_decay:
            return None
        return WeightAverage(
            dict(self.model.named_trainable()),
            DecaySchedule(options.ema_decay),
            start=options.ema_start,
            interval=options.ema_interval,
        )

    def _averaged(self) -> AbstractContextManager[None]:
        """While entered, the model holds the average of its weights, where one is kept."""
        return nullcontext() if self.average is None else self.average.applied()

    def _evaluate(self) -> None:
        """Measure the validation split; the best so far goes to `best/`."""
        with torch.no_grad(), self._averaged():
            self._evaluate_weights()

    def _evaluate_weights(self) -> None:
        started = time.perf_counter()
        self.model.eval()
        sums: dict[str, float] = {}
        options = self.options
        count = min(len(self.validation_set), options.eval_batches * options.batch_size)
        for start in range(0, count, options.batch_size):
            torch.manual_seed(mixed_seed(options.seed ^ EVALUATION_SEED, start))
            samples = [
                self.validation_set[index]
                for index in range(start, min(start + options.batch_size, count))
            ]
            batch = self.objective.collate(self.model, samples)
            with autocast(self.model.device, options.precision):
                measured = self.objective.measure(self.model, batch)
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        figures: dict[str, Any] = {
            "step": self.step,
            "split": "validation",
            **self.objective.summarise(sums),
            "seconds": round(time.perf_counter() - started, 3),
        }
        is_best = self._is_best(figures)
        self.evaluations["last"] = figures
        self.evaluations.setdefault("first", figures)
        if is_best:
            self.evaluations["best"] = figures
            self.model.save_pretrained(self.folder.path / "best")
        self.folder.append_metrics(figures)
        self.reporter.evaluated(figures, is_best=is_best)
        # Evaluating is not training: keep it out of the speed of the log interval around it.
        self.interval_start += time.perf_counter() - started

    def _is_best(self, figures: Mapping[str, float]) -> bool:
        if "best" not in self.evaluations:
            return True
        name = self.objective.best_by
        ahead = self.evaluations["best"][name] - figures[name]
        return ahead > 0 if self.objective.best_is_lowest else ahead < 0

    def _save(self) -> Path:
        tensors = {
            **optimizer_tensors(self.optimizer),
            **{f"sum.{name}": value for name, value in self.sums.items()},
        }
        state = {
            "step": self.step,
            "evaluations": self.evaluations,
            "texts_cut": self.texts_cut,
            "counts": self.counts,
        }
        if self.average is not None:
            tensors |= self.average.tensors()
            state["ema_updates"] = self.average.updates
        saved = self.folder.save_checkpoint(self.model, tensors, state, keep=self.options.keep)
        self.reporter.saved(saved)
        return saved

    def _result(self, seconds: float) -> RunResult:
        return RunResult(
            folder=self.folder.path,
            steps=self.step,
            best=self.evaluations["best"],
            first=self.evaluations["first"],
            last=self.evaluations["last"],
            seconds=seconds,
            trainable=sum(p.numel() for p in self.model.trainable_parameters()),
            texts_cut=self.texts_cut,
        )
