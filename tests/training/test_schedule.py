import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniflow.errors import ConfigError
from omniflow.recipe import TrainingOptions
from omniflow.training.schedule import Plan


def test_steps_are_counted_in_optimizer_steps():
    options = TrainingOptions(batch_size=4, grad_accum=2, epochs=3)
    plan = Plan.of(options, samples=33)
    assert plan.steps_per_epoch == 5
    # Three epochs are 99 samples, and a step that ends one begins the next.
    assert plan.total_steps == 13


def test_several_processes_read_as_many_batches_a_step():
    options = TrainingOptions(batch_size=4, epochs=3)
    assert Plan.of(options, 32, processes=2).total_steps == 12
    # Of 96 samples 40 have been read, in ten steps of one process.
    rest = Plan.of(options, 32, processes=2, steps_done=10, samples_done=40)
    assert rest.total_steps == 10 + 7
    assert Plan.of(options, 32, steps_done=24, samples_done=96).total_steps == 24


def test_max_steps_ends_a_run_early_but_never_makes_it_longer():
    assert Plan.of(TrainingOptions(batch_size=1, epochs=1, max_steps=7), 100).total_steps == 7
    assert Plan.of(TrainingOptions(batch_size=1, epochs=1, max_steps=700), 100).total_steps == 100


def test_learning_rate_rises_in_a_line_and_falls_along_a_cosine():
    plan = Plan(samples=1, steps_per_epoch=110, total_steps=110, warmup_steps=10, peak_lr=0.2)
    assert plan.lr(0) == pytest.approx(0.02)
    assert plan.lr(9) == pytest.approx(0.2)
    assert plan.lr(10) == pytest.approx(0.2)
    assert plan.lr(60) == pytest.approx(0.1)
    assert plan.lr(109) == pytest.approx(0.2 * 0.5 * (1 + math.cos(math.pi * 0.99)))


def plan_of(name, **options):
    return Plan.of(
        TrainingOptions(
            batch_size=1, epochs=1, lr=0.2, warmup_steps=10, lr_schedule=name, **options
        ),
        samples=110,
    )


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
def test_every_schedule_begins_with_the_warm_up(name):
    plan = plan_of(name, min_lr=0.05)
    assert [plan.lr(step) for step in (0, 4, 9)] == pytest.approx([0.02, 0.1, 0.2])


@pytest.mark.parametrize(
    ("name", "middle", "end"),
    [("cosine", 0.125, 0.05), ("linear", 0.125, 0.05), ("constant", 0.2, 0.2)],
)
def test_schedules_fall_from_the_peak_to_the_floor(name, middle, end):
    plan = plan_of(name, min_lr=0.05)
    assert plan.lr(60) == pytest.approx(middle)
    assert plan.lr(110) == pytest.approx(end)
    rates = [plan.lr(step) for step in range(10, 111)]
    assert rates == sorted(rates, reverse=True)


def test_a_line_has_a_quarter_of_its_way_after_a_quarter_of_the_steps():
    assert plan_of("linear").lr(35) == pytest.approx(0.15)
    assert plan_of("cosine").lr(35) == pytest.approx(0.1 * (1 + math.sqrt(0.5)))


@pytest.mark.parametrize("floor", [-0.1, 0.3, float("nan")])
def test_a_floor_outside_of_zero_and_the_peak_is_refused(floor):
    with pytest.raises(ConfigError, match="min_lr is"):
        TrainingOptions(lr=0.2, min_lr=floor)


def test_warm_up_takes_at_most_a_tenth_of_a_short_run():
    plan = Plan.of(TrainingOptions(batch_size=1, epochs=1, warmup_steps=500), samples=40)
    assert plan.warmup_steps == 4


@given(
    samples=st.integers(1, 500),
    batch_size=st.integers(1, 64),
    epochs=st.integers(1, 4),
    warmup=st.integers(0, 300),
)
def test_learning_rate_stays_positive_and_below_its_peak(samples, batch_size, epochs, warmup):
    options = TrainingOptions(batch_size=batch_size, epochs=epochs, warmup_steps=warmup)
    plan = Plan.of(options, samples)
    rates = [plan.lr(step) for step in range(plan.total_steps)]
    assert all(0 < rate <= options.lr * (1 + 1e-12) for rate in rates)


def test_a_stream_is_as_long_as_the_steps_that_are_asked_for():
    plan = Plan.of(TrainingOptions(batch_size=1, epochs=1, max_steps=700), None)
    assert (plan.total_steps, plan.samples, plan.steps_per_epoch) == (700, None, None)
    with pytest.raises(ConfigError, match=r"training\.max_steps is None.*the training split is st"):
        Plan.of(TrainingOptions(), None)
