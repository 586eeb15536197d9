import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from omniflow import build
from omniflow.draws import Draws
from omniflow.errors import ConfigError, DataError, UsageError
from omniflow.interfaces import Audio, Sample
from omniflow.models.flow_scheduler import add_noise
from omniflow.objectives.flow import FlowBatch, FlowObjective
from omniflow.objectives.flow_inputs import EncodedSamples, flow_inputs
from omniflow.objectives.flow_levels import FlowRules, draw_plan
from omniflow.registry import Component, Origin
from omniflow.tasks import Task


def collated(objective, model, samples, seed=0):
    return objective.collate(model, samples, Draws.at(seed, range(len(samples)), seed))


NEVER = dict.fromkeys(
    ("drop_probability", "pooled_drop_probability", "joint_change_probability"), 0
)


def sample(number, without=()):
    picture = Image.new("RGB", (8, 8), (40 * number % 256, 90, 200 - 30 * number))
    wave = np.sin(np.arange(64, dtype=np.float32) * (number + 1) / 9)[None]
    parts = {"text": f"text {number}", "image": picture, "audio": Audio(wave, 1000)}
    return Sample(id=str(number), **{k: v for k, v in parts.items() if k not in without})


SAMPLES = [sample(number) for number in range(6)]


@pytest.fixture
def model(small_backbone, registry):
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    made = build({"objective": "flow", "backbone": "small"}, registry=registry)
    made.backbone.calls.clear()
    return made


def inputs_for(model, task, seed=0, **rules):
    draws = Draws.at(seed, range(len(SAMPLES)))
    tokens = model.backbone.tokenise([s.text for s in SAMPLES], max_length=64)
    plan = draw_plan(Task.parse(task), draws, FlowRules(**rules))
    encoded = EncodedSamples(model, SAMPLES, tokens)
    return plan, encoded, flow_inputs(encoded, range(len(SAMPLES)), plan, draws)


@pytest.mark.parametrize("task", ["t2i", "i2t", "it2a", "2iat"])
def test_streams_are_mixed_with_their_noise_at_their_levels(model, task):
    plan, encoded, inputs = inputs_for(model, task, clip_probability=0)
    for name in plan.clean:
        level, noisy = getattr(plan.levels, name), getattr(inputs.noisy, name)
        latents = encoded.latents(name, range(6))
        torch.testing.assert_close(getattr(inputs.timesteps, name), 1000 * level)
        for row in range(6):
            if level[row] == 0:
                assert torch.equal(noisy[row], latents[row])
        if name in plan.made:
            assert torch.equal(getattr(inputs.clean, name), latents)
            mixed = add_noise(latents, getattr(inputs.noise, name), level)
            torch.testing.assert_close(noisy, mixed)


def test_a_dropped_sample_is_pure_noise_without_a_pooled_condition(model):
    plan, encoded, inputs = inputs_for(model, "i2t", drop_probability=0.5, clean_probability=1)
    lost = plan.dropped.image
    assert 0 < lost.sum() < 6
    latents = encoded.latents("image", range(6))
    assert torch.equal(inputs.noisy.image[~lost], latents[~lost])
    shifted = inputs.noisy.image[lost] - latents[lost]
    assert shifted.abs().mean() > 0.3
    assert inputs.pooled[lost].abs().max() == 0
    assert torch.equal(inputs.timesteps.image, 1000.0 * lost)


def test_pooled_conditions_are_those_of_the_given_modality_alone(model):
    backbone = model.backbone
    images, sounds = [s.image for s in SAMPLES], [s.audio for s in SAMPLES]
    texts = [s.text for s in SAMPLES]
    own = {
        "image": backbone.pool_image(images),
        "audio": backbone.pool_audio(sounds),
        "text": backbone.condition_text(texts).pooled,
    }
    for task, seed in itertools.product(["t2i", "a2i", "i2a", "it2a", "ia2t", "t2a"], range(8)):
        plan, _, inputs = inputs_for(model, task, seed=seed)
        for row in range(6):
            pooled = inputs.pooled[row]
            if plan.pooled_kept[row]:
                assert torch.equal(pooled, own[plan.pooled_from][row])
                assert plan.pooled_from in plan.task.given
            else:
                assert pooled.abs().max() == 0


