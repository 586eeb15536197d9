"""How likely a model finds the references of predictions that carry no token scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from omniflow.errors import ConfigError, UsageError
from omniflow.interfaces import Prediction, Sample, TokenScores
from omniflow.objectives.token_scores import score_tokens
from omniflow.sampling.noise import SeededNoise
from omniflow.sampling.sampler import sample_latents
from omniflow.sampling.settings import resolve_settings
from omniflow.seeds import mixed_seed
from omniflow.tasks import Task

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


@torch.no_grad()
def with_token_scores(
    model: OmniFlowModel,
    predictions: Sequence[Prediction],
    *,
    noise_level: float = 0.0,
    steps: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    max_length: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> list[Prediction]:
    """The predictions with token scores of this model, in place of any that they carried.

    The first reference of each is given to the model as text (`t2t`), and its decoder rates the
    same text from what head and refiner make of its latents: as `omniflow generate --task t2t`
    records it.

    Args:
        model: An assembled or loaded model.
        predictions: Records of the task `t2t`, or of no task.
        noise_level: 0 gives the clean text latents, 1 pure noise.
        steps: Denoising steps where there is noise; the backbone's own number when None.
        batch_size: Records at a time.
        seed: Start of the noise of every record.
        max_length: Longest reference in tokens that is scored, end included.
        progress: Called with (done, total) after each batch.

    Raises:
        UsageError: As `check_tasks`.
        ConfigError: If a number is out of range.
    """
    if not 0.0 <= noise_level <= 1.0:
        raise ConfigError("noise_level", noise_level, expected="a number in [0, 1]")
    check_tasks(predictions)
    task = Task.parse("t2t")
    settings = resolve_settings(
        task, model.backbone.sampling_defaults, {"steps": steps, "noise_level": noise_level}
    )
    model.eval()
    scored: list[Prediction] = []
    for start in range(0, len(predictions), batch_size):
        batch = predictions[start : start + batch_size]
        samples = [Sample(id=record.id, text=record.references[0]) for record in batch]
        seeds = [mixed_seed(seed, start + place) for place in range(len(batch))]
        latents = sample_latents(model, task, samples, settings, SeededNoise(seeds, model.device))[
            "text"
        ]
        tokens = model.backbone.tokenise(
            [record.references[0] for record in batch], max_length=max_length
        )
        sums = score_tokens(model.backbone, latents, tokens)
        columns = zip(sums.count.tolist(), sums.nll.tolist(), sums.correct.tolist(), strict=True)
        scored += [
            replace(record, tokens=TokenScores(count=count, nll=nll, correct=correct))
            for record, (count, nll, correct) in zip(batch, columns, strict=True)
        ]
        if progress is not None:
            progress(len(scored), len(predictions))
    return scored


def check_tasks(predictions: Sequence[Prediction]) -> None:
    """Refuse records that hold too little to be rated.

    Raises:
        UsageError: If a task is given more than text, or a record has no reference.
    """
    for record in predictions:
        if record.task not in ("", "t2t") or not record.references:
            raise UsageError(
                f"its task {record.task} is given what a prediction file does not hold"
                if record.references
                else "it has no reference to rate",
                where=f"record {record.id}",
                expected="task t2t and a reference, to compute token scores from a checkpoint",
                notes=["`omniflow generate` records token scores beside each prediction"],
            )
