"""The contract checks find what is wrong, and say it in a line."""

import pytest
import torch
from torch import nn

from omniflow.errors import UnknownNameError
from omniflow.interfaces import (
    Dataset,
    Encoder,
    Head,
    HeadOutput,
    Metric,
    RecordFigures,
    Refiner,
    Sample,
    Score,
)
from omniflow.testing import ContractError, check_names, contract_of
from omniflow.testing.contract import checks_of


def failing(kind, component, tmp_path_factory, **how):
    """Messages of the checks that fail, by their names."""
    test = contract_of(kind, component, **how)
    messages = {}
    for check in checks_of(kind):
        if "in-a-model" in check.name:
            continue
        try:
            test(check, tmp_path_factory)
        except ContractError as error:
            messages[check.name] = str(error)
    return messages


class GoodHead(Head):
    """A head that does what it should.

    Args:
        feature_dim: Filled in.
        latent_dim: Filled in.
    """

    loss_names = ()

    def __init__(self, *, feature_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.layer = nn.Linear(feature_dim, latent_dim)

    def forward(self, features):
        return HeadOutput(latents=self.layer(features))


class Narrow(GoodHead):
    def forward(self, features):
        return HeadOutput(latents=self.layer(features)[..., :-1])


class Unused(GoodHead):
    def __init__(self, *, feature_dim: int, latent_dim: int) -> None:
        super().__init__(feature_dim=feature_dim, latent_dim=latent_dim)
        self.spare = nn.Linear(2, 2)


class Idle(GoodHead):
    def __init__(self, *, feature_dim: int, latent_dim: int) -> None:
        super().__init__(feature_dim=feature_dim, latent_dim=latent_dim)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, features):
        return HeadOutput(latents=self.layer(features) + 0 * self.scale)


class Cut(GoodHead):
    def forward(self, features):
        return HeadOutput(latents=self.layer(features.detach()))


class AlwaysDropping(GoodHead):
    def forward(self, features):
        dropped = nn.functional.dropout(features, 0.5, training=True)
        return HeadOutput(latents=self.layer(dropped))


class Counting(GoodHead):
    def __init__(self, *, feature_dim: int, latent_dim: int) -> None:
        super().__init__(feature_dim=feature_dim, latent_dim=latent_dim)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, features):
        self.calls += 1
        return HeadOutput(latents=self.layer(features))


class AcrossTheBatch(GoodHead):
    def forward(self, features):
        return HeadOutput(latents=self.layer(features - features.mean(0, keepdim=True)))


class OwnDice(GoodHead):
    def forward(self, features):
        noise = torch.rand(features.shape, generator=torch.Generator().manual_seed(id(self) % 997))
        return HeadOutput(latents=self.layer(features + (noise if self.training else 0)))


class Forgetful(GoodHead):
    def __init__(self, *, feature_dim: int, latent_dim: int) -> None:
        super().__init__(feature_dim=feature_dim, latent_dim=latent_dim)
        self.offset = torch.randn(latent_dim)

    def forward(self, features):
        return HeadOutput(latents=self.layer(features) + self.offset.to(features))


class Growing(GoodHead):
    def forward(self, features):
        if not hasattr(self, "mean"):
            self.register_buffer("mean", features.detach().mean())
        return HeadOutput(latents=self.layer(features))


class HalfBlind(GoodHead):
    def forward(self, features):
        with torch.autocast("cpu", enabled=False):
            return HeadOutput(latents=self.layer(features) * float("inf"))


class Peeking(GoodHead):
    def forward(self, features):
        scale = 1.0 if features.mean().item() > 0 else 2.0
        return HeadOutput(latents=self.layer(features) * scale)


class Misnamed(GoodHead):
    loss_names = ("size",)

    def forward(self, features):
        latents = self.layer(features)
        return HeadOutput(latents=latents, losses={"mse": latents.square()})


class FloatCodes(GoodHead):
    def forward(self, features):
        return HeadOutput(latents=self.layer(features), codes=features[..., 0])


class Untold(GoodHead):
    """A head with options that nobody can use.

    Args:
        width: Any.
    """

    def __init__(self, *, feature_dim: int, latent_dim: int, width=3, depth: int = -1) -> None:
        super().__init__(feature_dim=feature_dim, latent_dim=latent_dim)
        if depth == 0:
            raise ValueError("no depth")


class Odd(GoodHead):
    """A head with a default that no recipe holds.

    Args:
        layer: What is used.
    """

    def __init__(
        self, *, feature_dim: int, latent_dim: int, layer: type[nn.Module] = nn.Linear
    ) -> None:
        super().__init__(feature_dim=feature_dim, latent_dim=latent_dim)


def test_a_good_head_fails_nothing(tmp_path_factory):
    assert failing("head", GoodHead, tmp_path_factory) == {}