def test_given_text_is_standardised_clip_states_before_latents(model):
    _, encoded, inputs = inputs_for(model, "t2i", clip_probability=1, **NEVER)
    states = model.backbone.condition_text([s.text for s in SAMPLES]).states
    rows = inputs.noisy.text
    assert rows.shape == (6, 5 + 3, 12)
    expected = (states - states.mean(-1, keepdim=True)) / states.std(-1, keepdim=True)
    torch.testing.assert_close(rows[:, :5, :10], expected, atol=1e-5, rtol=0)
    assert rows[:, :5, 10:].abs().max() == 0
    assert torch.equal(rows[:, 5:, :6], encoded.latents("text", range(6)))
    assert rows[:, 5:, 6:].abs().max() == 0


def test_dropped_clip_rows_are_noise_in_all_features_and_latents_in_their_own(model):
    _, _, inputs = inputs_for(model, "t2i", clip_probability=1, drop_probability=1)
    rows = inputs.noisy.text
    assert (rows[:, :5].std(dim=(0, 1)) > 0.5).all()
    assert rows[:, 5:, 6:].abs().max() == 0
    assert rows[:, 5:, :6].std() > 0.7


@pytest.mark.parametrize("task", ["t2i", "a2t", "i2a"])
def test_absent_streams_are_noise_or_are_not_passed(model, task):
    (absent,) = {"image", "text", "audio"} - {*Task.parse(task).given, *Task.parse(task).made}
    for share in (0.0, 1.0):
        objective = FlowObjective(tasks=[task], absent_noise_share=share, **NEVER)
        model.backbone.calls.clear()
        objective.losses(model, collated(objective, model, SAMPLES, 0))
        ((streams, timesteps, _),) = model.backbone.calls
        if share == 0:
            assert getattr(streams, absent) is None
            assert getattr(timesteps, absent) is None
        else:
            assert torch.equal(getattr(timesteps, absent), torch.full((6,), 1000.0))
            assert getattr(streams, absent).std().item() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize(
    ("task", "terms"),
    [
        ("t2i", {"image"}),
        ("t2a", {"audio"}),
        ("ia2t", {"text", "direction"}),
        ("2iat", {"image", "audio", "text", "direction"}),
    ],
)
def test_losses_are_those_of_what_is_made_and_total_is_their_weighted_sum(model, task, terms):
    weights = {"image": 0.5, "audio": 2.0, "text": 3.0, "direction": 0.25}
    objective = FlowObjective(tasks=[task], weights=weights, joint_change_probability=0)
    losses = objective.losses(model, collated(objective, model, SAMPLES, 1))
    assert set(losses.terms) == terms
    factors = {**weights, "direction": 3.0 * 0.25}
    expected = sum(factors[name] * term for name, term in losses.terms.items())
    torch.testing.assert_close(losses.total, expected)


def test_the_velocity_loss_is_against_noise_minus_data(model):
    objective = FlowObjective(tasks=["t2i"], clip_probability=0, **NEVER)
    batch = collated(objective, model, SAMPLES, 2)
    losses = objective.losses(model, batch)
    ((streams, timesteps, pooled),) = model.backbone.calls
    sigma = timesteps.image.view(-1, 1, 1, 1) / 1000
    clean = model.backbone.encode_image([s.image for s in SAMPLES])
    noise = (streams.image - (1 - sigma) * clean) / sigma
    predicted = model.backbone.predict(streams, timesteps, pooled).image
    expected = F.mse_loss(predicted, noise - clean)
    torch.testing.assert_close(losses.terms["image"], expected, rtol=1e-3, atol=1e-4)


def test_the_decoders_cross_entropy_reaches_the_transformer(model):
    only = {"text": 1.0, "direction": 0.0, "ce": 1.0}
    objective = FlowObjective(tasks=["i2t"], weights=only)
    losses = objective.losses(model, collated(objective, model, SAMPLES, 3))
    losses.terms["ce"].backward()
    assert model.backbone.transformer.context_decoder.projection.weight.grad.abs().sum() > 0
    assert model.backbone.lm_head.weight.grad is None


