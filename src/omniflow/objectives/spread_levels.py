"""Noise levels of validation: spread evenly, and the same whenever a sample is looked at."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import torch
from torch import Tensor

from omniflow.interfaces import Sample


def spread_levels(samples: Sequence[Sample], salt: str = "") -> Tensor:
    """A noise level in (0, 1) for each sample [batch], fixed by its id, whatever the batch.

    Another `salt` gives other levels, spread alike.
    """
    fractions = [(zlib.crc32(f"{salt}{sample.id}".encode()) + 0.5) / 2**32 for sample in samples]
    return torch.tensor(fractions, dtype=torch.float32).clamp(1e-4, 1 - 1e-4)
