"""What a person can do about a run that ran out of memory or disk."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from omniflow.errors import OmniFlowError, TrainingError

#: What torch's allocators say besides raising OutOfMemoryError, which the CPU's never does.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def _nothing() -> str:
    return "nothing was written"


@contextmanager
def failures_told(
    device: torch.device,
    when: str | Callable[[], str],
    kept: Callable[[], str] = _nothing,
) -> Iterator[None]:
    """While entered, a lack of memory or of room on a disk is told with what to do about it.

    Files that cannot be written, and anything unforeseen, a component's bug for example, get a note
    of what is left of the run.

    Args:
        device: Where tensors are.
        when: What was being done, such as `after step 12`.
        kept: Says what is left of the run.

    Raises:
        TrainingError: In place of what was raised for such a lack.
    """
    try:
        yield
    except TrainingError:
        raise
    except (MemoryError, RuntimeError, OSError, OmniFlowError) as error:
        told = when if isinstance(when, str) else when()
        if _is_no_memory(error):
            problem, advice = f"out of memory on {device} {told}", _memory_advice(device)
        elif _is_no_room(error):
            where = getattr(error, "where", None) or getattr(error, "filename", None)
            problem = f"the disk is full {told}" + (f" ({where})" if where else "")
            advice = "make room, or keep fewer checkpoints (--keep 1); then --resume auto"
        else:
            _note(error, told, kept)
            raise
        raise TrainingError(problem, notes=[kept(), advice]) from error
    except Exception as error:
        _note(error, when if isinstance(when, str) else when(), kept)
        raise


def _note(error: Exception, when: str, kept: Callable[[], str]) -> None:
    """Tell what is left where nobody who knew has raised it."""
    if not isinstance(error, OmniFlowError):
        error.add_note(f"{when}; {kept()}")
    elif isinstance(error.__cause__, OSError) and kept is not _nothing:
        error.notes += (kept(),)


def _is_no_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error) for said in _NO_MEMORY)


def _is_no_room(error: BaseException | None) -> bool:
    """Whether it, or what it was raised from, is the lack of room."""
    while error is not None:
        if isinstance(error, OSError):
            # safetensors tells the number of the error in its text alone.
            said = str(error)
            if error.errno in _NO_ROOM or any(f"os error {number}" in said for number in _NO_ROOM):
                return True
        error = error.__cause__
    return False


def _memory_advice(device: torch.device) -> str:
    precision = "" if device.type == "cpu" else ", or --precision bf16"
    return (
        "try a smaller --batch-size with --grad-accum to make up for it, or a smaller "
        f"--max-length{precision}; then --resume auto"
    )
