"""Functions whose activations are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from torch.utils.checkpoint import checkpoint

#: What is entered around every recomputation, in place of nothing.
_around: Callable[[], AbstractContextManager[object]] | None = None


def checkpointed(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function and keep its inputs alone for the backward pass.

    Args:
        function: Nothing in it is random, and it changes nothing: it is called twice.
        args: Its arguments.
        kwargs: Its named arguments.
    """
    around = _around
    options: dict[str, Any] = {} if around is None else {"context_fn": lambda: _contexts(around)}
    return checkpoint(
        function, *args, use_reentrant=False, preserve_rng_state=False, **options, **kwargs
    )


@contextmanager
def recomputing_within(around: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Enter a context again around what calls made meanwhile will compute again.

    Autocast is taken care of; modes of torch functions are not there in a backward pass.
    """
    global _around
    before, _around = _around, around
    try:
        yield
    finally:
        _around = before


def _contexts(
    around: Callable[[], AbstractContextManager[object]],
) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
    return nullcontext(), around()
