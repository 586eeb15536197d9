"""What is random belongs to the sample: batches of any size, and in any number, agree."""

import pytest
import torch

from omniflow import build
from omniflow.draws import Draws
from omniflow.interfaces import HEAD_LOSSES, Sample
from omniflow.objectives.flow import FlowObjective
from omniflow.objectives.text_decoder import TextDecoderObjective
from omniflow.registry import Component, Origin
from omniflow.seeds import mixed_seed

TEXTS = ["ok", "two blue squares above a line and some more words", "a red circle", "x" * 30]


def samples():
    import numpy as np
    from PIL import Image

    from omniflow.interfaces import Audio

    for number, text in enumerate(TEXTS):
        picture = Image.new("RGB", (8, 8), (60 * number, 90, 200 - 30 * number))
        wave = np.sin(np.arange(64, dtype=np.float32) * (number + 1) / 9)[None]
        yield Sample(id=str(number), text=text, image=picture, audio=Audio(wave, 1000))


SAMPLES = list(samples())


@pytest.fixture
def flow_model(small_backbone, registry):
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    return build({"objective": "flow", "backbone": "small"}, registry=registry)


@pytest.fixture(scope="module")
def text_model(random_backbone):
    return build(
        backbone={"name": "folder", "path": str(random_backbone)},
        head={"name": "mlp", "hidden_dim": 16},
        refiner={"name": "mlp", "hidden_dim": 8},
    )


def batches(objective, model, size, step):
    for first in range(0, len(SAMPLES), size):
        places = range(first, first + size)
        draws = Draws.at(7, [100 + place for place in places], step)
        yield objective.collate(model, [SAMPLES[place] for place in places], draws)


def mean_terms(objective, model, size, step):
    """Every term, and its mean over batches of a size, weighed by what the objective counts."""
    sums, totals = {}, {}
    for batch in batches(objective, model, size, step):
        counts = objective.counts(batch)
        for name, term in objective.losses(model, batch).terms.items():
            count = counts.get(name, counts.get(HEAD_LOSSES))
            sums[name] = sums.get(name, 0.0) + count * term.item()
            totals[name] = totals.get(name, 0.0) + count
    return {name: value / totals[name] for name, value in sums.items()}


def assert_size_does_not_matter(objective, model, step):
    whole = mean_terms(objective, model, 4, step)
    for size in (2, 1):
        assert mean_terms(objective, model, size, step) == pytest.approx(whole, rel=1e-4, abs=1e-6)
    return whole


@pytest.mark.parametrize("levels", ["uniform", "logit-normal"])
@pytest.mark.parametrize("coupling", ["independent", "matched"])
def test_losses_of_texts_do_not_depend_on_the_batch(text_model, levels, coupling):
    objective = TextDecoderObjective(levels=levels, text_coupling=coupling)
    text_model.train()
    terms = [assert_size_does_not_matter(objective, text_model, step) for step in range(2)]
    # Levels and noise belong to the samples, which are the same in both steps.
    assert terms[0] == terms[1]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_losses_of_the_flow_do_not_depend_on_the_batch(flow_model, share):
    objective = FlowObjective(
        absent_noise_share=share,
        weights={"ce": 0.5},
        text_coupling="matched",
        drop_probability=0.4,
        joint_change_probability=0.5,
    )
    seen = set()
    for step in range(20):
        seen |= assert_size_does_not_matter(objective, flow_model, step).keys()
    assert seen == {"image", "audio", "text", "direction", "ce"}


def test_batches_of_a_step_serve_one_task_and_steps_differ(flow_model):
    objective = FlowObjective()
    tasks = []
    for step in range(12):
        parts = list(batches(objective, flow_model, 1, step))
        plans = [part.plan for batch in parts for part in batch.parts]
        assert len(plans) == len(parts)
        assert len({str(plan.task) for plan in plans}) == 1
        assert len({plan.levels.image is None for plan in plans}) == 1
        tasks.append(str(plans[0].task))
    assert len(set(tasks)) > 3


@pytest.mark.parametrize("kind", ["text", "flow"])
def test_measured_sums_do_not_depend_on_the_batch(text_model, flow_model, kind):
    model = text_model if kind == "text" else flow_model
    objective = TextDecoderObjective() if kind == "text" else FlowObjective()
    model.eval()
    with torch.no_grad():
        sums = []
        for size in (4, 1):
            added = {}
            for batch in batches(objective, model, size, 0):
                for name, value in objective.measure(model, batch).items():
                    added[name] = added.get(name, 0.0) + float(value)
            sums.append(added)
    assert sums[1] == pytest.approx(sums[0], rel=1e-4)


def test_a_cross_entropy_counts_tokens_and_an_error_samples(text_model):
    objective = TextDecoderObjective()
    (batch,) = batches(objective, text_model, 4, 0)
    counts = objective.counts(batch)
    assert counts["ce"] == (batch.tokens.labels[:, 1:] != -100).sum().item()
    assert counts["mse"] == counts[HEAD_LOSSES] == 4


def test_draws_depend_on_seed_purpose_and_shape_alone():
    draws = Draws.at(3, range(10, 14), step=5)
    alone = Draws.at(3, [12], step=9)
    for draw in (
        lambda d: d.normal("noise", 2, 3),
        lambda d: d.uniform("jitter", 5),
        lambda d: d.fractions("level"),
        lambda d: d.each("dropped", 0.5),
    ):
        assert torch.equal(draw(draws), draw(draws))
        assert torch.equal(draw(draws)[2:3], draw(alone))
        assert torch.equal(draw(draws.rows([2])), draw(alone))
    assert not torch.equal(draws.normal("noise", 3), draws.normal("other", 3))
    assert not torch.equal(draws.normal("noise", 3), Draws.at(4, range(10, 14)).normal("noise", 3))
    assert draws.shared("task") == Draws.at(3, [0], step=5).shared("task") != alone.shared("task")
    assert len(draws) == 4


def test_fractions_are_uniform_and_never_reach_the_ends():
    fractions = Draws.at(0, range(20_000)).fractions("level")
    assert 0 < fractions.min() < fractions.max() < 1
    counts = torch.histc(fractions, bins=10, min=0, max=1)
    # Five standard deviations of a count are 212.
    assert (counts - 2000).abs().max() < 212
    shared = [Draws([], mixed_seed(0, step)).happens("it", 0.3) for step in range(5000)]
    assert sum(shared) / 5000 == pytest.approx(0.3, abs=0.03)