def test_the_transformer_and_the_head_are_trained_and_nothing_else(model):
    objective = FlowObjective(tasks=["2iat"], joint_change_probability=0)
    objective.losses(model, collated(objective, model, SAMPLES, 4)).total.backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {name.split(".")[0] for name in trained} == {"backbone", "head"}
    outside = {
        name for name, parameter in model.backbone.named_parameters() if parameter.requires_grad
    }
    assert all(name.startswith("transformer.") for name in outside)
    # The head stands for the transformer's own last projection.
    assert not any("text_output" in name for name in trained | outside)
    assert torch.equal(model.head.projection.weight, model.backbone.text_projection.weight)


def test_every_sample_of_a_batch_of_unlike_ones_serves_a_task_that_it_can(model):
    mixed = [sample(0), sample(1, without=["image"]), sample(2, without=["audio"])]
    objective = FlowObjective(tasks=["t2i"])
    with pytest.raises(DataError, match="a sample of audio and text serves no task"):
        collated(objective, model, mixed)
    objective = FlowObjective(tasks=["t2i", "a2t"])
    for seed in range(8):
        batch = collated(objective, model, mixed, seed)
        parts = {str(part.plan.task): list(part.positions) for part in batch.parts}
        assert parts in ({"t2i": [0, 2], "a2t": [1]}, {"a2t": [0, 1], "t2i": [2]})
        model.backbone.calls.clear()
        losses = objective.losses(model, batch)
        assert losses.terms.keys() == {"image", "text", "direction"}
        assert sorted(len(call[2]) for call in model.backbone.calls) == [1, 2]


def test_passes_are_told_apart_by_task_and_by_what_is_read(model):
    def passes(samples, tasks, **options):
        objective = FlowObjective(tasks=tasks, **NEVER, clip_probability=0, **options)
        return objective.passes(collated(objective, model, samples))

    mixed = [sample(0, without=("audio",)), sample(1, without=("image",))]
    all_streams = "('image', 'text', 'audio')"
    assert passes(SAMPLES, ["t2i"]) == [f"t2i of {all_streams}"]
    assert passes(SAMPLES, ["t2i"], absent_noise_share=0) == ["t2i of ('image', 'text')"]
    assert set(passes(mixed, ["t2i", "t2a"])) == {f"t2i of {all_streams}", f"t2a of {all_streams}"}


def test_parts_of_a_batch_make_the_losses_of_the_whole(model):
    own = {Task.parse(name): 1.0 for name in ("t2t", "i2t")}
    texts = [
        replace(each, tasks={task: 1.0}) for each, task in zip(SAMPLES, [*own] * 3, strict=True)
    ]
    objective = FlowObjective(tasks=["t2t", "i2t"], weights={"ce": 0.5})
    batch = collated(objective, model, texts)
    assert [str(part.plan.task) for part in batch.parts] == ["i2t", "t2t"]
    assert objective.head_passes(batch) == 2
    whole, counts = objective.losses(model, batch), objective.counts(batch)
    parts = [FlowBatch(batch.samples, batch.tokens, [part], batch.draws) for part in batch.parts]
    for name, term in whole.terms.items():
        weighed = [
            (objective.losses(model, p).terms[name], objective.counts(p)[name]) for p in parts
        ]
        assert sum(count for _, count in weighed) == counts[name]
        torch.testing.assert_close(term, sum(t * count for t, count in weighed) / counts[name])


def test_measured_sums_add_up_and_name_every_task(model):
    tasks = {"t2i": 1.0, "i2t": 3.0, "t2t": 1.0}
    objective = FlowObjective(tasks=tasks)
    model.eval()
    with torch.no_grad():
        sums = objective.measure(model, collated(objective, model, SAMPLES, 5))
    assert sums["t2i.image.count"] == 6 * 2 * 4 * 4
    assert sums["i2t.text.count"] == 6 * 3 * 6
    figures = objective.summarise({name: float(value) for name, value in sums.items()})
    assert set(figures) == {"loss", "image", "text", "t2i_image", "i2t_text", "t2t_text"}
    assert figures["text"] == pytest.approx((3 * figures["i2t_text"] + figures["t2t_text"]) / 4)
    assert figures["loss"] == pytest.approx(figures["image"] + figures["text"])


