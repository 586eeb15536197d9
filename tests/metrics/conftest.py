"""Three captions with two references each, small WordNets, and records with token scores."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from omniflow.interfaces.metric import Prediction, TokenScores

HYPOTHESES = (
    "a brown dog runs across the green field",
    "two children are playing football in the park",
    "a man rides a red bicycle down the street",
)
REFERENCES = (
    ("a brown dog is running across a green field", "a dog runs through the grass"),
    ("two kids play soccer in a park", "two children are playing football outside in the park"),
    ("a man is riding a bicycle down a city street", "a person rides a red bike on the road"),
)

Records = Callable[..., list[Prediction]]


def make_records(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    tokens: Sequence[TokenScores | None] | None = None,
) -> list[Prediction]:
    return [
        Prediction(str(number), "i2t", hypothesis, tuple(texts), scores)
        for number, (hypothesis, texts, scores) in enumerate(
            zip(hypotheses, references, tokens or [None] * len(hypotheses), strict=True)
        )
    ]


@pytest.fixture
def records() -> Records:
    """Builds predictions from hypotheses, references and, if wanted, token scores."""
    return make_records


@pytest.fixture
def both_references() -> list[Prediction]:
    return make_records(HYPOTHESES, REFERENCES)


@pytest.fixture
def first_reference() -> list[Prediction]:
    return make_records(HYPOTHESES, [texts[:1] for texts in REFERENCES])


@pytest.fixture
def nltk_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder that is nltk's only data folder; nltk's WordNet is forgotten afterwards."""
    import nltk
    from nltk.corpus import wordnet

    folder = tmp_path / "nltk_data"
    folder.mkdir(mode=0o755)
    # A WordNet that another test loaded would stay in nltk's memory.
    _forget(wordnet)
    monkeypatch.setattr(nltk.data, "path", [str(folder)])
    yield folder
    _forget(wordnet)


def _forget(wordnet: Any) -> None:
    if type(wordnet).__name__ != "LazyCorpusLoader":
        wordnet._unload()
