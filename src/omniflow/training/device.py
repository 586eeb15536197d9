"""Where a run computes, and in which number format."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from omniflow.errors import ConfigError


def choose_device(name: str, local_rank: int | None = None) -> torch.device:
    """The device that `auto`, `cpu`, `cuda`, `cuda:1` or `mps` stands for.

    Args:
        name: One of these.
        local_rank: Number of this process among those of a run on this machine, which take a GPU
            each; None for a run of one process.

    Raises:
        ConfigError: If it is no device, or this machine does not have it.
    """
    if local_rank is not None and name in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", local_rank)
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    available = ["auto", "cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name not in available:
        raise ConfigError("training.device", name, expected=f"one of {', '.join(available)}")
    return torch.device(name)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """The context of a forward pass in a `training.precision`; `auto` asks the device."""
    if precision == "auto":
        has_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16" if has_bf16 else "fp32"
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=precision != "fp32")
