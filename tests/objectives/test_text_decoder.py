import pytest
import torch
import torch.nn.functional as F

from omniflow import build
from omniflow.draws import Draws
from omniflow.errors import ConfigError, DataError, PluginError
from omniflow.interfaces import HeadOutput, Sample
from omniflow.objectives.flow_losses import decoder_loss
from omniflow.objectives.spread_levels import spread_levels
from omniflow.objectives.text_decoder import (
    TextDecoderObjective,
    contrastive_loss,
)
from omniflow.objectives.token_scores import cross_entropy, score_tokens

TEXTS = ["a red circle", "two blue squares above a line", "ok"]


@pytest.fixture(scope="module")
def model(random_backbone):
    return build(
        backbone={"name": "folder", "path": str(random_backbone)},
        head={"name": "mlp", "hidden_dim": 16},
        refiner={"name": "mlp", "hidden_dim": 8},
    )


def batch_of(objective, model, texts, first=0, seed=0):
    samples = [Sample(id=str(first + n), text=text) for n, text in enumerate(texts)]
    return objective.collate(model, samples, Draws.at(seed, range(first, first + len(texts))))


def slow_nll(model, latents, ids):
    """Token by token: what each next token costs, given the latents and the tokens before it."""
    total = 0.0
    for position in range(1, len(ids)):
        logits = model.backbone.decode_logits(latents, ids[None, :position])[0, -1]
        total -= torch.log_softmax(logits.double(), -1)[ids[position]].item()
    return total


def test_token_scores_are_those_of_decoding_one_token_at_a_time(model):
    tokens = model.backbone.tokenise(TEXTS, max_length=64)
    latents = model.backbone.encode_text(tokens.prompt_ids, tokens.is_empty)
    scores = score_tokens(model.backbone, latents, tokens)
    for row in range(len(TEXTS)):
        ids = tokens.input_ids[row][tokens.labels[row] != -100]
        assert scores.count[row] == len(ids) - 1
        expected = slow_nll(model, latents[row : row + 1], ids)
        assert scores.nll[row].item() == pytest.approx(expected, abs=1e-3)


def test_padding_changes_no_texts_score(model):
    together = model.backbone.tokenise(TEXTS, max_length=64)
    latents = model.backbone.encode_text(together.prompt_ids, together.is_empty)
    joint = score_tokens(model.backbone, latents, together)
    for row, text in enumerate(TEXTS):
        alone = model.backbone.tokenise([text], max_length=64)
        single = score_tokens(model.backbone, latents[row : row + 1], alone)
        torch.testing.assert_close(single.nll[0], joint.nll[row], atol=1e-3, rtol=0)
        assert single.correct[0] == joint.correct[row]


def test_cross_entropy_is_that_of_all_logits_and_so_is_its_gradient(model):
    tokens = model.backbone.tokenise([*TEXTS, ""], max_length=64)
    latents = model.backbone.encode_text(tokens.prompt_ids, tokens.is_empty).requires_grad_()
    expected = decoder_loss(model.backbone.decode_logits(latents, tokens.input_ids), tokens.labels)
    (gradient,) = torch.autograd.grad(expected, latents)
    found = cross_entropy(model.backbone, latents, tokens)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        torch.autograd.grad(found, latents)[0], gradient, atol=1e-6, rtol=1e-4
    )


def test_cross_entropy_alone_trains_head_and_refiner_and_nothing_frozen(model):
    objective = TextDecoderObjective(weights={"mse": 0.0})
    torch.manual_seed(0)
    model.train()
    losses = objective.losses(model, batch_of(objective, model, TEXTS))
    model.zero_grad()
    losses.total.backward()
    # The refiner's last layer starts at zero, so at first the gradient stops at that layer.
    assert model.refiner.down.weight.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.head.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.backbone.parameters())


def test_total_is_the_weighted_sum_of_the_terms(model):
    weights = {"ce": 0.5, "mse": 2.0, "contrastive": 0.25}
    objective = TextDecoderObjective(weights=weights)
    torch.manual_seed(1)
    losses = objective.losses(model, batch_of(objective, model, TEXTS))
    assert set(losses.terms) == {"ce", "mse", "contrastive"}
    expected = sum(weights[name] * term for name, term in losses.terms.items())
    torch.testing.assert_close(losses.total, expected)


def test_measured_sums_add_up_over_batches_of_any_size(model):
    objective = TextDecoderObjective()
    model.eval()
    with torch.no_grad():
        whole = objective.measure(model, batch_of(objective, model, TEXTS))
        parts = [
            objective.measure(model, batch_of(objective, model, [text], first))
            for first, text in enumerate(TEXTS)
        ]
    for name, value in whole.items():
        added = sum(float(part[name]) for part in parts)
        assert added == pytest.approx(float(value), rel=1e-4)