def test_validation_sees_clean_inputs_at_levels_fixed_by_the_sample(model):
    objective = FlowObjective(tasks=["t2i"], drop_probability=1, pooled_drop_probability=1)
    seen = []
    for seed, chosen in ((0, SAMPLES), (1, SAMPLES[2:])):
        model.backbone.calls.clear()
        with torch.no_grad():
            objective.measure(model, collated(objective, model, chosen, seed))
        ((_, timesteps, pooled),) = model.backbone.calls
        assert timesteps.text.max() == 0
        assert (pooled.abs().sum(1) > 0).all()
        seen.append(timesteps.image)
    assert torch.equal(seen[0][2:], seen[1])
    assert seen[0].unique().numel() == 6


def test_the_loss_of_every_modality_falls_on_a_handful_of_samples(model):
    objective = FlowObjective(tasks=["2iat", "t2i", "i2a", "a2t"], absent_noise_share=0.3)
    optimizer = torch.optim.AdamW(model.trainable_parameters(), lr=5e-3, weight_decay=0)
    model.train()

    def measured():
        with torch.no_grad():
            batch = collated(objective, model, SAMPLES, 6)
            sums = objective.measure(model, batch)
        return objective.summarise({name: float(value) for name, value in sums.items()})

    before = measured()
    for step in range(150):
        optimizer.zero_grad()
        objective.losses(model, collated(objective, model, SAMPLES, step)).total.backward()
        optimizer.step()
    after = measured()
    assert after["image"] < 0.5 * before["image"]
    assert after["audio"] < 0.75 * before["audio"]
    assert after["text"] < 0.5 * before["text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": {}}, "tasks is {}, expected at least one task"),
        ({"tasks": {"t2i": 0.0}}, "at least one task of weight above 0"),
        ({"tasks": {"t2i": -1.0}}, "tasks.t2i is -1.0"),
        ({"tasks": ["x2i"]}, "task is 'x2i'"),
        ({"weights": {"image": float("inf")}}, "weights.image is inf"),
        ({"drop_probability": 2.0}, "drop_probability is 2.0"),
        ({"level_std": 0.0}, "level_std is 0.0"),
        ({"text_jitter": -1.0}, "text_jitter is -1.0"),
        ({"max_length": 1}, "max_length is 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        FlowObjective(**options)


def test_a_backbone_without_a_stream_is_refused_by_tasks_that_need_it(model):
    model.backbone.modalities = ("text",)
    FlowObjective(tasks=["t2t"]).check(model)
    with pytest.raises(UsageError, match="backbone small makes no audio and no image") as caught:
        FlowObjective().check(model)
    assert caught.value.where == "objective.tasks"


def test_a_weight_that_matches_no_loss_is_refused_before_training(model):
    objective = FlowObjective(tasks=["t2i"], weights={"imagee": 1.0})
    with pytest.raises(ConfigError, match="objective.weights.imagee") as caught:
        objective.check(model)
    assert caught.value.nearest == ("image",)
    with pytest.raises(ConfigError, match="objective.weights.vq is 1.0"):
        FlowObjective(weights={"vq": 1.0}).check(model)


def test_a_weight_for_a_loss_that_the_head_adds_is_accepted(model):
    model.head.loss_names = ("odd",)
    FlowObjective(weights={"odd": 1.0}).check(model)


def test_beside_a_head_that_names_no_losses_the_first_text_tells(model):
    model.head.loss_names = None
    objective = FlowObjective(tasks=["i2t"], weights={"imagee": 1.0})
    objective.check(model)
    with pytest.raises(ConfigError, match="objective.weights.imagee"):
        objective.losses(model, collated(objective, model, SAMPLES))
