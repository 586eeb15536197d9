"""How the layers of a transformers decoder read a sequence once: nothing cached, little kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from omniflow.models.recomputation import checkpointed

if TYPE_CHECKING:
    from transformers.cache_utils import DynamicCache


@contextmanager
def recomputed(layers: Iterable[nn.Module]) -> Iterator[None]:
    """While entered, layers that are called keep their inputs alone, for the backward pass.

    That of transformers itself does so in training mode only, and frozen layers are not in it.

    Args:
        layers: Modules in which nothing is random, and whose calls change nothing.
    """
    listed = list(layers)
    for layer in listed:
        layer.forward = partial(checkpointed, layer.forward)
    try:
        yield
    finally:
        for layer in listed:
            # The instance's own goes, the class's remains.
            del layer.forward


def empty_cache() -> DynamicCache:
    """A cache that stays empty, whatever layers give it to keep."""
    return _empty_cache_class()()


@cache
def _empty_cache_class() -> type[DynamicCache]:
    # Importing transformers takes seconds.
    from transformers.cache_utils import DynamicCache

    class EmptyCache(DynamicCache):  # type: ignore[misc]
        def update(
            self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            return key_states, value_states

    return EmptyCache
