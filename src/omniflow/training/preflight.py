"""A dry run: everything that can be known before a run, found together and written nowhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from omniflow.assembly import assemble, assemble_shapes, construct_component
from omniflow.errors import MistakesError, OmniFlowError
from omniflow.resolve import resolve
from omniflow.training.device import choose_device
from omniflow.training.disk_room import DiskRoom, disk_room
from omniflow.training.failures import failures_told
from omniflow.training.memory import WIDTHS, MemoryEstimate, PartSize, part_sizes, tensor_bytes
from omniflow.training.preflight_data import DataReport, check_data
from omniflow.training.run_folder import RunFolder
from omniflow.training.schedule import Plan
from omniflow.training.splits import open_datasets
from omniflow.training.trackers import check_installed
from omniflow.training.trial import Timing, Trial

if TYPE_CHECKING:
    from omniflow.draft import Draft
    from omniflow.interfaces import Objective
    from omniflow.model import OmniFlowModel
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry

T = TypeVar("T")

#: The device on which a model has shapes and no values.
SHAPES_ONLY = "meta"


@dataclass
class Preflight:
    """What a dry run found; what could not be found out is None or empty.

    Args:
        findings: What stands in the way of the run.
        notes: What a person should know besides.
        device: Where the run would compute.
        steps: Optimizer steps of the run.
        data: What the datasets are like.
        parts: Sizes of the model's parts.
        memory: What training takes, by precision.
        disk: What is written, and what there is room for.
        timing: How long a step and an evaluation batch took.
    """

    findings: list[OmniFlowError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    device: str | None = None
    steps: int | None = None
    data: DataReport = field(default_factory=DataReport)
    parts: list[PartSize] = field(default_factory=list)
    memory: list[MemoryEstimate] = field(default_factory=list)
    disk: DiskRoom | None = None
    timing: Timing | None = None

    @property
    def is_ready(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "ready": self.is_ready,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": self.notes,
            "device": self.device,
            "steps": self.steps,
            "data": [check.to_dict() for check in self.data.checks],
            "parameters": sum(part.parameters for part in self.parts),
            "trainable": sum(part.trained for part in self.parts),
            "parts": [part.to_dict() for part in self.parts],
            "memory": [estimate.to_dict() for estimate in self.memory],
            "disk": None if self.disk is None else self.disk.to_dict(),
            "timing": None if self.timing is None else self.timing.to_dict(),
        }


def preflight(
    draft: Draft,
    *,
    output_dir: Path,
    registry: Registry,
    resume: bool = False,
    processes: int = 1,
) -> Preflight:
    """Try out a run: settle its recipe, look at data, folder and disk, and take a step.

    Nothing is written. On the device `meta` no step is taken: the model has shapes and no values,
    and what a step would take in memory is counted for every precision.

    Args:
        draft: What was said about the run.
        output_dir: The run's folder.
        registry: Where names are looked up.
        resume: Whether the run in the folder would be continued.
        processes: How many would share the run; what is measured is one of them.
    """
    return _DryRun(output_dir, registry, resume, processes).carry_out(draft)


class _DryRun:
    """One dry run; every check notes what it finds, and the next ones go on without."""

    def __init__(self, output_dir: Path, registry: Registry, resume: bool, processes: int) -> None:
        self.output_dir = output_dir
        self.processes = processes
        self.registry = registry
        self.resume = resume
        self.report = Preflight()

    def carry_out(self, draft: Draft) -> Preflight:
        recipe = self._try(lambda: resolve(draft, self.registry))
        self._try(lambda: RunFolder(self.output_dir).check(resuming=self.resume))
        if recipe is None:
            return self.report
        for name in recipe.training.trackers:
            self._try(partial(check_installed, name))
        device = self._try(lambda: _device(recipe.training.device))
        self.report.device = None if device is None else str(device)
        objective: Objective | None = self._try(
            lambda: construct_component(self.registry, "objective", recipe.objective)
        )
        if objective is not None:
            self._look_at_data(recipe, objective)
        model = None if device is None else self._try(lambda: self._assemble(recipe, device))
        if model is None or objective is None:
            return self.report
        self._try(lambda: objective.check(model))
        self.report.parts = part_sizes(model)
        if not self.report.findings:
            self._take_steps(recipe, objective, model)
        return self.report

    def _try(self, action: Callable[[], T]) -> T | None:
        """The action's result, or None with what stands in its way noted."""
        try:
            return action()
        except MistakesError as error:
            self.report.findings += error.errors
        except OmniFlowError as error:
            self.report.findings.append(error)
        return None

    def _look_at_data(self, recipe: Recipe, objective: Objective) -> None:
        self.report.data = check_data(recipe, objective, self.registry)
        self.report.findings += self.report.data.findings
        self.report.notes += self.report.data.notes

    def _assemble(self, recipe: Recipe, device: torch.device) -> OmniFlowModel:
        if device.type == SHAPES_ONLY:
            return assemble_shapes(recipe, self.registry)
        with failures_told(device, "while the model was read"):
            return assemble(recipe, self.registry, device=device)

    def _take_steps(self, recipe: Recipe, objective: Objective, model: OmniFlowModel) -> None:
        sets = [
            open_datasets(
                recipe, self.registry, split, objective.modalities, objective.task_weights()
            )
            for split in ("train", "validation")
        ]
        samples = None if sets[0].is_streaming else len(sets[0])
        plan = self._try(lambda: Plan.of(recipe.training, samples, processes=self.processes))
        if plan is None:
            return
        self.report.steps = plan.total_steps
        if self.processes > 1:
            self.report.notes.append(
                f"memory and time are those of one process; {self.processes} share the run"
            )
        trial = self._try(lambda: Trial(model, objective, recipe.training, *sets))
        if trial is None:
            return
        if model.device.type == SHAPES_ONLY:
            for precision in WIDTHS:
                self.report.memory.append(trial.shapes_of_steps(precision))
            self.report.notes.append(
                "no step was timed on meta; its disk and memory are for another machine to have"
            )
        else:
            self._try(lambda: self._take_real_steps(trial))
        # Evaluating reads what stands around the transformer.
        self.report.parts = part_sizes(model)
        self._look_at_disk(recipe, model)

    def _take_real_steps(self, trial: Trial) -> None:
        with failures_told(trial.model.device, "in a step for trial"):
            evaluation = trial.evaluate()
            self.report.memory.append(trial.measured_step())
            self.report.timing = trial.timed_step(evaluation)

    def _look_at_disk(self, recipe: Recipe, model: OmniFlowModel) -> None:
        if not self.report.memory or self.report.steps is None:
            return
        estimate = self.report.memory[0]
        room = disk_room(
            self.output_dir,
            recipe.training,
            model=tensor_bytes(model.trained_state().values()),
            state=estimate.optimizer + estimate.average,
            steps=self.report.steps,
        )
        self.report.disk = room
        if model.device.type != SHAPES_ONLY:
            self._try(room.check)


def _device(name: str) -> torch.device:
    return torch.device(SHAPES_ONLY) if name == SHAPES_ONLY else choose_device(name)
