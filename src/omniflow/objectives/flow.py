"""Flow objective: the transformer learns all streams at once (OmniFlow, arXiv 2412.01169).

Joint any-to-any rectified-flow training as the paper and the original script have it, with the
script's faults corrected; `flow_levels` says which. Image and audio are predicted as velocities,
text as clean latents, by head and refiner: they stand for the transformer's last text projection.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import torch
from torch import Tensor

from omniflow.draws import Draws
from omniflow.errors import ConfigError, PluginError, UsageError
from omniflow.interfaces import Batch, Losses, Objective, Sample
from omniflow.interfaces.backbone import Streams
from omniflow.objectives.flow_inputs import EncodedSamples, FlowInputs, brought_by, flow_inputs
from omniflow.objectives.flow_levels import (
    MODALITIES,
    FlowPlan,
    FlowRules,
    LevelDistribution,
    draw_plan,
    draw_tasks,
)
from omniflow.objectives.flow_losses import (
    ORIGINAL_WEIGHTS,
    Weighting,
    direction_loss,
    level_weights,
    velocity_loss,
    weighted_error,
)
from omniflow.objectives.flow_parts import (
    FlowPart,
    mean_terms,
    part_counts,
    summed_counts,
    token_rows,
)
from omniflow.objectives.loss_names import check_head_losses, check_weight_names
from omniflow.objectives.noise_coupling import Coupling
from omniflow.objectives.spread_levels import spread_levels
from omniflow.objectives.token_scores import cross_entropy
from omniflow.tasks import POOLED_ORDER, Task

if TYPE_CHECKING:
    from omniflow.interfaces.backbone import TokenBatch
    from omniflow.model import ModelPrediction, OmniFlowModel, TextPrediction

#: How often each task is drawn unless the recipe says otherwise; `2iat` makes all three together.
DEFAULT_TASKS: Mapping[str, float] = {
    **dict.fromkeys(("t2i", "i2t", "t2a", "a2t", "i2a", "a2i"), 1.0),
    **dict.fromkeys(("it2a", "at2i", "ia2t"), 0.5),
    "2iat": 1.0,
}

#: The decoder's cross entropy is off, as in the original's example.
DEFAULT_WEIGHTS = {**ORIGINAL_WEIGHTS, "ce": 0.0}


@dataclass(frozen=True)
class FlowBatch:
    """Samples, and what each of them is to serve.

    Args:
        samples: The samples.
        tokens: Their texts as ids, the empty text where there is none; None when none is read.
        parts: Samples of one task each; every sample is in one of them.
        draws: Random numbers of all samples.
    """

    samples: Sequence[Sample]
    tokens: TokenBatch | None
    parts: Sequence[FlowPart]
    draws: Draws


class FlowObjective(Objective):
    """Train the transformer, and head and refiner with it, on every task at once.

    Args:
        tasks: How often each task is drawn, by name, or a list of equally frequent ones; null for
            all of the paper's. Modalities on the right of the 2 are made: `2iat` makes all three
            together, `t2t` trains the text stream alone.
        weights: Weight of each loss: image, text, audio; direction and ce, which are weighted by
            text as well; and whatever the head returns (vq).
        weighting: Weight of a sample by its noise level.
        levels: Distribution of random noise levels: the sigmoid of a normal draw, or uniform.
        level_mean: Mean of the normal draw; above 0 for noisier samples.
        level_std: Standard deviation of the normal draw.
        level_shift: Moves random levels towards noise; 1 for none.
        absent_noise_share: Share of batches in which an absent stream is noise at level 1; in the
            others it is left out and not computed.
        drop_probability: How often a condition is dropped, for guidance.
        clean_probability: How often what is given is clean; otherwise its level is random.
        clip_probability: How often a text given alone brings its CLIP states along.
        pooled_drop_probability: How often the pooled condition is zero although nothing is dropped.
        joint_change_probability: How often, of several modalities made together, one is given or
            absent instead.
        text_jitter: Uniform draws in [0, this) are added to text latents.
        text_coupling: Which noise meets which token of a text that is made: `independent`, as in
            the paper, or the nearest (`matched`, for a text stream without positions).
        max_length: Longest text in tokens, end included; longer ones are cut and counted.

    Raises:
        ConfigError: If there is no task, or a number is out of its range.
    """

    best_by = "loss"
    trains_backbone = True
    recipe_defaults: ClassVar[Mapping[str, Any]] = {
        "head": "linear",
        "refiner": "none",
        "training": {"ema_decay": 0.999},
    }

    def __init__(
        self,
        *,
        tasks: dict[str, float] | list[str] | None = None,
        weights: dict[str, float] | None = None,
        weighting: Weighting = "logit_normal",
        levels: Literal["logit-normal", "uniform"] = "logit-normal",
        level_mean: float = 0.0,
        level_std: float = 1.0,
        level_shift: float = 1.0,
        absent_noise_share: float = 1.0,
        drop_probability: float = 0.15,
        clean_probability: float = 0.8,
        clip_probability: float = 0.5,
        pooled_drop_probability: float = 0.15,
        joint_change_probability: float = 0.2,
        text_jitter: float = 0.001,
        text_coupling: Coupling = "independent",
        max_length: int = 256,
    ) -> None:
        self.tasks = _weighted_tasks(tasks)
        self.weights = {**DEFAULT_WEIGHTS, **(weights or {})}
        _check_numbers("weights", self.weights)
        of_text = {name: self.weights["text"] * self.weights[name] for name in ("direction", "ce")}
        self._term_weights = {**self.weights, **of_text}
        if not 0 <= text_jitter < math.inf:
            raise ConfigError("text_jitter", text_jitter, expected="a number >= 0")
        if max_length < 2:
            raise ConfigError("max_length", max_length, expected="a whole number >= 2")
        self.rules = FlowRules(
            distribution=LevelDistribution(levels, level_mean, level_std, level_shift),
            absent_noise_share=absent_noise_share,
            drop_probability=drop_probability,
            clean_probability=clean_probability,
            clip_probability=clip_probability,
            pooled_drop_probability=pooled_drop_probability,
            joint_change_probability=joint_change_probability,
        )
        self.weighting = weighting
        self.text_jitter = text_jitter
        self.text_coupling = text_coupling
        self.max_length = max_length
        self.modalities = frozenset(
            name for task in self.tasks for name in (*task.given, *task.made)
        )

    def check(self, model: OmniFlowModel) -> None:
        """Refuse a backbone without the streams that the tasks need, and a weight of no loss.

        Raises:
            UsageError: If the backbone lacks one.
            ConfigError: If there is a weight that neither a loss of this objective nor one of the
                head's goes by.
        """
        check_weight_names(self.weights, DEFAULT_WEIGHTS, model.head.loss_names)
        lacking = sorted(self.modalities - set(model.backbone.modalities))
        if lacking:
            raise UsageError(
                f"backbone {model.parts.backbone.name} makes no {' and no '.join(lacking)}",
                where="objective.tasks",
                expected=f"tasks of {' and '.join(model.backbone.modalities)}, such as "
                "--set 'objective.tasks=[t2t]', or another backbone",
            )

    def task_weights(self) -> Mapping[Task, float]:
        """The tasks that are drawn."""
        return self.tasks

    def collate(self, model: OmniFlowModel, samples: Sequence[Sample], draws: Draws) -> Batch:
        """Draw a task for each sample among those that it can serve, and the levels of its streams.

        Samples that are alike share the task. Where a sample has tasks of its own, those count.

        Raises:
            DataError: If a sample does not bring what a task reads.
        """
        brought = [brought_by(sample) for sample in samples]
        weights = [self.tasks if sample.tasks is None else sample.tasks for sample in samples]
        parts = [
            FlowPart(positions, draw_plan(task, draws.rows(positions), self.rules))
            for task, positions in draw_tasks(weights, brought, draws).items()
        ]
        tokens = None
        if "text" in self.modalities:
            texts = [sample.text or "" for sample in samples]
            tokens = model.backbone.tokenise(texts, max_length=self.max_length)
        return FlowBatch(samples, tokens, parts, draws)

    def texts_cut(self, batch: Batch) -> int:
        """How many texts of the batch have been cut at `max_length`."""
        tokens = cast(FlowBatch, batch).tokens
        return 0 if tokens is None else tokens.cut

    def encode_ahead(self, model: OmniFlowModel, samples: Sequence[Sample]) -> None:
        """Ask for the latents of all modalities, and for conditions of what may be given."""
        tokens = None
        if "text" in self.modalities:
            texts = [sample.text or "" for sample in samples]
            tokens = model.backbone.tokenise(texts, max_length=self.max_length)
        encoded = EncodedSamples(model, samples, tokens)
        given = {name for task in self.tasks for name in task.given}
        # Of several that are made together, one is given now and then.
        changing = {n for task in self.tasks if len(task.made) > 1 for n in task.made}
        for name in sorted(self.modalities):
            positions = [i for i, sample in enumerate(samples) if name in brought_by(sample)]
            if not positions:
                continue
            encoded.latents(name, positions)
            if name in given | changing:
                encoded.pooled(name, positions)
            if name == "text" and "text" in given and self.rules.clip_probability > 0:
                encoded.clip_states(positions)

    def losses(self, model: OmniFlowModel, batch: Batch) -> Losses:
        """The losses of what the tasks make; the other streams have none."""
        batch = cast(FlowBatch, batch)
        encoded = EncodedSamples(model, batch.samples, batch.tokens)
        terms = [self._part_terms(model, batch, part, encoded) for part in batch.parts]
        counts = [part_counts(part, batch.tokens) for part in batch.parts]
        return Losses(mean_terms(terms, counts), self._term_weights)

    def _part_terms(
        self, model: OmniFlowModel, batch: FlowBatch, part: FlowPart, encoded: EncodedSamples
    ) -> dict[str, Tensor]:
        inputs = flow_inputs(
            encoded,
            part.positions,
            part.plan,
            batch.draws.rows(part.positions),
            text_jitter=self.text_jitter,
            text_coupling=self.text_coupling,
        )
        prediction = _predict(model, inputs)
        terms: dict[str, Tensor] = {}
        for name, level in zip(MODALITIES, part.plan.levels, strict=True):
            if name not in part.plan.made or level is None:
                continue
            weights = level_weights(level, self.weighting).to(model.device)
            clean, noise = getattr(inputs.clean, name), getattr(inputs.noise, name)
            if name == "text" and prediction.text is not None:
                tokens = None
                if batch.tokens is not None:
                    tokens = token_rows(batch.tokens, part.positions)
                terms |= self._text_terms(model, tokens, prediction.text, clean, weights)
            else:
                terms[name] = velocity_loss(
                    getattr(prediction, name), clean=clean, noise=noise, weights=weights
                )
        return terms

    def counts(self, batch: Batch) -> Mapping[str, float]:
        """Samples for each error, tokens for the cross entropy; none for what is not made."""
        batch = cast(FlowBatch, batch)
        return summed_counts([part_counts(part, batch.tokens) for part in batch.parts])

    def head_passes(self, batch: Batch) -> int:
        """One for every part that makes text."""
        return sum("text" in part.plan.made for part in cast(FlowBatch, batch).parts)

    def passes(self, batch: Batch) -> list[str]:
        """The task of every part, and the streams that are read for it."""
        return [f"{part.plan.task} of {part.plan.streams}" for part in cast(FlowBatch, batch).parts]

    def measure(self, model: OmniFlowModel, batch: Batch) -> Mapping[str, Tensor]:
        """Squared errors of every task, what is given being clean and nothing dropped.

        What is made is at a level that its sample's id decides, spread evenly over (0, 1). A
        sample's noise is the same in every task.
        """
        batch = cast(FlowBatch, batch)
        encoded = EncodedSamples(model, batch.samples, batch.tokens)
        brought = [brought_by(sample) for sample in batch.samples]
        sums: dict[str, Tensor] = {}
        for task in self.tasks:
            needed = {*task.given, *task.made}
            positions = [i for i, names in enumerate(brought) if names >= needed]
            if not positions:
                continue
            plan = self._validation_plan(task, [batch.samples[i] for i in positions])
            draws = batch.draws.rows(positions)
            inputs = flow_inputs(encoded, positions, plan, draws, text_coupling=self.text_coupling)
            for name, error in _squared_errors(model, inputs).items():
                count = torch.tensor(getattr(inputs.clean, name).numel(), device=model.device)
                sums |= {f"{task}.{name}.error": error, f"{task}.{name}.count": count}
        return sums

    def summarise(self, sums: Mapping[str, float]) -> dict[str, float]:
        """Mean squared errors: by task and modality, by modality, and the weighted sum of these."""
        figures: dict[str, float] = {}
        totals: dict[str, list[tuple[float, float]]] = {}
        for task, weight in self.tasks.items():
            for name in MODALITIES:
                count = sums.get(f"{task}.{name}.count", 0)
                if count:
                    error = sums[f"{task}.{name}.error"] / count
                    figures[f"{task}_{name}"] = error
                    totals.setdefault(name, []).append((weight, error))
        means = {
            name: sum(weight * error for weight, error in parts)
            / sum(weight for weight, _ in parts)
            for name, parts in totals.items()
        }
        loss = sum(self.weights[name] * mean for name, mean in means.items())
        return {"loss": loss, **means, **figures}

    def _text_terms(
        self,
        model: OmniFlowModel,
        tokens: TokenBatch | None,
        text: TextPrediction,
        clean: Tensor,
        weights: Tensor,
    ) -> dict[str, Tensor]:
        terms = {
            "text": weighted_error(text.latents, clean, weights),
            "direction": direction_loss(text.latents, clean, weights),
        }
        if self.weights["ce"] > 0 and tokens is not None:
            terms["ce"] = cross_entropy(model.backbone, text.latents, tokens)
        check_head_losses(model.parts.head.name, DEFAULT_WEIGHTS, text.losses)
        check_weight_names(self.weights, DEFAULT_WEIGHTS, text.losses)
        return {**terms, **text.losses}

    def _validation_plan(self, task: Task, samples: Sequence[Sample]) -> FlowPlan:
        """Levels that do not depend on a draw."""
        given = [name for name in POOLED_ORDER if name in task.given and name not in task.made]
        is_noise = self.rules.absent_noise_share >= 0.5
        levels: dict[str, Tensor | None] = {}
        for name in MODALITIES:
            if name in task.made:
                levels[name] = spread_levels(samples, salt=f"{name} ")
            elif name in given:
                levels[name] = torch.zeros(len(samples))
            else:
                levels[name] = torch.ones(len(samples)) if is_noise else None
        is_pair = len({*task.given, *task.made}) < len(MODALITIES)
        return FlowPlan(
            task=task,
            levels=Streams(**levels),
            dropped=Streams(),
            pooled_from=given[0] if given else None,
            pooled_kept=torch.full((len(samples),), bool(given)),
            has_clip="text" in given and is_pair and self.rules.clip_probability > 0,
        )


def _predict(model: OmniFlowModel, inputs: FlowInputs) -> ModelPrediction:
    """Velocities of image and audio, and the clean text latents where text is made."""
    makes_text = inputs.clean.text is not None
    prediction = model.predict(inputs.noisy, inputs.timesteps, inputs.pooled, needs_text=makes_text)
    if makes_text and prediction.text is None:
        raise PluginError(f"backbone {model.parts.backbone.name} predicts no text")
    return prediction


def _squared_errors(model: OmniFlowModel, inputs: FlowInputs) -> dict[str, Tensor]:
    """Sum of squared errors of every stream that is made."""
    prediction = _predict(model, inputs)
    errors = {}
    for name, clean, noise in zip(MODALITIES, inputs.clean, inputs.noise, strict=True):
        if clean is not None and noise is not None:
            if name == "text" and prediction.text is not None:
                difference = prediction.text.latents.float() - clean.float()
            else:
                difference = getattr(prediction, name).float() - (noise - clean).float()
            errors[name] = difference.square().sum()
    return errors


def _weighted_tasks(said: Mapping[str, float] | Sequence[str] | None) -> dict[Task, float]:
    if said is None:
        said = DEFAULT_TASKS
    weights = said if isinstance(said, Mapping) else dict.fromkeys(said, 1.0)
    _check_numbers("tasks", weights)
    tasks = {Task.parse(name): weight for name, weight in weights.items() if weight > 0}
    if not tasks:
        raise ConfigError("tasks", said, expected="at least one task of weight above 0")
    return tasks


def _check_numbers(option: str, weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < math.inf:
            raise ConfigError(f"{option}.{name}", weight, expected="a number >= 0")
