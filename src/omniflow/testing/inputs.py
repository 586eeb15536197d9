"""Inputs for checks: real samples with text, picture and sound, and predictions about texts."""

from __future__ import annotations

from collections.abc import Sequence

from omniflow.interfaces.dataset import Sample
from omniflow.interfaces.metric import Prediction, TokenScores
from omniflow.plugins import load_plugins


def example_samples(count: int = 4) -> list[Sample]:
    """Samples with text, picture and sound each, the first of the test split of `scenes`.

    Args:
        count: How many, at least 1.
    """
    scenes = load_plugins().registry.get("dataset", "scenes").load()(split="test", size=count)
    return [scenes[index] for index in range(count)]


def example_predictions() -> list[Prediction]:
    """Predictions about texts: right ones and wrong ones, with one and several references.

    Each has token scores as well, and none has a picture or a sound.
    """
    return [
        _prediction("a", "a red circle above a blue square", "a red circle above a blue square"),
        _prediction("b", "a red circle", "a green circle left of a red star", "a star"),
        _prediction("c", "two yellow stars on a dark ground", "two yellow stars"),
        _prediction("d", "a blue square", "a red square", "a blue square"),
        _prediction("e", "something else entirely", "a blue square"),
    ]


def perfect(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The same records, each predicted to be its first reference."""
    return [_with_text(record, record.references[0]) for record in predictions]


def hopeless(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The same records, each predicted to be words that no reference has."""
    return [_with_text(record, "qqq zzz qqq xxx") for record in predictions]


def _prediction(id: str, text: str, *references: str) -> Prediction:
    words = len(references[0].split()) + 1
    tokens = TokenScores(count=words, nll=0.5 * words + len(id), correct=words // 2)
    return Prediction(id=id, task="t2t", prediction=text, references=references, tokens=tokens)


def _with_text(record: Prediction, text: str) -> Prediction:
    return Prediction(record.id, record.task, text, record.references, record.tokens)
