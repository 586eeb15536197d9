"""torch.compile on request, and what to do when it fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from omniflow.errors import TrainingError


def compile_module(module: nn.Module) -> None:
    """Have a module compiled when it is called first; parameters keep their names."""
    module.compile()


@contextmanager
def compilation_told() -> Iterator[None]:
    """While entered, a compiler that fails is told with what to do about it.

    Raises:
        TrainingError: In place of what torch raised.
    """
    # Importing it takes seconds, and only a run that compiles comes here.
    from torch._dynamo.exc import TorchDynamoException

    try:
        yield
    except TorchDynamoException as error:
        # Behind the first empty line there is advice for who develops torch.
        said = " ".join(str(error).strip().split("\n\n")[0].split())
        raise TrainingError(
            f"torch.compile failed ({said})",
            expected="a compiler that torch can use: on the CPU one of C++, on a GPU Triton",
            notes=["or train without it: --no-compile"],
        ) from error
