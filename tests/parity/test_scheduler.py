"""Noise levels and steps against numbers of the original, and against diffusers' scheduler.

Two parts of the golden file stay unused: `churn` and `flux_step` are options that the original
never sampled with and that we do not offer.
"""

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from omniflow.errors import ConfigError
from omniflow.models.flow_scheduler import (
    add_noise,
    euler_step,
    shift_levels,
    sigmas_from,
    training_levels,
    velocity_from_x0,
)

GOLDEN = json.loads((Path(__file__).parent / "data" / "scheduler.json").read_text())


def by_case(cases):
    return pytest.mark.parametrize(
        "case", cases, ids=lambda case: f"shift{case['shift']:g}-steps{case.get('steps', 0)}"
    )


def close(actual, expected, rtol=1e-6, atol=0.0):
    expected = torch.as_tensor(expected, dtype=torch.float32)
    torch.testing.assert_close(torch.as_tensor(actual), expected, rtol=rtol, atol=atol)


def close_after_steps(actual, expected):
    # Float32 sums of other order: the original rebuilds the velocity before it adds it.
    close(actual, expected, rtol=1e-6, atol=5e-7)


def sigmas_of(case):
    return sigmas_from(1.0, case["steps"], case["shift"])


@by_case(GOLDEN["constructor"])
def test_the_training_table_is_that_of_the_original(case):
    table = training_levels(case["shift"])
    assert len(table) == case["len"]
    close(table.max(), case["sigma_max"])
    close(table.min(), case["sigma_min"])
    for index, sigma in case["sigmas_at"].items():
        close(table[int(index)], sigma)
        close(table[int(index)] * 1000, case["timesteps_at"][index])


@by_case(GOLDEN["set_timesteps"])
def test_sampling_schedules_are_those_of_the_original(case):
    sigmas = sigmas_of(case)
    close(sigmas, case["sigmas"])
    close(sigmas[:-1] * 1000, case["timesteps"])


@by_case(GOLDEN["set_timesteps"])
def test_sampling_schedules_are_those_of_diffusers_to_the_last_bit(case):
    scheduler = FlowMatchEulerDiscreteScheduler(shift=case["shift"])
    scheduler.set_timesteps(case["steps"])
    assert torch.equal(sigmas_of(case), scheduler.sigmas)


@by_case(GOLDEN["scale_noise"])
def test_data_is_noised_as_in_the_original(case):
    sample, noise = torch.tensor(case["sample"]), torch.tensor(case["noise"])
    sigmas = torch.tensor(case["timesteps"]) / 1000
    if "set_begin_index" in case["table"]:
        sigmas = sigmas_of(case)[0]
    close(add_noise(sample, noise, sigmas), case["expected"])


@by_case(GOLDEN["steps"])
def test_a_run_of_steps_ends_where_the_original_ends(case):
    stepped = torch.tensor(case["start"])
    for index, (sigma, sigma_next) in enumerate(pairwise(sigmas_of(case).tolist())):
        if isinstance(case["model_outputs"], str):
            velocity = 0.5 * stepped + 0.1
        else:
            velocity = torch.tensor(case["model_outputs"][index])
        stepped = euler_step(stepped, velocity, sigma, sigma_next)
    close_after_steps(stepped, case["final"])


@by_case(GOLDEN["get_eps"])
def test_predicted_data_becomes_the_velocity_of_the_original(case):
    sigmas = sigmas_of(case).tolist()
    for index, link in enumerate(case["sequence"]):
        sample, x0 = torch.tensor(link["sample"]), torch.tensor(link["x0"])
        close(sigmas[index] * 1000, link["timestep"])
        velocity = velocity_from_x0(sample, x0, sigmas[index])
        close(velocity, link["eps"])
        stepped = euler_step(sample, velocity, sigmas[index], sigmas[index + 1])
        close_after_steps(stepped, link["next"])
        if index == 0:
            close_after_steps(stepped, case["step_with_x0_argument_first_step"])


@pytest.mark.parametrize("shift", [1.0, 3.0, 6.5])
@pytest.mark.parametrize("level", [1e-4, 0.003, 0.6, 0.999])
def test_a_partial_schedule_falls_from_its_level_to_zero(shift, level):
    sigmas = sigmas_from(level, 12, shift)
    assert sigmas.shape == (13,)
    close(sigmas[0], level)
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()


def test_a_perfect_prediction_walks_a_partial_schedule_to_the_data():
    data, noise = torch.randn(2, 3, 5, 4, generator=torch.manual_seed(0)).unbind(0)
    sigmas = sigmas_from(0.6, 7, 3.0).tolist()
    x = add_noise(data, noise, sigmas[0])
    for sigma, sigma_next in pairwise(sigmas):
        x = euler_step(x, velocity_from_x0(x, data, sigma), sigma, sigma_next)
    torch.testing.assert_close(x, data, atol=1e-6, rtol=1e-6)


def test_one_level_a_sample_broadcasts_over_the_other_axes():
    clean, noise = torch.randn(2, 3, 5, 4, generator=torch.manual_seed(1)).unbind(0)
    levels = torch.tensor([0.0, 0.25, 1.0])
    noisy = add_noise(clean, noise, levels)
    torch.testing.assert_close(noisy[0], clean[0], atol=0, rtol=0)
    torch.testing.assert_close(noisy[1], 0.25 * noise[1] + 0.75 * clean[1])
    torch.testing.assert_close(noisy[2], noise[2], atol=0, rtol=0)
    velocity = velocity_from_x0(noisy[1:], clean[1:], levels[1:])
    torch.testing.assert_close(velocity, (noise - clean)[1:], atol=1e-6, rtol=1e-6)
    assert add_noise(clean.bfloat16(), noise, 0.5).dtype == torch.bfloat16
    assert velocity_from_x0(clean.bfloat16(), clean, 0.5).dtype == torch.float32


def test_shifts_undo_one_another_and_keep_the_ends():
    levels = torch.linspace(0, 1, 11, dtype=torch.float64)
    shifted = shift_levels(levels, 3.0)
    assert shifted[[0, 5, 10]].tolist() == pytest.approx([0.0, 0.75, 1.0])
    torch.testing.assert_close(shift_levels(shifted, 1 / 3.0), levels)
    torch.testing.assert_close(shift_levels(levels, 1.0), levels)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: training_levels(-1.0), "shift is -1.0, expected a number above 0"),
        (lambda: sigmas_from(0.0, 4, 3.0), r"level is 0.0, expected a number in (0, 1]"),
        (lambda: sigmas_from(1.2, 4, 3.0), r"level is 1.2, expected a number in (0, 1]"),
        (lambda: sigmas_from(0.5, 0, 3.0), "steps is 0, expected a whole number >= 1"),
    ],
)
def test_impossible_schedules_are_refused(call, message):
    with pytest.raises(ConfigError) as error:
        call()
    assert str(error.value) == message
