"""Numbers as entries: each has a key, and values that tell which one it is."""

import torch

from omniflow.cache.key import text_key

IDENTITY = {"work": "numbers", "weights": "a"}
ABOUT = {"component": "encoder numbers", "work": "numbers", "source": "here"}


def keys_of(numbers):
    return [text_key(str(number)) for number in numbers]


def values_of(numbers, *, dtype=torch.float32):
    """Values [numbers, 2, 3] that tell which number they belong to."""
    rows = torch.tensor(list(numbers), dtype=torch.float64)[:, None, None]
    return (rows + torch.arange(6.0).view(1, 2, 3) / 8).to(dtype)
