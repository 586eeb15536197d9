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
from omniflow.draws import Draws
from omniflow.errors import CheckpointError, ConfigError, DataError, TrainingError
from omniflow.interfaces import HEAD_LOSSES, Batch, Dataset, Losses, Objective
from omniflow.recipe import Recipe
from omniflow.seeds import mixed_seed
from omniflow.training.device import autocast, choose_device
from omniflow.training.ema import DecaySchedule, WeightAverage
from omniflow.training.failures import failures_told
from omniflow.training.interrupts import InterruptedRunError, Interrupts
from omniflow.training.order import JoinedDataset, SampleOrder
from omniflow.training.processes import Processes, absence_told
from omniflow.training.reporter import Reporter, RunResult
from omniflow.training.run_folder import RunFolder
from omniflow.training.schedule import Plan
from omniflow.training.state import optimizer_tensors, restore_optimizer
from omniflow.training.step import LossModule, Shares

if TYPE_CHECKING:
    from accelerate import Accelerator

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
    processes = Processes.join(recipe.training.device)
    local_rank = processes.local_rank if processes.count > 1 else None
    device = choose_device(recipe.training.device, local_rank)
    objective: Objective = construct_component(registry, "objective", recipe.objective)
    training_set = open_datasets(recipe, registry, "train", objective.modalities)
    validation_set = open_datasets(recipe, registry, "validation", objective.modalities)
    folder = RunFolder(output_dir)
    processes.on_main(lambda: folder.check(resuming=resume))
    cache = open_cache(recipe.training)
    with failures_told(device, "while the model was read"):
        model = assemble(recipe, registry, device=device)
    objective.check(model)
    loop = TrainingLoop(
        recipe, model, objective, training_set, validation_set, folder,
        reporter if reporter and processes.is_main else Reporter(), processes,
    )  # fmt: skip
    loop.reporter.assembled(recipe, model.summary())
    if resume:
        loop.restore()
    # Also when resuming: flags may have changed what the rest of the run does.
    processes.on_main(lambda: folder.write_recipe(recipe))
    with (
        failures_told(device, lambda: f"after step {loop.step}", folder.kept),
        absence_told(lambda: f"after step {loop.step}", folder.kept),
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

    What is random about a sample comes from the recipe's seed and the sample's position in the run;
    torch's global generator, for what draws from it besides (dropout), is seeded anew before every
    batch. That is what makes a resumed run exact, and several processes agree with one.
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
        processes: Processes,
    ) -> None:
        self.options = recipe.training
        self.model = model
        self.objective = objective
        self.validation_set = validation_set
        self.folder = folder
        self.reporter = reporter
        self.processes = processes
        self.order = SampleOrder(training_set, self.options.seed)
        self.samples_a_step = self.options.batch_size * self.options.grad_accum * processes.count
        parameters = list(model.trainable_parameters())
        if not parameters:
            raise ConfigError(
                "head", "without parameters", expected="something to train in head or refiner"
            )
        self.accelerator = make_accelerator(processes, model.device)
        self.module, self.optimizer = self.accelerator.prepare(
            LossModule(model, objective, self.options.precision),
            torch.optim.AdamW(
                parameters, lr=self.options.lr, weight_decay=self.options.weight_decay
            ),
        )
        self.average = self._make_average()
        self.step = 0
        self.position = 0
        self.plan = self._make_plan()
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, float] = {}
        self.evaluations: dict[str, dict[str, float]] = {}
        self.texts_cut = 0
        self.texts_cut_here = 0

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
                self._stop_if_asked(interrupts)
        with self._averaged():
            self._save_model("final")
        result = self._result(time.perf_counter() - started)
        self.reporter.finished(result)
        return result

    def _stop_if_asked(self, interrupts: Interrupts) -> None:
        """Save and leave when any of the processes got a signal."""
        received = [
            number for number in self.processes.gather(interrupts.received) if number is not None
        ]
        if received:
            self._check_finite()
            saved = self._save()
            raise InterruptedRunError(received[0], str(saved), self.step)

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
            # What all processes have added up is the main one's from then on.
            key.removeprefix("sum."): value.to(device) * self.processes.is_main
            for key, value in tensors.items()
            if key.startswith("sum.")
        }
        self.counts = dict(state["counts"])
        if self.average is not None:
            self.average.restore(tensors, state.get("ema_updates", 0))
        self.step = state["step"]
        if "position" not in state:
            raise CheckpointError(
                "it does not say how many samples it has read",
                where=str(self.folder.latest),
                expected="a checkpoint of this version",
            )
        self.position = state["position"]
        self.plan = self._make_plan()
        self.evaluations = state["evaluations"]
        self.texts_cut = state["texts_cut"]
        self.processes.on_main(lambda: self.folder.forget_metrics_after(self.step))

    def _make_plan(self) -> Plan:
        return Plan.of(
            self.options,
            len(self.order.dataset),
            processes=self.processes.count,
            steps_done=self.step,
            samples_done=self.position,
        )

    def _take_step(self) -> None:
        batches = [self._batch(part) for part in range(self.options.grad_accum)]
        shares = Shares.of([self.objective.counts(batch) for batch in batches], self.processes)
        self._check_alike(shares)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        for part, batch in enumerate(batches):
            self._add_gradients(part, batch, shares)
        if self._is_reduced_here:
            self.processes.average_gradients(self.model.trainable_parameters())
        # Clip before the step: clipping after it bounds a gradient nobody uses again.
        norm = self.accelerator.clip_grad_norm_(
            self.model.trainable_parameters(), self.options.grad_clip
        )
        self._add_up({"grad_norm": norm / self.processes.count})
        for name in ("loss", "grad_norm", *shares.totals):
            self.counts[name] = self.counts.get(name, 0.0) + 1.0
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr(self.step)
        self.optimizer.step()
        self.step += 1
        self.position += self.samples_a_step
        if self.average is not None:
            self.average.after_step(self.step)
        self.reporter.stepped(self.step)

    def _batch(self, part: int) -> Batch:
        """One of this process's batches of the step that comes."""
        size, processes = self.options.batch_size, self.processes
        first = self.position + (part * processes.count + processes.rank) * size
        positions = range(first, first + size)
        draws = Draws.at(self.options.seed, positions, self.step)
        batch = self.objective.collate(self.model, self.order.samples(positions), draws)
        self.texts_cut_here += self.objective.texts_cut(batch)
        return batch

    def _check_alike(self, shares: Shares) -> None:
        """Refuse a step in which a head that counts what it sees would wait for others for ever.

        Raises:
            DataError: If it is one.
        """
        if shares.are_alike or next(self.model.head.buffers(), None) is None:
            return
        raise DataError(
            f"the batches of step {self.step + 1} serve different tasks in different processes, "
            "which a head that learns from all of them, such as vq, cannot take",
            expected="samples that all serve the same tasks, a larger --batch-size, or one process",
        )

    @property
    def _is_reduced_here(self) -> bool:
        """Whether gradients are averaged over the processes once, after several batches.

        Left to torch, that would be done in the last one's backward pass, which leaves out what
        only the others have used.
        """
        return self.processes.count > 1 and self.options.grad_accum > 1

    def _add_gradients(self, part: int, batch: Batch, shares: Shares) -> None:
        count = self.processes.count
        torch.manual_seed(
            mixed_seed(mixed_seed(self.options.seed, self.step), part * count + self.processes.rank)
        )
        alone = self.accelerator.no_sync(self.module) if self._is_reduced_here else nullcontext()
        with alone:
            losses = shares.scaled(part, Losses(*self.module(batch)))
            total = losses.total
            # The processes' gradients are averaged, and the shares have taken care of that.
            self.accelerator.backward(total * count)
        self._add_up({**losses.terms, "loss": total})

    def _add_up(self, figures: Mapping[str, Tensor]) -> None:
        """Keep sums on the device; they are looked at when logging only."""
        for name, value in figures.items():
            value = value.detach().float()
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def _settle(self) -> dict[str, float]:
        """Sums since the last line over all processes; from then on they are the main one's."""
        totals = self.processes.sum({name: float(value) for name, value in self.sums.items()})
        cut = self.processes.sum({"texts": self.texts_cut_here})
        self.texts_cut += int(cut["texts"])
        self.texts_cut_here = 0
        if self.processes.count > 1:
            is_main, device = self.processes.is_main, self.model.device
            self.sums = {
                name: torch.tensor(value if is_main else 0.0, device=device)
                for name, value in totals.items()
            }
        return totals

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
        figures = self._settle()
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
        means = {
            name: float(value) / self.counts.get(name, self.counts.get(HEAD_LOSSES, 1.0))
            for name, value in self.sums.items()
        }
        now = time.perf_counter()
        seconds, self.interval_start = now - self.interval_start, now
        figures = {
            # First, so that a component's figure never takes the place of one of these below.
            **self.model.head.statistics(),
            **means,
            "step": self.step,
            "split": "train",
            "epoch": self.position / self.plan.samples,
            "lr": self.plan.lr(self.step - 1),
            "texts_cut": self.texts_cut,
            "seconds": round(seconds, 3),
            "samples_per_s": round(steps * self.samples_a_step / seconds, 2),
        }
        self.sums, self.counts = {}, {}
        self.processes.on_main(lambda: self.folder.append_metrics(figures))
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
        self._share_buffers()
        with torch.no_grad(), self._averaged():
            self._evaluate_weights()

    def _evaluate_weights(self) -> None:
        started = time.perf_counter()
        self.model.eval()
        sums: dict[str, float] = {}
        options, processes = self.options, self.processes
        size, seed = options.batch_size, options.seed ^ EVALUATION_SEED
        count = min(len(self.validation_set), options.eval_batches * size * processes.count)
        for start in range(processes.rank * size, count, processes.count * size):
            torch.manual_seed(mixed_seed(seed, start))
            indices = range(start, min(start + size, count))
            samples = [self.validation_set[index] for index in indices]
            batch = self.objective.collate(self.model, samples, Draws.at(seed, indices))
            with autocast(self.model.device, options.precision):
                measured = self.objective.measure(self.model, batch)
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + float(value)
        figures: dict[str, Any] = {
            "step": self.step,
            "split": "validation",
            **self.objective.summarise(processes.sum(sums)),
            "seconds": round(time.perf_counter() - started, 3),
        }
        is_best = self._is_best(figures)
        self.evaluations["last"] = figures
        self.evaluations.setdefault("first", figures)
        if is_best:
            self.evaluations["best"] = figures
            self._save_model("best")
        processes.on_main(lambda: self.folder.append_metrics(figures))
        self.reporter.evaluated(figures, is_best=is_best)
        # Evaluating is not training: keep it out of the speed of the log interval around it.
        self.interval_start += time.perf_counter() - started

    def _is_best(self, figures: Mapping[str, float]) -> bool:
        if "best" not in self.evaluations:
            return True
        name = self.objective.best_by
        ahead = self.evaluations["best"][name] - figures[name]
        return ahead > 0 if self.objective.best_is_lowest else ahead < 0

    def _share_buffers(self) -> None:
        """What a head or refiner keeps beside its weights is the main process's."""
        trained = self.model.trained_modules()
        for name, module in trained.items():
            if name != "transformer":
                self.processes.share(module.buffers())

    def _save_model(self, name: str) -> None:
        self._share_buffers()
        self.processes.on_main(lambda: self.model.save_pretrained(self.folder.path / name))

    def _save(self) -> Path:
        self._share_buffers()
        tensors = {
            **optimizer_tensors(self.optimizer),
            **{f"sum.{name}": value for name, value in self.sums.items()},
        }
        state = {
            "step": self.step,
            "position": self.position,
            "evaluations": self.evaluations,
            "texts_cut": self.texts_cut,
            "counts": self.counts,
        }
        if self.average is not None:
            tensors |= self.average.tensors()
            state["ema_updates"] = self.average.updates
        keep = self.options.keep
        self.processes.on_main(
            lambda: self.folder.save_checkpoint(self.model, tensors, state, keep=keep)
        )
        saved = self.folder.step_folder(self.step)
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


def make_accelerator(processes: Processes, device: torch.device) -> Accelerator:
    """What reduces gradients over the processes.

    Args:
        processes: Those of the run.
        device: Where this one computes.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    # A task, or a batch without a condition, may leave parameters unused.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    accelerator = Accelerator(
        cpu=processes.count > 1 and device.type == "cpu",
        device_placement=False,
        mixed_precision="no",
        kwargs_handlers=[parallel],
    )
    # Batches are weighed by what is in them, whatever the environment says.
    accelerator.gradient_accumulation_steps = 1
    return accelerator
