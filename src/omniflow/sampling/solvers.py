"""Solvers of the flow's differential equation, for several streams at their own noise levels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor

from omniflow.models.flow_scheduler import euler_step

#: Latents, velocities or levels by modality.
State = Mapping[str, Tensor]
Levels = Mapping[str, float]

#: The velocity `noise - data` of a state at the noise levels of its streams.
Velocity = Callable[[State, Levels], State]

#: The velocity, a state, and the levels of its streams, the last of them 0: states after each step.
Solver = Callable[[Velocity, State, Mapping[str, Sequence[float]]], Iterator[State]]


def euler(
    velocity: Velocity, state: State, sigmas: Mapping[str, Sequence[float]]
) -> Iterator[State]:
    """First order, one evaluation a step; the original's solver."""
    for step in range(_steps(sigmas)):
        state = _moved(state, velocity(state, _at(sigmas, step)), sigmas, step)
        yield state


def heun(
    velocity: Velocity, state: State, sigmas: Mapping[str, Sequence[float]]
) -> Iterator[State]:
    """Second order, two evaluations a step and one in the last: `2 steps - 1` in all.

    The mean of the velocities at both ends of the step. The last step ends at level 0, where a
    velocity from predicted data is 0 / 0, so it is Euler's.
    """
    steps = _steps(sigmas)
    for step in range(steps):
        here = velocity(state, _at(sigmas, step))
        if step + 1 < steps:
            ahead = velocity(_moved(state, here, sigmas, step), _at(sigmas, step + 1))
            here = {name: (here[name] + ahead[name]) / 2 for name in here}
        state = _moved(state, here, sigmas, step)
        yield state


def ab2(velocity: Velocity, state: State, sigmas: Mapping[str, Sequence[float]]) -> Iterator[State]:
    """Second order, one evaluation a step: Adams-Bashforth for steps of unequal length.

    The velocity is continued along the line through this step's and the one before; the first step
    is Euler's.
    """
    before: State | None = None
    for step in range(_steps(sigmas)):
        here = velocity(state, _at(sigmas, step))
        slope = here
        if before is not None:
            slope = {
                name: here[name] + _ratio(sigmas[name], step) * (here[name] - before[name])
                for name in here
            }
        state = _moved(state, slope, sigmas, step)
        before = here
        yield state


SOLVERS: Mapping[str, Solver] = {"euler": euler, "heun": heun, "ab2": ab2}


def _moved(
    state: State, velocity: State, sigmas: Mapping[str, Sequence[float]], step: int
) -> State:
    return {
        name: euler_step(latents, velocity[name], sigmas[name][step], sigmas[name][step + 1])
        for name, latents in state.items()
    }


def _at(sigmas: Mapping[str, Sequence[float]], step: int) -> Levels:
    return {name: levels[step] for name, levels in sigmas.items()}


def _ratio(levels: Sequence[float], step: int) -> float:
    """Half the length of this step over that of the one before."""
    return (levels[step + 1] - levels[step]) / (levels[step] - levels[step - 1]) / 2


def _steps(sigmas: Mapping[str, Sequence[float]]) -> int:
    return len(next(iter(sigmas.values()))) - 1
