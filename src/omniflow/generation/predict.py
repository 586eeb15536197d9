"""Predictions for the records of a dataset, with how likely the decoder finds the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from omniflow.errors import ConfigError, DataError, RecordError, UsageError
from omniflow.generation.make import Made, make_batch
from omniflow.generation.plan import plan_generation
from omniflow.generation.records import (
    VainReading,
    count_records,
    nothing_usable,
    numbered_batches,
    read_records,
)
from omniflow.interfaces import Dataset, Prediction, Sample
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.tasks import Task

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


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
    decoding: TextDecoding | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    skipped: Callable[[RecordError], None] = lambda error: None,
) -> list[Prediction]:
    """Generate a text for every record of a dataset split that can be used.

    The same seed gives the same predictions whatever the batch size, and whatever other records
    are like.

    Args:
        model: An assembled or loaded model.
        dataset: The records; those that cannot be read, or lack a text for reference or what the
            task is given, are left out.
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
        decoding: How texts are decoded, in place of `max_new_tokens` and greedily.
        settings: Further settings of sampling, see `SamplingSettings`.
        progress: Called with (done, total or None) after each batch.
        skipped: Called with what is wrong, for every record that is left out.

    Raises:
        UsageError: If the task makes other than text, the backbone cannot serve it, or a number is
            out of range.
        DataError: If there is no record, or none that can be used.
    """
    check_task(task)
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise ConfigError(name, value, expected="a whole number >= 1")
    plan = plan_generation(
        model.backbone,
        task,
        noise_level=noise_level,
        steps=steps,
        seed=seed,
        max_length=max_length,
        decoding=decoding or TextDecoding(max_new_tokens=max_new_tokens),
        settings=settings,
    )
    model.eval()
    total, watch = count_records(dataset, limit), VainReading()
    predictions: list[Prediction] = []
    wrong: list[RecordError] = []
    for batch in numbered_batches(dataset, batch_size, limit):
        found = read_records(dataset, batch, task)
        errors = [one for one in found.values() if isinstance(one, RecordError)]
        for error in errors:
            skipped(error)
        wrong += errors
        watch.note(found.values())
        samples = {number: one for number, one in found.items() if isinstance(one, Sample)}
        if samples:
            made = make_batch(model, plan, samples)
            predictions += [as_prediction(one, task) for one in made.values()]
        if progress is not None:
            progress(max(batch) + 1, total)
    if not predictions and not wrong:
        raise DataError("the dataset has no records in this split")
    if not predictions:
        raise nothing_usable(wrong)
    return predictions


def as_prediction(made: Made, task: Task) -> Prediction:
    """What was made of a record that has a text, for a prediction file."""
    sample = made.sample
    return Prediction(
        id=sample.id,
        task=str(task),
        prediction=cast(str, made.text),
        references=sample.references or (cast(str, sample.text),),
        tokens=made.tokens,
    )


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