@pytest.mark.parametrize(
    ("head", "check", "message"),
    [
        (Narrow, "latents-have-their-shape", r"latents have shape \[1, 1, 15\], expected \[1, 1"),
        (Unused, "gradients-reach-every-parameter", "does not depend on parameter spare.weight"),
        (Unused, "works-in-data-parallel", "not under DDP: Expected to have finished reduction"),
        (Idle, "gradients-reach-every-parameter", "the gradient of scale stays zero"),
        (Cut, "gradients-reach-what-it-reads", "no gradient reaches its inputs"),
        (AlwaysDropping, "evaluation-is-deterministic-and-changes-nothing", "it is random"),
        (Counting, "evaluation-is-deterministic-and-changes-nothing", "evaluation changes calls"),
        (AcrossTheBatch, "evaluation-takes-each-sample-alone", "depend on the rest of its batch"),
        (OwnDice, "training-depends-on-the-seed-alone", "from the same seed gives another layer"),
        (Forgetful, "saved-weights-bring-it-back", "after saving and loading latents differ by"),
        (Growing, "saved-weights-bring-it-back", "its state cannot be saved and loaded"),
        (HalfBlind, "works-under-autocast", "under autocast the loss is not finite"),
        (Peeking, "works-without-values", "a step reads values back from the device"),
        (Misnamed, "losses-are-named-finite-scalars", r"loss mse has shape \[3, 5, 16\], expected"),
        (FloatCodes, "codes-are-whole-numbers-of-each-token", "codes are torch.float32, expected"),
        (Untold, "options-are-typed-and-described", "option width has no type hint"),
        (Untold, "unlikely-values-are-taken-or-refused", "depth=0 raises ValueError: no depth"),
        (Odd, "defaults-fit-their-types-and-a-recipe", "the default of option layer"),
    ],
)
def test_a_broken_head_is_told_by_the_check_that_it_fails(head, check, message, tmp_path_factory):
    test = contract_of("head", head)
    [asked] = [each for each in checks_of("head") if each.name == check]
    with pytest.raises(ContractError, match=message):
        test(asked, tmp_path_factory)


def test_a_refiner_that_flattens_is_told(tmp_path_factory):
    class Flat(Refiner):
        """Forgets the tokens."""

        def __init__(self, *, latent_dim: int) -> None:
            super().__init__()

        def forward(self, latents):
            return latents.flatten(1)

    [asked] = [each for each in checks_of("refiner") if each.name == "latents-have-their-shape"]
    with pytest.raises(ContractError, match=r"latents have shape \[1, 16\]"):
        contract_of("refiner", Flat)(asked, tmp_path_factory)


def test_an_encoder_that_mixes_its_batch_and_draws_weights_is_told(tmp_path_factory):
    class Mixing(Encoder):
        """Embeds the lengths of texts."""

        modalities = ("text",)
        width = 2

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2)

        def load_weights(self):
            pass

        def encode(self, samples, modality):
            lengths = torch.tensor([[float(len(sample.text))] for sample in samples])
            return self.layer(lengths - lengths.mean() / 2)

    assert failing("encoder", Mixing, tmp_path_factory).keys() == {
        "embeddings-depend-on-their-sample-alone",
        "a-second-instance-embeds-alike",
    }


def test_a_dataset_of_chance_is_told(tmp_path_factory):
    class Chance(Dataset):
        """Random words, all of one id."""

        def __init__(self, *, split: str) -> None:
            pass

        def __len__(self):
            return 3

        def __getitem__(self, index):
            return Sample(id="x", text=str(torch.rand(()).item()), references=["y"])

    told = failing("dataset", Chance, tmp_path_factory)
    assert {name: message.partition(": ")[2] for name, message in told.items()} == {
        "an-unknown-split-is-refused": "it takes split 'no-such-split', expected a DataError that "
        "names its splits",
        "samples-have-ids-of-their-own": "ids of train are ['x', 'x', 'x'], expected texts, no two "
        "alike",
        "samples-hold-what-a-sample-holds": "sample x of train: references are a list, expected a "
        "tuple",
        "a-second-instance-has-the-same-samples": "two instances give other samples of train",
        "position-and-record-give-the-same-sample": "records(0) of train does not begin with "
        "sample 0",
        "its-length-is-the-number-of-samples": "there is a sample at 3, its length, expected "
        "IndexError",
        "restricted-it-has-the-same-texts": "restricted to text, train has other samples",
    }


def test_a_metric_that_praises_mistakes_is_told(tmp_path_factory):
    class Upside(Metric):
        """Share of wrong answers, weighed by their place."""

        def compute(self, predictions):
            wrong = torch.tensor([float(p.prediction not in p.references) for p in predictions])
            weighed = wrong * torch.linspace(0, 1, len(wrong)).square()
            return Score(
                value=weighed.mean().item(), signature={}, records=RecordFigures(wrong.numpy())
            )

    assert failing("metric", Upside, tmp_path_factory).keys() == {
        "signature-tells-how-it-is-computed",
        "the-order-of-records-does-not-matter",
        "figures-of-records-make-the-figure",
        "right-answers-are-not-worse-than-wrong-ones",
    }


def test_a_component_of_another_kind_is_told(tmp_path_factory):
    check = checks_of("head")[0]
    with pytest.raises(Exception, match="a subclass of omniflow.interfaces.Objective"):
        contract_of("objective", GoodHead)(checks_of("objective")[0], tmp_path_factory)
    with pytest.raises(UnknownNameError, match="(?s)no head is called 'vqq'.*pip install -e"):
        contract_of("head", "vqq")(check, tmp_path_factory)


def test_names_of_kinds_and_checks_are_looked_up():
    with pytest.raises(UnknownNameError, match="(?s)no kind is called 'heads'.*head"):
        contract_of("heads", "vq")
    with pytest.raises(UnknownNameError, match="(?s)no check of a head is called 'autocast'"):
        contract_of("head", "vq", skip=["autocast"])
    assert "works-under-autocast" in check_names("head")