def test_perplexity_is_taken_over_tokens():
    figures = TextDecoderObjective().summarise(
        {
            "tokens": 4,
            "nll": 4 * 1.5,
            "correct": 1,
            "squared_error": 3.0,
            "elements": 6,
            "clean_tokens": 2,
            "clean_nll": 0.0,
            "clean_correct": 2,
            "clean_squared_error": 1.0,
            "clean_elements": 4,
        }
    )
    assert figures["ppl"] == pytest.approx(4.4816890703)
    assert figures["accuracy"] == 0.25
    assert figures["mse"] == 0.5
    assert figures["clean_ppl"] == 1.0
    assert figures["clean_accuracy"] == 1.0
    assert figures["clean_mse"] == 0.25


def test_spread_levels_cover_the_interval_and_stay_with_their_samples():
    samples = [Sample(id=f"test-{number}") for number in range(5000)]
    levels = spread_levels(samples)
    assert levels.min() > 0
    assert levels.max() < 1
    counts = torch.histc(levels, bins=10, min=0, max=1)
    assert counts.min() > 420
    assert torch.equal(spread_levels(samples[100:110]), levels[100:110])


@pytest.mark.parametrize("levels", ["uniform", "logit-normal"])
def test_levels_lie_between_clean_and_pure_noise(levels):
    objective = TextDecoderObjective(levels=levels)
    drawn = objective._levels(Draws(range(20_000)).fractions("level"))
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.01)
    spread = {"uniform": 12**-0.5, "logit-normal": 0.2083}[levels]
    assert drawn.std().item() == pytest.approx(spread, abs=0.005)


def test_contrastive_loss_is_cross_entropy_of_cosine_similarities():
    torch.manual_seed(3)
    predicted, true = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    losses = []
    for row in range(4):
        similarities = torch.stack(
            [
                F.cosine_similarity(predicted[row].mean(0), true[other].mean(0), 0)
                for other in range(4)
            ]
        )
        losses.append(-torch.log_softmax(similarities / 0.07, 0)[row])
    expected = torch.stack(losses).mean()
    torch.testing.assert_close(contrastive_loss(predicted, true, 0.07), expected)


def test_a_weight_that_matches_no_loss_is_refused_before_training(model):
    with pytest.raises(ConfigError, match="objective.weights.vqq is 2.0") as caught:
        TextDecoderObjective(weights={"vqq": 2.0}).check(model)
    assert caught.value.nearest == ("vq",)


def test_beside_a_head_that_names_no_losses_the_first_batch_tells(model, monkeypatch):
    monkeypatch.setattr(model.head, "loss_names", None)
    objective = TextDecoderObjective(weights={"vqq": 2.0})
    objective.check(model)
    with pytest.raises(ConfigError, match="objective.weights.vqq is 2.0"):
        objective.losses(model, batch_of(objective, model, TEXTS))


def test_a_head_may_not_call_its_loss_as_the_objective_does(model, monkeypatch):
    def forward(features):
        latents = features[..., : model.backbone.latent_dim]
        return HeadOutput(latents, losses={"mse": latents.mean()})

    monkeypatch.setattr(model.head, "forward", forward)
    objective = TextDecoderObjective()
    with pytest.raises(PluginError, match="head mlp returns a loss called 'mse'"):
        objective.losses(model, batch_of(objective, model, TEXTS))


def test_texts_longer_than_the_limit_are_cut_and_counted(model):
    objective = TextDecoderObjective(max_length=5)
    batch = batch_of(objective, model, [*TEXTS, "o" * 100])
    assert batch.tokens.input_ids.shape[1] == 5
    assert objective.texts_cut(batch) == sum(
        len(model.backbone.tokenise([text], max_length=999).input_ids[0]) > 5
        for text in [*TEXTS, "o" * 100]
    )


def test_a_sample_without_text_is_refused_by_its_id(model):
    with pytest.raises(DataError, match="picture-7: the record has no text"):
        TextDecoderObjective().collate(model, [Sample(id="picture-7")], Draws([0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ["t2i"]}, "tasks that make text"),
        ({"tasks": ["i2t"]}, "trains the text stream only"),
        ({"tasks": ["x"]}, "task is 'x'"),
        ({"max_length": 1}, "max_length is 1, expected a whole number >= 2"),
        ({"weights": {"ce": -1.0}}, "weights.ce is -1.0"),
        ({"weights": {"ce": float("nan")}}, "weights.ce is nan"),
        ({"contrastive_temperature": 0.0}, "contrastive_temperature is 0.0"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        TextDecoderObjective(**options)
