"""Solvers on equations whose solution is known."""

import math

import pytest
import torch

from omniflow.sampling.solvers import SOLVERS


def uneven(steps):
    """Levels from 1 to 0 in steps of unequal length."""
    return [(1 - index / steps) ** 1.5 for index in range(steps + 1)]


def solved(solver, velocity, start, levels):
    state = {"image": torch.tensor([start])}
    *_, last = SOLVERS[solver](velocity, state, {"image": levels})
    return last["image"].item()


def growth(state, sigmas):
    """dx / dsigma = x: from level 1 to 0, x is divided by e."""
    return {"image": state["image"]}


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_constant_velocity_is_followed_exactly(solver):
    def constant(state, sigmas):
        return {"image": torch.full_like(state["image"], 2.0)}

    assert solved(solver, constant, 5.0, uneven(3)) == pytest.approx(3.0)


@pytest.mark.parametrize("solver", ["heun", "ab2"])
def test_second_order_comes_closer_than_euler(solver):
    error = abs(solved(solver, growth, 1.0, uneven(20)) - math.exp(-1))
    euler = abs(solved("euler", growth, 1.0, uneven(20)) - math.exp(-1))
    assert error < euler / 8


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2), ("ab2", 2)])
def test_halving_the_steps_divides_the_error_by_two_to_the_order(solver, order):
    def moved(state, sigmas):
        # The solution is cos(3 (sigma - 1)); a velocity that depends on the level alone.
        return {"image": torch.full_like(state["image"], -3 * math.sin(3 * (sigmas["image"] - 1)))}

    def error(steps):
        levels = [1 - index / steps for index in range(steps + 1)]
        return abs(solved(solver, moved, 1.0, levels) - math.cos(3))

    # The last step of Heun is Euler's: an error of second order as well.
    assert math.log2(error(20) / error(40)) == pytest.approx(order, abs=0.25)


def test_streams_move_between_their_own_levels():
    def ones(state, sigmas):
        assert sigmas == {"image": 1.0, "text": 0.5}
        return {name: torch.ones_like(part) for name, part in state.items()}

    state = {"image": torch.zeros(1), "text": torch.zeros(1)}
    (last,) = SOLVERS["euler"](ones, state, {"image": [1.0, 0.0], "text": [0.5, 0.0]})
    assert (last["image"].item(), last["text"].item()) == (-1.0, -0.5)


@pytest.mark.parametrize(("solver", "evaluations"), [("euler", 6), ("heun", 11), ("ab2", 6)])
def test_each_step_costs_what_is_said(solver, evaluations):
    count = 0

    def counted(state, sigmas):
        nonlocal count
        count += 1
        assert sigmas["image"] > 0
        return growth(state, sigmas)

    solved(solver, counted, 1.0, uneven(6))
    assert count == evaluations
