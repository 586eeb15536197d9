"""Predictions for the records of a dataset, with how likely the decoder finds the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import torch

from omniflow.errors import ConfigError, DataError, RecordError, UsageError
from omniflow.interfaces import Dataset, Prediction, Sample, TokenScores
from omniflow.objectives.token_scores import score_tokens
from omniflow.sampling.noise import SeededNoise
from omniflow.sampling.requests import check_modalities
from omniflow.sampling.sampler import sample_latents
from omniflow.sampling.settings import resolve_settings
from omniflow.seeds import mixed_seed
from omniflow.tasks import Task

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


@torch.no_grad()
def generate_predictions(
    model: OmniFlowModel,
    dataset: Dataset,
    *,
    task: Task,
    noise_level: float = 0.0,
    steps: int | None = None,
    batch_size: int = 32,
    limit: int | None = None,
    seed: int = 0,
    max_length: int = 256,
    max_new_tokens: int = 223,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    skipped: Callable[[RecordError], None] = lambda error: None,
) -> list[Prediction]:
    """Generate a text for every record of a dataset split that can be read.

    The same seed gives the same predictions whatever the batch size, and whatever other records
    are like.

    Args:
        model: An assembled or loaded model.
        dataset: The records; each must have a text, for references, and what the task is given.
        task: A task that makes text alone. In `t2t` the record's own text is given, at
            `noise_level`.
        noise_level: 0 gives the clean text latents, 1 pure noise, so that only the model speaks;
            for tasks that are given the text.
        steps: Denoising steps; the backbone's own number when None. At level 0 one prediction is
            made.
        batch_size: Records at a time.
        limit: Stop after so many records.
        seed: Start of the noise of every record.
        max_length: Longest reference in tokens that is scored, end included.
        max_new_tokens: Longest prediction in tokens.
        settings: Further settings of sampling, see `SamplingSettings`.
        progress: Called with (done, total) after each batch.
        skipped: Called with what is wrong, for every record that is left out.

    Raises:
        UsageError: If the task makes other than text, the backbone cannot serve it, or a number is
            out of range.
        DataError: If a record lacks what is needed, or there is none that can be read.
    """
    check_task(task)
    if not 0.0 <= noise_level <= 1.0:
        raise ConfigError("noise_level", noise_level, expected="a number in [0, 1]")
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise ConfigError(name, value, expected="a whole number >= 1")
    given = {
        **(settings or {}), "steps": steps, "noise_level": noise_level,
        "max_new_tokens": max_new_tokens,
    }  # fmt: skip
    resolved = resolve_settings(task, model.backbone.sampling_defaults, given)
    check_modalities(task, model.backbone)
    total = limit if dataset.is_streaming and limit is not None else len(dataset)
    total = total if limit is None else min(limit, total)
    if next(dataset.records(), None) is None:
        raise DataError("the dataset has no records in this split")
    records = islice(dataset.records(), total)
    model.eval()
    predictions: list[Prediction] = []
    done = 0
    while batch := list(islice(records, batch_size)):
        read = _readable(dataset, enumerate(batch, start=done), skipped)
        done += len(batch)
        if not read:
            continue
        indices, samples = list(read), [_checked(sample, task) for sample in read.values()]
        texts_given = [cast(str, sample.text) for sample in samples]
        tokens = model.backbone.tokenise(texts_given, max_length=max_length)
        noise = SeededNoise([mixed_seed(seed, index) for index in indices], model.device)
        latents = sample_latents(model, task, samples, resolved, noise)["text"]
        texts = model.backbone.generate_text(latents, max_new_tokens=max_new_tokens)
        scores = score_tokens(model.backbone, latents, tokens)
        columns = zip(
            scores.count.tolist(), scores.nll.tolist(), scores.correct.tolist(), strict=True
        )
        predictions += [
            Prediction(
                id=sample.id,
                task=str(task),
                prediction=text,
                references=sample.references or (cast(str, sample.text),),
                tokens=TokenScores(count=count, nll=nll, correct=correct),
            )
            for sample, text, (count, nll, correct) in zip(samples, texts, columns, strict=True)
        ]
        if progress is not None:
            progress(done, total)
    if not predictions:
        raise DataError(f"none of the {done} records can be read", expected="at least one")
    return predictions


def _readable(
    dataset: Dataset,
    records: Iterable[tuple[int, Any]],
    skipped: Callable[[RecordError], None],
) -> dict[int, Sample]:
    """The samples of numbered records, those left out that cannot be read."""
    read = {}
    for number, record in records:
        try:
            read[number] = dataset.decode(record)
        except RecordError as error:
            skipped(error)
    return read


def check_task(task: Task) -> None:
    """Refuse a task whose result is no prediction file.

    Raises:
        UsageError: Unless the task makes text alone.
    """
    if task.made != ("text",):
        raise UsageError(
            f"task {task} makes {' and '.join(task.made)}",
            where="task",
            expected="a task that makes text alone, such as t2t or i2t",
        )


def _checked(sample: Sample, task: Task) -> Sample:
    """A record with everything that is needed: what is given, and a text to compare with."""
    for name in ("text", *task.given):
        if getattr(sample, name) is None:
            raise DataError(
                f"the record has no {name}", where=sample.id, expected=f"{name} for {task}"
            )
    return sample
