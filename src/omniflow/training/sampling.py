"""A few samples at every evaluation, and the run's page: they follow a run and change nothing.

Their noise is drawn from a seed of their own and a record's place, so that a resumed run makes the
same ones; torch's global generator is seeded anew before every batch in any case.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import DataError, UsageError
from omniflow.evaluation.comparison import compare
from omniflow.evaluation.entries import Entry
from omniflow.evaluation.report.page import write_report
from omniflow.evaluation.run_record import read_run
from omniflow.evaluation.run_samples import FOLDER, RunSample, sampled_steps, samples_path, to_json
from omniflow.files import remove_leftovers, replacing, write_json
from omniflow.generation.make import Made, make_batch
from omniflow.generation.outputs import SUFFIXES
from omniflow.generation.plan import GenerationPlan, plan_generation
from omniflow.generation.records import needed_of
from omniflow.interfaces import Sample
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.media.audio import write_wav
from omniflow.training.allowance import Allowance
from omniflow.training.decoding import readable_samples
from omniflow.training.guard import Guard

if TYPE_CHECKING:
    from omniflow.interfaces import Dataset, Objective
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import TrainingOptions
    from omniflow.tasks import Task

log = logging.getLogger(__name__)

#: Noise level that a text starts from which is given and made.
NOISE_LEVEL = 0.5

#: Denoising steps, and the longest text in tokens: a look at a run, not its best.
STEPS, LONGEST = 8, 96

#: Tasks that are shown of an objective with more, each making something else.
MOST_TASKS = 3

#: Records of the validation split that are looked at for ones that bring what a task needs.
MOST_READ = 64

#: Shares of a run's time.
SAMPLES_SHARE, PAGE_SHARE = 0.05, 0.02

#: Keeps the random numbers of samples apart from those of steps and evaluations.
SAMPLES_SEED = 0x5A3B1E

_OURS = re.compile(r"(step|given)-.*")


class SamplesOfRun:
    """Writes `samples/step-N.json` with media beside it; the main process does so alone.

    What goes wrong is told once and never ends the run.

    Args:
        folder: The run's folder.
        model: The model, whole and in the state that is evaluated whenever samples are taken.
        objective: Says which tasks there are.
        dataset: The validation split.
        options: How many samples, and the run's seed.
        allowance: The time that they may take.
    """

    def __init__(
        self,
        folder: Path,
        model: OmniFlowModel,
        objective: Objective,
        dataset: Dataset,
        options: TrainingOptions,
        allowance: Allowance | None = None,
    ) -> None:
        self.folder = folder
        self.model = model
        self.objective = objective
        self.dataset = dataset
        self.options = options
        self.allowance = allowance or Allowance(SAMPLES_SHARE)
        self.guard = Guard("making samples", "training.samples=0 does without")
        self._plans: dict[Task, GenerationPlan] = {}
        self._records: dict[Task, dict[int, Sample]] = {}

    def take(self, step: int, *, is_last: bool = False) -> None:
        """Make and write the samples of a step, where there is time for them.

        Args:
            step: Steps taken.
            is_last: Whether none will follow; then there is always time.
        """
        if not self.options.samples:
            return
        if not is_last and not self.allowance.has_room:
            log.info("step %d: no samples, to keep to %g of the time", step, SAMPLES_SHARE)
            return
        with self.allowance.taken():
            self.guard.attempt(f"step {step}", lambda: self._write(step))

    def forget_after(self, step: int) -> None:
        """Drop the samples of steps that a resumed run will take again."""
        remove_leftovers(self.folder / FOLDER, _OURS)
        for later in sampled_steps(self.folder):
            if later > step:
                samples_path(self.folder, later).unlink()
                for path in (self.folder / FOLDER).glob(f"step-{later}-*"):
                    path.unlink()

    def _write(self, step: int) -> None:
        self.model.eval()
        if not self._plans:
            self._prepare()
        samples = [
            self._written(step, task, number, made)
            for task, plan in self._plans.items()
            for number, made in make_batch(self.model, plan, self._records[task]).items()
        ]
        # Last, when every file that it names is there.
        write_json(samples_path(self.folder, step), to_json(step, samples))

    def _prepare(self) -> None:
        tasks = shown_tasks(self.objective.task_weights())
        if not tasks:
            raise UsageError("the objective names no task", expected="a task to make samples of")
        records = islice(self.dataset.records(), MOST_READ)
        found = readable_samples(self.dataset, records)
        plans = {}
        for task in tasks:
            fitting = [one for one in found if _brings(one, task)][: self.options.samples]
            if fitting:
                self._records[task] = dict(enumerate(fitting))
                plans[task] = self._plan(task)
        if not plans:
            raise DataError(
                f"none of the first {len(found)} records of the validation split brings what "
                f"{', '.join(map(str, tasks))} needs"
            )
        self._plans = plans

    def _plan(self, task: Task) -> GenerationPlan:
        longest = getattr(self.objective, "max_length", LONGEST)
        is_varied = bool(set(task.given) & set(task.made))
        return plan_generation(
            self.model.backbone,
            task,
            noise_level=NOISE_LEVEL if is_varied else 0.0,
            steps=STEPS,
            seed=self.options.seed ^ SAMPLES_SEED,
            max_length=longest,
            decoding=TextDecoding(max_new_tokens=min(longest, LONGEST)),
        )

    def _written(self, step: int, task: Task, number: int, made: Made) -> RunSample:
        sample = made.sample
        folder = self.folder / FOLDER
        given = Made(sample, *(getattr(sample, n) if n in task.given else None for n in _PARTS))
        return RunSample(
            id=sample.id,
            task=str(task),
            given=_files(folder, f"given-{task}-{number}", given),
            made=_files(folder, f"step-{step}-{task}-{number}", made),
            reference=sample.text,
            noise_level=NOISE_LEVEL if set(task.given) & set(task.made) else None,
        )


class PageOfRun:
    """Keeps the run's `report.html` up to date.

    Args:
        folder: The run's folder.
        allowance: The time that it may take.
    """

    def __init__(self, folder: Path, allowance: Allowance | None = None) -> None:
        self.folder = folder
        self.allowance = allowance or Allowance(PAGE_SHARE)
        self.guard = Guard("writing report.html", "the figures stand in metrics.jsonl")

    def refresh(self, step: int, total: int, *, is_last: bool = False) -> None:
        """Write it anew, where there is time for that.

        Args:
            step: Steps taken.
            total: Steps of the run.
            is_last: Whether nothing will follow; then there is always time.
        """
        if is_last or self.allowance.has_room:
            with self.allowance.taken():
                self.guard.attempt(f"step {step}", lambda: self._write(step, total))

    def _write(self, step: int, total: int) -> None:
        run = read_run(self.folder)
        name = self.folder.resolve().name
        entry = Entry(name, self.folder, run=run, notes=run.notes)
        lead = f"Step {step:,} of {total:,}."
        write_report(self.folder / "report.html", compare([entry]), title=name, lead=lead)


_PARTS = ("text", "image", "audio")


def shown_tasks(weights: Mapping[Task, float]) -> list[Task]:
    """A few of the tasks that are drawn, the most frequent first, each making something else."""
    drawn = sorted((task for task in weights if weights[task] > 0), key=lambda one: -weights[one])
    by_made: dict[tuple[str, ...], Task] = {}
    for task in drawn:
        by_made.setdefault(task.made, task)
    return list(by_made.values())[:MOST_TASKS]


def _brings(sample: Sample, task: Task) -> bool:
    return all(getattr(sample, name) is not None for name in needed_of(task))


def _files(folder: Path, stem: str, content: Made) -> dict[str, str]:
    """Modality -> the text, or the name of the file that holds it, whole or not there."""
    found = {} if content.text is None else {"text": content.text}
    if content.image is not None:
        found["image"] = f"{stem}{SUFFIXES['image']}"
        with replacing(folder / found["image"]) as temporary:
            content.image.save(temporary, format="PNG")
    if content.audio is not None:
        found["audio"] = f"{stem}{SUFFIXES['audio']}"
        write_wav(folder / found["audio"], content.audio)
    return found
