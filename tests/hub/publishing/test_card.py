"""Model cards: metadata as the Hub reads it, and what a person wrote is kept."""

import pytest
from huggingface_hub import ModelCard

from omniflow.hub.card import CardFacts, model_card
from omniflow.hub.figures import CardFigure, CardFigures

CONFIG = {
    "omniflow_version": "0.1",
    "backbone": {"name": "omniflow-zoo:omniflow-v0.5", "path": "acme/omniflow", "revision": None},
    "head": {"name": "omniflow-acme:own", "width": 3},
    "refiner": {"name": "none"},
    "encoder": [],
    "components": [
        {
            "kind": "backbone",
            "name": "omniflow-v0.5",
            "distribution": "omniflow-zoo",
            "version": "0.1",
        },
        {"kind": "head", "name": "own", "distribution": "omniflow-acme", "version": "0.3"},
        {"kind": "refiner", "name": "none", "distribution": "omniflow-zoo", "version": "0.1"},
    ],
    "trainable": 12345,
    "backbone_identity": {"id": "acme/omniflow", "revision": "c" * 40, "hash": "d" * 64},
}
RECIPE = {
    "objective": {"name": "text-decoder"},
    "dataset": [
        {"name": "coco", "path": "lmms-lab/COCO-Caption", "revision": None},
        {"name": "text", "path": "data/lines.txt"},
    ],
    "training": {
        "max_steps": None, "epochs": 3, "batch_size": 16, "grad_accum": 2, "lr": 1e-4,
        "lr_schedule": "cosine", "seed": 42,
    },
}  # fmt: skip
FIGURES = CardFigures(
    task="i2t",
    dataset="lmms-lab/COCO-Caption",
    split="test",
    model=None,
    figures=(
        CardFigure("bleu", 0.25, (0.2, 0.3), 100, "sacrebleu 2.6, tokenize 13a|x"),
        CardFigure("hf:google_bleu", 0.5, None, 100, "evaluate"),
    ),
    content={},
)


def facts(**other):
    return CardFacts(CONFIG, "acme/mine", **{"is_published": True, **other})


def test_the_hub_understands_the_metadata():
    card = ModelCard(model_card(facts(recipe=RECIPE, figures=FIGURES, licence="apache-2.0")))
    data = card.data
    assert data.library_name == "omniflow"
    assert data.pipeline_tag == "any-to-any"
    assert data.tags == ["omniflow", "any-to-any"]
    assert data.license == "apache-2.0"
    assert data.base_model == "acme/omniflow"
    assert data.datasets == ["lmms-lab/COCO-Caption"]
    assert data.metrics == ["bleu", "google_bleu"]
    first, second = data.eval_results
    assert (first.task_type, first.task_name) == ("image-to-text", "i2t")
    assert (first.dataset_type, first.dataset_split) == ("lmms-lab/COCO-Caption", "test")
    assert (first.metric_type, first.metric_value) == ("bleu", 0.25)
    assert first.metric_name == "bleu (95 % interval 0.2 to 0.3)"
    assert second.metric_name == "hf:google_bleu"


def test_a_reader_finds_figures_parts_and_what_to_install():
    text = model_card(facts(recipe=RECIPE, figures=FIGURES))
    assert "| bleu | 0.25 | 0.2 to 0.3 | 100 | sacrebleu 2.6, tokenize 13a\\|x |" in text
    assert "pip install omniflow-zoo omniflow-acme==0.3" in text
    assert 'model = omniflow.load("acme/mine")' in text
    assert "| head | `own` | omniflow-acme 0.3 | width 3 |" in text
    assert "12,345 trained parameters" in text
    assert "learning rate 0.0001 (cosine), seed 42" in text


def test_what_a_person_wrote_stays_and_what_is_ours_is_renewed():
    first = model_card(facts(figures=FIGURES, licence="mit"))
    head, rest = first.split("---\n", 2)[1:]
    edited = (f"---\n{head}language: en\n---\n# A word before\n\n{rest}\nAnd after.\n").replace(
        "tags:\n", "tags:\n- captions\n"
    )
    again = model_card(facts(recipe=RECIPE), edited)
    assert again.index("# A word before") < again.index("# mine") < again.index("And after.")
    assert again.count("# mine") == 1
    data = ModelCard(again).data
    assert (data.license, data.language) == ("mit", "en")
    assert data.tags == ["omniflow", "any-to-any", "captions"]
    # Figures are of the weights that they came with.
    assert data.eval_results is None
    assert data.metrics is None
    assert model_card(facts(recipe=RECIPE), again) == again


@pytest.mark.parametrize(
    "before",
    ["", "---\nnot: [closed\n---\n", '---\na: b\n---\n# Old\n\nmodel = omniflow.load("PATH")\n'],
)
def test_nothing_else_is_left_of_cards_that_nobody_wrote(before):
    text = model_card(facts(), before)
    assert text.partition("---\n<!-- omniflow: from here")[1]
    assert "# Old" not in text


def test_a_card_of_somebody_is_kept_whole():
    assert "# Mine\n\nWords." in model_card(facts(), "# Mine\n\nWords.\n")
