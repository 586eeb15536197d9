"""Parts of a forward pass that keep to the precision of their own weights."""

from __future__ import annotations

import contextlib

import torch


def full_precision(device_type: str) -> contextlib.AbstractContextManager[object]:
    """While entered, autocast casts nothing; nor does it where a device has none."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return contextlib.nullcontext()
