from collections import Counter

import pytest
import torch

from omniflow.draws import Draws
from omniflow.errors import ConfigError, DataError
from omniflow.interfaces import Streams
from omniflow.objectives.flow_levels import (
    FlowRules,
    LevelDistribution,
    draw_plan,
    draw_tasks,
)
from omniflow.tasks import Task

EVERYTHING = frozenset({"image", "audio", "text"})
NEVER = dict.fromkeys(
    ("drop_probability", "pooled_drop_probability", "joint_change_probability"), 0
)


def plans(task, count=400, batch=50, seed=0, **rules):
    return [
        draw_plan(Task.parse(task), draws_of(step, batch, seed), FlowRules(**rules))
        for step in range(count)
    ]


def draws_of(step, batch, seed=0):
    return Draws.at(seed, range(step * batch, (step + 1) * batch), step)


def levels(plans_, name):
    return torch.cat([getattr(plan.levels, name) for plan in plans_])


@pytest.mark.parametrize(
    ("task", "made", "given", "absent"),
    [
        ("t2i", ["image"], ["text"], ["audio"]),
        ("i2t", ["text"], ["image"], ["audio"]),
        ("a2i", ["image"], ["audio"], ["text"]),
        ("it2a", ["audio"], ["image", "text"], []),
        ("t2t", ["text"], [], ["image", "audio"]),
        ("it2t", ["text"], ["image"], ["audio"]),
        ("2iat", ["image", "text", "audio"], [], []),
    ],
)
def test_made_is_noisy_given_is_clean_and_absent_is_pure_noise(task, made, given, absent):
    for plan in plans(task, count=20, clean_probability=1, **NEVER):
        for name in made:
            level = getattr(plan.levels, name)
            assert level.min() >= 1e-3
            assert level.unique().numel() > 40
        for name in given:
            assert torch.equal(getattr(plan.levels, name), torch.zeros(50))
        for name in absent:
            assert torch.equal(getattr(plan.levels, name), torch.ones(50))
        assert set(plan.made) == set(made)
        assert set(plan.clean) == {*made, *given}


def test_levels_of_streams_made_together_are_independent():
    drawn = plans("2iat", **NEVER)
    table = torch.stack([levels(drawn, name) for name in Streams._fields])
    correlation = torch.corrcoef(table) - torch.eye(3)
    assert correlation.abs().max() < 0.03


@pytest.mark.parametrize("task", ["t2i", "i2t", "a2i"])
def test_dropped_conditions_are_dropped_from_stream_and_pooled_alike(task):
    (source,) = Task.parse(task).given
    drawn = plans(task, clean_probability=1, pooled_drop_probability=0)
    lost = torch.cat([getattr(plan.dropped, source) for plan in drawn])
    assert lost.float().mean().item() == pytest.approx(0.15, abs=0.01)
    assert torch.equal(levels(drawn, source) == 1, lost)
    assert torch.equal(torch.cat([plan.pooled_kept for plan in drawn]), ~lost)


def test_with_streams_left_out_a_drop_takes_the_whole_batch():
    drawn = plans("t2i", absent_noise_share=0, clip_probability=1, pooled_drop_probability=0)
    without = [plan for plan in drawn if plan.levels.text is None]
    assert len(without) / len(drawn) == pytest.approx(0.15, abs=0.05)
    for plan in without:
        assert plan.dropped.text.all()
        assert plan.pooled_from is None
        assert not plan.has_clip
        assert plan.clean == ("image",)
    for plan in drawn:
        assert plan.levels.audio is None
        if plan.levels.text is not None:
            assert not plan.dropped.text.any()
            assert plan.levels.text.max() == 0
            assert plan.has_clip


def test_absent_streams_are_noise_in_the_asked_share_of_batches():
    drawn = plans("t2i", count=2000, batch=2, absent_noise_share=0.2)
    noise = [plan for plan in drawn if plan.levels.audio is not None]
    assert len(noise) / len(drawn) == pytest.approx(0.2, abs=0.03)
    assert all(plan.levels.audio.min() == 1 for plan in noise)


def test_given_is_clean_in_the_asked_share_and_otherwise_anywhere():
    drawn = levels(plans("i2a", drop_probability=0), "image")
    assert (drawn == 0).float().mean().item() == pytest.approx(0.8, abs=0.01)
    assert drawn[drawn > 0].mean().item() == pytest.approx(0.5, abs=0.02)


def test_a_text_that_brings_clip_states_is_clean():
    drawn = plans("t2a", drop_probability=0)
    assert sum(plan.has_clip for plan in drawn) / len(drawn) == pytest.approx(0.5, abs=0.08)
    assert all(plan.levels.text.max() == 0 for plan in drawn if plan.has_clip)
    assert any(plan.levels.text.max() > 0 for plan in drawn if not plan.has_clip)
    assert not any(plan.has_clip for task in ("i2t", "it2a") for plan in plans(task))


