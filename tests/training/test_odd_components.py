"""Components of strangers that do what they must not, and what a person is told."""

import pytest
import torch

from omniflow.draft import Draft
from omniflow.errors import DataError, OmniFlowError, PluginError
from omniflow.interfaces import Dataset, Head, HeadOutput, Sample
from omniflow.objectives.text_decoder import TextDecoderObjective
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.serving import ServingDataset
from omniflow.training.trainer import train
from omniflow_cli.exits import exit_code_of


class OddHead(Head):
    """Does something odd.

    Args:
        kind: What.
    """

    def __init__(self, *, feature_dim: int, latent_dim: int, kind: str = "") -> None:
        super().__init__()
        self.layer = torch.nn.Linear(feature_dim, latent_dim)
        self.kind = kind
        self.calls = 0

    def statistics(self):
        return {"figure": [1] if self.kind == "statistics" else torch.tensor(1.5)}

    def forward(self, features):
        self.calls += self.training
        if self.kind == "bug" and self.calls > 2:
            raise ValueError("index\nout of range")
        latents = self.layer(features)
        odd = {
            "tensor": lambda: latents,
            "double": lambda: HeadOutput(latents.double()),
            "vector": lambda: HeadOutput(latents, {"odd": latents.mean((1, 2))}),
            "number": lambda: HeadOutput(latents, {"odd": 1.5}),
        }
        return odd.get(self.kind, lambda: HeadOutput(latents))()


class OddTexts(Dataset):
    """A sample, one that is none, and a bug.

    Args:
        split: Not looked at.
    """

    def __init__(self, *, split: str = "train") -> None:
        self.split = split

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return [Sample(id="0", text="a text"), {"text": "a text"}][index]


class OddObjective(TextDecoderObjective):
    """Does not say what decides which checkpoint is best."""

    def summarise(self, sums):
        return {"mse": 1.0}


@pytest.fixture
def trained(short_recipe, small_registry, tmp_path):
    small_registry.add([Component("head", "odd", OddHead, "Odd", Origin("tests", "0"))])

    def run(kind, objective=None):
        said = short_recipe(samples=0, max_steps=4).to_dict()
        said["head"] = {"name": "odd", "kind": kind}
        if objective is not None:
            small_registry.add(
                [Component("objective", "odd", objective, "Odd", Origin("tests", "0"))]
            )
            said["objective"]["name"] = "odd"
        recipe = resolve(Draft.from_mapping(said), small_registry)
        return train(recipe, output_dir=tmp_path / "run", registry=small_registry)

    return run


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("tensor", "head odd returns a Tensor, expected a HeadOutput"),
        ("double", "head odd returns latents of torch.float64, expected torch.float32"),
        ("vector", r"the loss 'odd' is a tensor of shape \[4\], expected a scalar tensor"),
        ("number", "the loss 'odd' is 1.5, expected a scalar tensor"),
        ("statistics", r"statistics\(\) of head odd returns {'figure': \[1\]}, expected numbers"),
    ],
)
def test_what_a_head_must_not_return_is_told_with_its_name(trained, kind, told):
    with pytest.raises(OmniFlowError, match=told):
        trained(kind)


def test_a_bug_in_a_component_is_told_with_what_is_left_of_the_run(trained, tmp_path, capsys):
    assert exit_code_of(lambda: trained("bug")) == 1
    told = capsys.readouterr().err
    assert "ValueError: index out of range" in told
    assert f"after step 2; state kept in {tmp_path / 'run/checkpoints/step-2'}" in told


def test_a_figure_may_be_a_tensor(trained, runs, tmp_path):
    trained("")
    assert runs.metrics(tmp_path / "run")[1]["figure"] == 1.5


def test_an_evaluation_without_the_figure_that_decides_is_told_with_the_objective(trained):
    with pytest.raises(PluginError, match=r"summarise\(\) of OddObjective .* ppl among them"):
        trained("", OddObjective)


def test_a_record_that_is_no_sample_is_told_with_its_dataset():
    dataset = ServingDataset(OddTexts(), "mine", {})
    first, second, third = dataset.records()
    assert dataset.decode(first).text == "a text"
    with pytest.raises(DataError, match="dataset mine: record 1 is a dict, expected a Sample"):
        dataset.decode(second)
    with pytest.raises(IndexError) as caught:
        dataset.decode(third)
    assert caught.value.__notes__ == ["while dataset mine read record 2"]
