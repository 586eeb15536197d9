"""The plan of a run: how many steps there are, and the learning rate at each."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from omniflow.errors import ConfigError
from omniflow.recipe import TrainingOptions

#: Height of a schedule, from 1 to 0, where a share of the steps after the warm-up is done.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


@dataclass(frozen=True)
class Plan:
    """How long a run is, in optimizer steps.

    Args:
        samples: Size of the training split; None for a stream, whose end is not known.
        steps_per_epoch: Steps that see every sample once, None likewise.
        total_steps: Steps of the whole run.
        warmup_steps: Steps over which the learning rate rises.
        peak_lr: Learning rate after the warm-up.
        schedule: How it goes on then, by a name of `SCHEDULES`.
        min_lr: What it falls to.
    """

    samples: int | None
    steps_per_epoch: int | None
    total_steps: int
    warmup_steps: int
    peak_lr: float
    schedule: str = "cosine"
    min_lr: float = 0.0

    @classmethod
    def of(
        cls,
        options: TrainingOptions,
        samples: int | None,
        *,
        processes: int = 1,
        steps_done: int = 0,
        samples_done: int = 0,
    ) -> Plan:
        """The plan for a training split.

        Args:
            options: How the run trains.
            samples: Size of the split; None for a stream.
            samples: Size of the training split.
            processes: How many share the run; each step reads a batch in each of them.
            steps_done: Steps taken before, perhaps by another number of processes.
            samples_done: What they have read.

        Raises:
            ConfigError: If the split is a stream and the steps are not limited.
        """
        a_step = options.batch_size * options.grad_accum * processes
        per_epoch = None
        if samples is not None:
            per_epoch = math.ceil(samples / a_step)
            total = steps_done + math.ceil((samples * options.epochs - samples_done) / a_step)
            total = max(total, steps_done)
        elif options.max_steps is None:
            raise ConfigError(
                "training.max_steps",
                None,
                expected="a number of steps: the training split is streamed, so nobody knows how "
                "long an epoch is",
            )
        if options.max_steps is not None:
            total = options.max_steps if samples is None else min(total, options.max_steps)
        return cls(
            samples,
            per_epoch,
            total,
            min(options.warmup_steps, total // 10),
            options.lr,
            options.lr_schedule,
            options.min_lr,
        )

    def lr(self, step: int) -> float:
        """Learning rate of step 0, 1, ...: linear warm-up, then the schedule down to the floor."""
        if step < self.warmup_steps:
            return self.peak_lr * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.min_lr + (self.peak_lr - self.min_lr) * SCHEDULES[self.schedule](done)