@pytest.mark.parametrize(
    "task",
    ["t2i", "i2t", "t2a", "a2t", "i2a", "a2i", "it2a", "at2i", "ia2t", "t2t", "it2t", "2iat"],
)
def test_the_pooled_condition_never_comes_from_what_is_made(task):
    for plan in plans(task):
        assert plan.pooled_from is None or plan.pooled_from in plan.task.given
        assert plan.pooled_from not in plan.made
        assert plan.pooled_from is not None or not plan.pooled_kept.any()


def test_of_several_given_modalities_each_lends_its_embedding_in_turn():
    sources = [plan.pooled_from for plan in plans("it2a")]
    assert sources.count("image") / len(sources) == pytest.approx(0.5, abs=0.08)
    assert sources.count("image") + sources.count("text") == len(sources)


def test_the_pooled_condition_is_zero_in_the_asked_share():
    kept = torch.cat([plan.pooled_kept for plan in plans("t2i", drop_probability=0)])
    assert kept.float().mean().item() == pytest.approx(0.85, abs=0.01)


def test_joint_batches_now_and_then_have_a_given_or_absent_modality():
    drawn = plans("2iat", count=4000, batch=1)
    for name in Streams._fields:
        is_given = sum(name in plan.task.given for plan in drawn) / len(drawn)
        is_made = sum(name in plan.made for plan in drawn) / len(drawn)
        assert is_given == pytest.approx(0.1, abs=0.02)
        # Where all three would change, none does.
        assert is_made == pytest.approx(0.8 + 0.2**3, abs=0.02)
    assert all(plan.made for plan in drawn)


def test_the_same_draws_give_the_same_plan():
    first, second = (plans("2iat", count=20, seed=3) for _ in range(2))
    for left, right in zip(first, second, strict=True):
        assert left.task == right.task
        for one, other in zip(left.levels, right.levels, strict=True):
            assert (one is None) == (other is None)
            assert one is None or torch.equal(one, other)


@pytest.mark.parametrize(
    ("options", "mean", "std"),
    [
        ({}, 0.5, 0.2083),
        ({"levels": "uniform"}, 0.5, 12**-0.5),
        ({"level_mean": 1.0, "level_std": 0.5}, 0.7226, 0.0968),
        # In closed form: 1.5 - 0.75 ln 3, and 9/8 (8/3 - 2 ln 3) for the mean of the square.
        ({"levels": "uniform", "level_shift": 3.0}, 0.67604, 0.26663),
    ],
)
def test_levels_have_the_asked_distribution(options, mean, std):
    fractions = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    drawn = LevelDistribution(**options).at(fractions)
    assert drawn.min() >= 1e-3
    assert drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(mean, abs=0.003)
    assert drawn.std().item() == pytest.approx(std, abs=0.003)


def test_every_sample_draws_by_weight_among_the_tasks_that_it_can_serve():
    said = {"t2i": 1.0, "t2t": 1.0, "i2t": 2.0, "a2t": 0.0, "t2a": 1.0}
    weights = {Task.parse(name): weight for name, weight in said.items()}
    pair = frozenset({"text", "image"})
    brought = [frozenset({"text"}), EVERYTHING, pair, pair, EVERYTHING]
    counts = [Counter() for _ in brought]
    passes = 0
    for step in range(3000):
        drawn = draw_tasks([weights] * 5, brought, draws_of(step, 5))
        served = {position: str(task) for task, where in drawn.items() for position in where}
        assert sorted(served) == list(range(5))
        assert served[2] == served[3]
        assert served[1] == served[4]
        passes += len(drawn)
        for position, task in served.items():
            counts[position][task] += 1
    shares = [{task: count / 3000 for task, count in each.items()} for each in counts]
    assert shares[0] == {"t2t": 1.0}
    assert shares[2] == pytest.approx({"t2i": 0.25, "t2t": 0.25, "i2t": 0.5}, abs=0.03)
    assert shares[1] == pytest.approx({"t2i": 0.2, "t2t": 0.2, "i2t": 0.4, "t2a": 0.2}, abs=0.03)
    # What suits several kinds is drawn for all of them together.
    assert passes / 3000 < 2.2


def test_samples_with_tasks_of_their_own_draw_among_these():
    own = {Task.parse("i2t"): 1.0}
    weights = {Task.parse("t2i"): 1.0, **own}
    drawn = draw_tasks([weights, own], [EVERYTHING] * 2, draws_of(3, 2))
    assert 1 in drawn[Task.parse("i2t")]


def test_samples_that_serve_no_task_are_refused():
    with pytest.raises(DataError, match="a sample of text serves no task, expected samples for"):
        draw_tasks([{Task.parse("t2i"): 1.0}], [frozenset({"text"})], draws_of(0, 1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlowRules(drop_probability=1.5), "drop_probability is 1.5, expected a number in"),
        (lambda: FlowRules(absent_noise_share=float("nan")), "absent_noise_share is nan"),
        (lambda: LevelDistribution(level_std=0.0), "level_std is 0.0, expected a number above 0"),
        (lambda: LevelDistribution(level_shift=-1.0), "level_shift is -1.0"),
        (lambda: LevelDistribution(level_mean=99.0), "level_mean is 99.0"),
    ],
)
def test_numbers_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
