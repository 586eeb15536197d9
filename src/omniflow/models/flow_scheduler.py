"""Noise levels and steps of the rectified flow.

A sample at level sigma is `sigma * noise + (1 - sigma) * data`: 1 is pure noise, 0 is data. The
velocity is `noise - data`, so that one step is `x + (sigma_next - sigma) * velocity`. Timesteps are
levels times `num_train_timesteps`.

Schedules and steps are those of the original and of diffusers' `FlowMatchEulerDiscreteScheduler`
with a plain shift. Two further options of the original, churn (noise added back between steps) and
`flux` (equal steps whatever the table says), were never used for sampling and are not offered.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from omniflow.errors import ConfigError

#: Shift of the published models when they sample; they were trained with 1.
SAMPLING_SHIFT = 3.0


def shift_levels(levels: Tensor, shift: float) -> Tensor:
    """Move levels in [0, 1], any shape, towards noise: `s x / (1 + (s - 1) x)`.

    The ends stay where they are, shift 1 changes nothing, and shift 1 / s undoes shift s.
    """
    _check_shift(shift)
    return shift * levels / (1 + (shift - 1) * levels)


def training_levels(shift: float, num_train_timesteps: int = 1000) -> Tensor:
    """The table that training draws from: float32 [num_train_timesteps], from 1 downwards."""
    steps = torch.arange(num_train_timesteps, 0, -1, dtype=torch.float32)
    return shift_levels(steps / num_train_timesteps, shift)


def sigmas_from(level: float, steps: int, shift: float, num_train_timesteps: int = 1000) -> Tensor:
    """A schedule that starts at `level` instead of at pure noise: float32 [steps + 1], 0 at last.

    The levels of diffusers' `set_timesteps` before its shift are evenly spaced; here they are
    multiplied by one factor, so that the first becomes `level` once it is shifted. Level 1 gives
    `set_timesteps(steps)` exactly, and every level gives all `steps` steps, falling strictly. The
    shift is applied a second time to the last level, as the original does: with shift 3 and many
    steps the last of the levels before 0 is 0.0089, not 0.0030.

    Args:
        level: Noise level of the sample to start from, in (0, 1].
        steps: Number of steps, at least 1.
        shift: Moves the levels towards noise, above 0; see `shift_levels`.
        num_train_timesteps: Length of the table that the model was trained with.

    Raises:
        ConfigError: If an argument is outside its range.
    """
    if not 0.0 < level <= 1.0:
        raise ConfigError("level", level, expected="a number in (0, 1]")
    if steps < 1:
        raise ConfigError("steps", steps, expected="a whole number >= 1")
    table = training_levels(shift, num_train_timesteps)
    ends = table[0].item() * num_train_timesteps, table[-1].item() * num_train_timesteps
    # Written so that level 1 gives 1.0 to the last bit, whatever the shift.
    start = level / (level + shift * (1.0 - level))
    # The same float64 operations as in `set_timesteps`, in the same order.
    unshifted = np.linspace(*ends, steps) / num_train_timesteps * start
    shifted = shift * unshifted / (1 + (shift - 1) * unshifted)
    return torch.from_numpy(np.append(shifted, 0.0)).to(torch.float32)


def velocity_from_x0(x: Tensor, x0: Tensor, sigma: float | Tensor) -> Tensor:
    """Turn a prediction of the data into the velocity `(x - x0) / sigma`, in float32.

    Args:
        x: Noisy sample [batch, ...].
        x0: Predicted data, same shape.
        sigma: Level of `x` above 0, a number or [batch].
    """
    return (x.float() - x0.float()) / _per_sample(sigma, x)


def euler_step(x: Tensor, velocity: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Move a sample [batch, ...] from one level to another, in float32.

    What the `step` of diffusers' scheduler does.
    """
    return x.float() + (sigma_next - sigma) * velocity.float()


def add_noise(clean: Tensor, noise: Tensor, sigma: float | Tensor) -> Tensor:
    """Bring data to a noise level: `sigma * noise + (1 - sigma) * clean`.

    Computed in float32 and returned in the dtype of `clean`.

    Args:
        clean: Data [batch, ...].
        noise: Gaussian draws, same shape.
        sigma: Level in [0, 1], a number or [batch].
    """
    level = _per_sample(sigma, clean)
    return (level * noise.float() + (1.0 - level) * clean.float()).to(clean.dtype)


def _per_sample(sigma: float | Tensor, like: Tensor) -> float | Tensor:
    """A level as it is, or a batch of levels as float32 that broadcasts over [batch, ...]."""
    # A number that became a tensor would have to be waited for on its way to the device.
    if isinstance(sigma, int | float):
        return sigma
    level = torch.as_tensor(sigma, dtype=torch.float32, device=like.device)
    return level.view(-1, *[1] * (like.dim() - 1)) if level.dim() else level


def _check_shift(shift: float) -> None:
    if not shift > 0.0:
        raise ConfigError("shift", shift, expected="a number above 0")
