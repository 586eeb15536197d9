"""The training loop: one for every objective and every component."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.assembly import assemble, check_backbone, construct_component
from omniflow.cache.frozen import cached, open_cache
from omniflow.checkpoints import read_model_config
from omniflow.draws import Draws
from omniflow.errors import PluginError
from omniflow.interfaces import Batch, Dataset, Objective
from omniflow.recipe import Recipe
from omniflow.training.claim import claimed
from omniflow.training.device import choose_device
from omniflow.training.ema import DecaySchedule, WeightAverage
from omniflow.training.failures import failures_told
from omniflow.training.figures import RunningFigures
from omniflow.training.interrupts import InterruptedRunError, Interrupts
from omniflow.training.order import SampleOrder
from omniflow.training.processes import Processes, absence_told
from omniflow.training.reading import SampleReader
from omniflow.training.reporter import Reporter, RunResult
from omniflow.training.run_folder import RunFolder
from omniflow.training.sampling import PageOfRun, SamplesOfRun
from omniflow.training.schedule import Plan
from omniflow.training.sharded_tensors import gathered
from omniflow.training.sharding import check_sharding
from omniflow.training.skipped import SkippedRecords
from omniflow.training.splits import open_datasets
from omniflow.training.state import optimizer_tensors
from omniflow.training.updates import Updates
from omniflow.training.validation import Validation
from omniflow.training.watchers import Watchers

if TYPE_CHECKING:
    from omniflow.cache.store import CacheStore
    from omniflow.model import OmniFlowModel
    from omniflow.registry import Registry


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
        registry: Where the recipe's names are looked up, and the plugins are that follow runs.
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
    training_set, validation_set = (
        open_datasets(recipe, registry, split, objective.modalities, objective.task_weights())
        for split in ("train", "validation")
    )
    folder = RunFolder(output_dir)
    processes.on_main(lambda: folder.check(resuming=resume))
    watchers = Watchers(recipe, output_dir, registry, reporter, processes)
    cache = open_cache(recipe.training)
    with failures_told(device, "while the model was read"):
        model = assemble(recipe, registry, device=device)
    objective.check(model)
    check_sharding(recipe.training)
    loop = TrainingLoop(
        recipe, model, objective, training_set, validation_set, folder,
        watchers.reporter, processes,
    )  # fmt: skip
    loop.reporter.assembled(recipe, model.summary())
    with ExitStack() as claims:
        processes.on_main(lambda: claims.enter_context(claimed(output_dir)))
        return _carried_out(recipe, loop, watchers, cache, resume=resume)


def _carried_out(
    recipe: Recipe,
    loop: TrainingLoop,
    watchers: Watchers,
    cache: CacheStore | None,
    *,
    resume: bool,
) -> RunResult:
    """Carry out a recipe in a folder that no other run is at work in."""
    folder, processes = loop.folder, loop.processes
    # Another run may have had the folder since it was first looked at.
    processes.on_main(lambda: folder.check(resuming=resume))
    if resume:
        loop.restore()
    watchers.start(loop.step)
    # Also when resuming: flags may have changed what the rest of the run does.
    processes.on_main(lambda: folder.write_recipe(recipe))
    with (
        watchers.told(loop.plan, lambda: loop.step),
        failures_told(loop.model.device, lambda: f"after step {loop.step}", folder.kept),
        absence_told(lambda: f"after step {loop.step}", folder.kept),
        cached(loop.model.frozen, cache),
    ):
        return loop.run()


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
        self.folder = folder
        self.reporter = reporter
        self.processes = processes
        self.samples_a_step = self.options.batch_size * self.options.grad_accum * processes.count
        self.order = SampleOrder(
            training_set,
            self.options.seed,
            shuffle_block=self.options.shuffle_block,
            group=self.samples_a_step if self.options.group_by_length else None,
        )
        self.figures = RunningFigures(processes, model.device)
        self.updates = Updates(model, objective, self.options, processes, self.figures)
        self.average = self._make_average()
        self.step = 0
        self.position = 0
        self.saved: Path | None = None
        self.plan = self._make_plan()
        name = recipe.dataset[0].name if recipe.dataset else ""
        self.skipped = SkippedRecords(
            folder.path / "skipped.jsonl", name, self.options.bad_records, processes
        )
        self.validation = Validation(
            model, objective, validation_set, self.options, processes, self.skipped
        )
        self.samples = SamplesOfRun(folder.path, model, objective, validation_set, self.options)
        self.page = PageOfRun(folder.path)

    def run(self) -> RunResult:
        """Take the steps that are left, evaluating, logging and saving on the way."""
        started = time.perf_counter()
        self.interval_start = started
        with Interrupts() as interrupts, self._reader() as reader:
            if not self.validation.has_begun:
                self._evaluate()
            self.reporter.started(self.plan, self.step, self.order.notices())
            while not self._is_over:
                self._take_step(reader)
                self._after_step()
                self._stop_if_asked(interrupts)
        if self._is_stopped_early:
            self.reporter.stopped_early(self.step, self.validation.figures["best"])
        with self._averaged():
            self._save_model("final")
        self._refresh_page(is_last=True)
        result = self._result(time.perf_counter() - started)
        self.reporter.finished(result)
        return result

    @property
    def _is_stopped_early(self) -> bool:
        return self.validation.is_patience_over and self.step < self.plan.total_steps

    @property
    def _is_over(self) -> bool:
        return self.step >= self.plan.total_steps or self._is_stopped_early

    def _stop_if_asked(self, interrupts: Interrupts) -> None:
        """Save and leave when any of the processes got a signal."""
        received = [
            number for number in self.processes.gather(interrupts.received) if number is not None
        ]
        if received:
            self._check_sound()
            saved = self.folder.step_folder(self.step)
            # What `latest` points at is not replaced: the next signal may be the last.
            if saved != self.saved:
                self._save()
            raise InterruptedRunError(received[0], str(saved), self.step)

    def restore(self) -> None:
        """Take up the newest checkpoint of the folder.

        Raises:
            CheckpointError: If there is none or it does not belong to this recipe.
        """
        found = self.folder.read_checkpoint()
        tensors, state = found.tensors, found.state
        config = read_model_config(found.folder / "config.json")
        check_backbone(self.model, config["backbone_identity"], found.folder)
        self.updates.restore_weights(found.trained, str(found.folder))
        self.updates.restore(tensors, state)
        self.figures.restore(tensors, state)
        if self.average is not None:
            self.average.restore(tensors, state.get("ema_updates", 0))
        self.step = state["step"]
        self.position = state["position"]
        self.plan = self._make_plan()
        self.validation.restore(state)
        self.skipped.restore(state)
        self.processes.on_main(lambda: self.folder.forget_metrics_after(self.step))
        self.processes.on_main(self.folder.remove_leftovers)
        self.processes.on_main(lambda: self.samples.forget_after(self.step))

    def _make_plan(self) -> Plan:
        return Plan.of(
            self.options,
            None if self.order.dataset.is_streaming else len(self.order.dataset),
            processes=self.processes.count,
            steps_done=self.step,
            samples_done=self.position,
        )

    def _reader(self) -> SampleReader:
        return SampleReader(
            self.order,
            self._batches_to_come(),
            self.options.workers,
            self.folder.kept,
            partial(self.skipped.note, "train"),
        )

    def _batches_to_come(self) -> Iterator[range]:
        """Positions of this process's batches, of all steps that are left."""
        a_step, first = self.samples_a_step, self.position
        end = first + (self.plan.total_steps - self.step) * a_step
        for start in range(first, end, a_step):
            for part in range(self.options.grad_accum):
                yield self._positions(start, part)

    def _positions(self, start: int, part: int) -> range:
        """Where one of this process's batches lies, in a step that starts at a position."""
        size, processes = self.options.batch_size, self.processes
        first = start + (part * processes.count + processes.rank) * size
        return range(first, first + size)

    def _take_step(self, reader: SampleReader) -> None:
        batches = [self._batch(part, reader) for part in range(self.options.grad_accum)]
        self.updates.take(self.step, batches, self.plan.lr(self.step))
        self.step += 1
        self.position += self.samples_a_step
        if self.average is not None:
            self.average.after_step(self.step)
        self.reporter.stepped(self.step)

    def _batch(self, part: int, reader: SampleReader) -> Batch:
        """One of this process's batches of the step that comes."""
        draws = Draws.at(self.options.seed, self._positions(self.position, part), self.step)
        batch = self.objective.collate(self.model, reader.read(), draws)
        self.figures.count_cut_texts(self.objective.texts_cut(batch))
        return batch

    def _after_step(self) -> None:
        options = self.options
        is_last = self.step == self.plan.total_steps
        is_logged = is_last or self.step % options.log_interval == 0
        is_evaluated = is_last or self.step % options.eval_interval == 0
        is_saved = is_last or self.step % options.save_interval == 0
        if is_evaluated or is_saved or is_logged:
            self._check_sound()
        if is_logged:
            self._log()
        if is_evaluated:
            self._evaluate()
        if self._is_over and not is_logged:
            self._log()
        if is_saved or self._is_over:
            self._save()

    def _check_sound(self) -> None:
        """Stop before numbers that are none reach a checkpoint, or when most data are bad."""
        self.skipped.settle(self.folder.kept())
        self.figures.check_finite(self.step, self.folder.kept())
        self.updates.check_scale(self.step, self.folder.kept())

    def _log(self) -> None:
        steps = self.step % self.options.log_interval or self.options.log_interval
        now = time.perf_counter()
        seconds, self.interval_start = now - self.interval_start, now
        figures = {
            # First, so that a component's figure never takes the place of one of these below.
            **self._head_statistics(),
            **self.figures.take_means(),
            "step": self.step,
            "split": "train",
            **({"epoch": self.position / self.plan.samples} if self.plan.samples else {}),
            "lr": self.plan.lr(self.step - 1),
            "texts_cut": self.figures.texts_cut,
            "records_skipped": self.skipped.total,
            "records_unserved": self.skipped.unserved,
            **{f"samples_{label}": n for label, n in self.order.drawn(self.position).items()},
            "seconds": round(seconds, 3),
            "samples_per_s": round(steps * self.samples_a_step / seconds, 2),
        }
        self.processes.on_main(lambda: self.folder.append_metrics(figures))
        self.reporter.logged(figures)

    def _head_statistics(self) -> dict[str, float]:
        """What the head says of itself, as numbers.

        Raises:
            PluginError: If it says anything else.
        """
        told = self.model.head.statistics()
        try:
            return {
                name: value if isinstance(value, int | float) else float(value)
                for name, value in told.items()
            }
        except (AttributeError, TypeError, ValueError) as error:
            raise PluginError(
                f"statistics() of head {self.model.parts.head.name} returns {told!r}",
                expected="numbers by name",
                notes=[self.folder.kept()],
            ) from error

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
        started = time.perf_counter()
        self._share_buffers()
        with self._averaged():
            with self.updates.whole():
                figures = self.validation.measure(self.step, self.folder.kept())
                self._take_samples()
            is_best = self.validation.take(figures)
            if is_best:
                self._save_model("best")
        self.processes.on_main(lambda: self.folder.append_metrics(figures))
        self.reporter.evaluated(figures, is_best=is_best)
        self._refresh_page()
        # Evaluating is not training: keep it out of the speed of the log interval around it.
        self.interval_start += time.perf_counter() - started

    def _take_samples(self) -> None:
        is_last = self.step >= self.plan.total_steps
        self.processes.on_main(lambda: self.samples.take(self.step, is_last=is_last))

    def _refresh_page(self, *, is_last: bool = False) -> None:
        total = self.plan.total_steps
        self.processes.on_main(lambda: self.page.refresh(self.step, total, is_last=is_last))

    def _share_buffers(self) -> None:
        """What a head or refiner keeps beside its weights is the main process's."""
        trained = self.model.trained_modules()
        for name, module in trained.items():
            if name != "transformer":
                self.processes.share(module.buffers())

    def _save_model(self, name: str) -> None:
        self._share_buffers()
        weights = gathered(self.model.trained_state(), self.processes)
        self.processes.on_main(
            lambda: self.model.save_pretrained(self.folder.path / name, state=weights)
        )

    def _save(self) -> None:
        self._share_buffers()
        tensors = {
            **optimizer_tensors(self.updates.optimizer),
            **self.figures.tensors(),
        }
        state = {
            "step": self.step,
            "position": self.position,
            **self.validation.state(),
            **self.figures.state(),
            **self.updates.state(),
            **self.skipped.state(),
        }
        if self.average is not None:
            tensors |= self.average.tensors()
            state["ema_updates"] = self.average.updates
        keep = self.options.keep
        tensors = gathered(tensors, self.processes)
        weights = gathered(self.model.trained_state(), self.processes)
        self.processes.on_main(
            lambda: self.folder.save_checkpoint(self.model, weights, tensors, state, keep=keep)
        )
        self.saved = self.folder.step_folder(self.step)
        self.reporter.saved(self.saved)

    def _result(self, seconds: float) -> RunResult:
        return RunResult(
            folder=self.folder.path,
            steps=self.step,
            best=self.validation.figures["best"],
            first=self.validation.figures["first"],
            last=self.validation.figures["last"],
            seconds=seconds,
            trainable=sum(p.numel() for p in self.model.trainable_parameters()),
            texts_cut=self.figures.texts_cut,
            records_skipped=self.skipped.total,
            records_unserved=self.skipped.unserved,
            is_stopped_early=self._is_stopped_early,
        )
