"""Which tasks a batch of the joint flow training serves, and the noise level of every stream.

A task is a corner-to-corner path in the cube of the three levels (OmniFlow, arXiv 2412.01169): what
is made moves from 1 to 0, what is given stays at 0, what is absent stays at 1. The draws follow the
original training script with these faults corrected:

- A condition that is dropped is dropped from its stream and from the pooled condition alike. The
  original overwrote the level of dropped images and sounds in four of five batches.
- The pooled condition comes from what is given. The original took it from the made sound itself in
  three of ten batches, and from the made modalities of joint batches always.
- A given text keeps its latents. The original set them to zero in every tenth batch.

Numbers drawn once a sample there and here: levels, drops. Drawn once a batch: whether absent
streams are noise or missing, whether CLIP states come along, where the pooled condition comes from.
The task is drawn once a batch there, and here once for all samples of it that are alike. Whether
what is given is clean is drawn once a sample here, once a batch there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from omniflow.draws import Draws
from omniflow.errors import ConfigError, DataError
from omniflow.interfaces.backbone import Streams
from omniflow.models.flow_scheduler import shift_levels
from omniflow.tasks import Task

MODALITIES = Streams._fields

#: The lowest level that is drawn, the last of the original's table.
LOWEST_LEVEL = 1e-3


@dataclass(frozen=True)
class LevelDistribution:
    """Where random noise levels come from.

    Args:
        levels: The sigmoid of a normal draw, or uniform.
        level_mean: Mean of the normal draw; above 0 for noisier samples.
        level_std: Its standard deviation.
        level_shift: Moves levels towards noise, see `shift_levels`; 1 for none.

    Raises:
        ConfigError: If a number is out of its range.
    """

    levels: Literal["logit-normal", "uniform"] = "logit-normal"
    level_mean: float = 0.0
    level_std: float = 1.0
    level_shift: float = 1.0

    def __post_init__(self) -> None:
        if not -10 <= self.level_mean <= 10:
            raise ConfigError("level_mean", self.level_mean, expected="a number in [-10, 10]")
        for name in ("level_std", "level_shift"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(name, getattr(self, name), expected="a number above 0")

    def at(self, fractions: Tensor) -> Tensor:
        """The levels below which these fractions of all lie: in [0.001, 1], float32 [batch].

        Args:
            fractions: Numbers in (0, 1) [batch]; uniform draws give draws of levels.
        """
        levels = fractions.double()
        if self.levels == "logit-normal":
            normal = torch.special.ndtri(levels)
            levels = torch.sigmoid(self.level_mean + self.level_std * normal)
        return shift_levels(levels, self.level_shift).clamp(LOWEST_LEVEL, 1.0).float()


@dataclass(frozen=True)
class FlowRules:
    """How often what happens to a stream; probabilities in [0, 1], defaults of the original.

    Args:
        distribution: Where random levels come from.
        absent_noise_share: Share of batches in which an absent stream is noise at level 1; in the
            others it is left out and not computed.
        drop_probability: How often a given modality is dropped: one sample at a time where absent
            streams are noise, a whole batch at a time where they are left out.
        clean_probability: How often what is given is clean; otherwise its level is random.
        clip_probability: How often a text given alone brings its CLIP states along, and is then
            clean.
        pooled_drop_probability: How often the pooled condition is zero although nothing is dropped.
        joint_change_probability: How often, of several modalities that are made together, one is
            given or absent instead, half of the time each.

    Raises:
        ConfigError: If a number is not in [0, 1].
    """

    distribution: LevelDistribution = field(default_factory=LevelDistribution)
    absent_noise_share: float = 1.0
    drop_probability: float = 0.15
    clean_probability: float = 0.8
    clip_probability: float = 0.5
    pooled_drop_probability: float = 0.15
    joint_change_probability: float = 0.2

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name != "distribution" and not 0 <= value <= 1:
                raise ConfigError(name, value, expected="a number in [0, 1]")


@dataclass(frozen=True)
class FlowPlan:
    """What one batch trains; tensors are on the CPU.

    Args:
        task: The task after the changes of a joint batch; what it makes has a loss.
        levels: Noise level sigma of each stream, float32 [batch]; None for one that is left out.
        dropped: For what is given, which samples have lost it, bool [batch]; their level is 1, or
            the stream is left out. None for what is not given.
        pooled_from: The given modality that the pooled condition comes from; None for zeros.
        pooled_kept: Which samples get that condition, bool [batch]; the others get zeros.
        has_clip: Whether CLIP states stand before the text latents.
    """

    task: Task
    levels: Streams
    dropped: Streams
    pooled_from: str | None
    pooled_kept: Tensor
    has_clip: bool

    @property
    def streams(self) -> tuple[str, ...]:
        """The modalities that the transformer reads, `clip` among them."""
        present = [
            name for name, level in zip(MODALITIES, self.levels, strict=True) if level is not None
        ]
        return (*present, *(["clip"] if self.has_clip else []))

    @property
    def made(self) -> tuple[str, ...]:
        """The modalities that have a loss."""
        return self.task.made

    @property
    def clean(self) -> tuple[str, ...]:
        """The modalities whose true latents are read: what is made, and what is given and kept."""
        return tuple(
            name
            for name in MODALITIES
            if getattr(self.levels, name) is not None
            and (name in self.task.made or name in self.task.given)
        )


def draw_tasks(
    weights: Sequence[Mapping[Task, float]], brought: Sequence[AbstractSet[str]], draws: Draws
) -> dict[Task, list[int]]:
    """Draw a task for every sample of a batch, and say which samples serve which.

    A sample's task is drawn by weight among those that it brings everything for. Samples that are
    alike in that get the same one, also those of other batches of the step, and others do where it
    suits them too: so a batch is in as few parts as can be.

    Args:
        weights: How often each sample wants each task.
        brought: The modalities of each sample.
        draws: Of the batch.

    Returns:
        The tasks, in the order of their names, and the positions of their samples.

    Raises:
        DataError: If a sample fits no task.
    """
    served: dict[Task, list[int]] = {}
    drawn: dict[tuple[AbstractSet[str], tuple[tuple[Task, float], ...]], Task] = {}
    for position, (wanted, names) in enumerate(zip(weights, brought, strict=True)):
        kind = frozenset(names), tuple(wanted.items())
        if kind not in drawn:
            drawn[kind] = _drawn_task(wanted, names, draws)
        served.setdefault(drawn[kind], []).append(position)
    return {task: served[task] for task in sorted(served, key=str)}


def _drawn_task(wanted: Mapping[Task, float], names: AbstractSet[str], draws: Draws) -> Task:
    able = [task for task, weight in wanted.items() if weight > 0 and task.is_served_by(names)]
    if not able:
        raise DataError(
            f"a sample of {' and '.join(sorted(names)) or 'nothing'} serves no task",
            expected=f"samples for one of {', '.join(map(str, wanted))}",
        )

    def waiting_time(task: Task) -> float:
        # The first of several exponential clocks is each in proportion to its rate.
        return -math.log(draws.shared(f"task {task}")) / wanted[task]

    return min(able, key=waiting_time)


def draw_plan(task: Task, draws: Draws, rules: FlowRules) -> FlowPlan:
    """Draw the level of every stream of a batch.

    Args:
        task: What is given and made; what is on both sides (text of t2t) is made.
        draws: Of the batch.
        rules: How often what happens.
    """
    batch = len(draws)
    task = _varied(task, rules.joint_change_probability, draws)
    is_noise = draws.happens("absent is noise", rules.absent_noise_share)
    given = [name for name in task.given if name not in task.made]
    # Never beside two other modalities, where sampling does not use them either.
    is_pair = len({*task.given, *task.made}) < len(MODALITIES)
    has_clip = "text" in given and is_pair and draws.happens("clip", rules.clip_probability)
    levels: dict[str, Tensor | None] = {}
    dropped: dict[str, Tensor | None] = dict.fromkeys(MODALITIES)
    for name in MODALITIES:
        level: Tensor | None = torch.ones(batch) if is_noise else None
        if name in task.made:
            level = rules.distribution.at(draws.fractions(f"{name} level"))
        elif name in given:
            lost = _lost(name, rules.drop_probability, draws, each=is_noise)
            dropped[name] = lost
            if is_noise or not lost.any():
                kept = _given_levels(name, rules, draws, always_clean=has_clip and name == "text")
                level = torch.where(lost, 1.0, kept)
        levels[name] = level
    pooled_from = given[int(draws.shared("pooled from") * len(given))] if given else None
    pooled_kept = draws.each("pooled kept", 1 - rules.pooled_drop_probability)
    if pooled_from is None:
        pooled_kept = torch.zeros(batch, dtype=torch.bool)
    elif (lost_there := dropped[pooled_from]) is not None:
        pooled_kept &= ~lost_there
    return FlowPlan(
        task=task,
        levels=Streams(**levels),
        dropped=Streams(**dropped),
        pooled_from=pooled_from if pooled_kept.any() else None,
        pooled_kept=pooled_kept,
        has_clip=has_clip and levels["text"] is not None,
    )


def _lost(name: str, probability: float, draws: Draws, *, each: bool) -> Tensor:
    """Which samples lose a condition, bool [batch]: each by itself, or all together."""
    purpose = f"{name} dropped"
    if each:
        return draws.each(purpose, probability)
    return torch.full((len(draws),), draws.happens(purpose, probability))


def _varied(task: Task, probability: float, draws: Draws) -> Task:
    """The task of a joint batch after some of what it makes has become given or absent."""
    if len(task.made) < 2:
        return task
    given, made = list(task.given), list(task.made)
    for name in task.made:
        if draws.happens(f"{name} changed", probability):
            made.remove(name)
            if draws.happens(f"{name} given", 0.5) and name not in given:
                given.append(name)
    if not made:
        return task
    return Task(*(tuple(name for name in task_order(side)) for side in (given, made)))


def task_order(names: Sequence[str]) -> list[str]:
    """Modalities in the order in which a task spells them."""
    return sorted(names, key=("image", "audio", "text").index)


def _given_levels(name: str, rules: FlowRules, draws: Draws, *, always_clean: bool) -> Tensor:
    """Levels of what is given, before anything is dropped."""
    if always_clean:
        return torch.zeros(len(draws))
    is_clean = draws.each(f"{name} clean", rules.clean_probability)
    return torch.where(is_clean, 0.0, rules.distribution.at(draws.fractions(f"{name} level")))
