"""The processes that share a run: which of them this one is, and how they agree."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from omniflow.errors import ConfigError, OmniFlowError, TrainingError, UsageError

T = TypeVar("T")

#: What the libraries below say when a process they talk to is gone.
_LOST = (
    "Connection closed by peer", "Connection reset", "Broken pipe", "Timed out", "timed out",
    "connectFullMesh", "NCCL", "Socket Timeout",
)  # fmt: skip


#: What accelerate lets a launcher choose.
_PLUGINS = ("FSDP", "DEEPSPEED", "MEGATRON_LM")


class LostProcessError(TrainingError):
    """Another process of the run is gone, so this one could not go on."""

    #: Tells whoever started the processes that the cause lies with another one.
    exit_code = 76


def is_one_of_many() -> bool:
    """Whether torchrun, accelerate launch or `--num-processes` has started this process."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


class Processes:
    """The processes of a run; alone, this one agrees with itself.

    Every method but the properties has to be called by all of them, in the same order. What they
    tell one another passes through the host, so that no device is waited for.

    Args:
        rank: Number of this process.
        count: How many there are.
        local_rank: Number of this process on its machine.
    """

    def __init__(self, rank: int = 0, count: int = 1, local_rank: int = 0) -> None:
        self.rank = rank
        self.count = count
        self.local_rank = local_rank

    @classmethod
    def join(cls, device: str) -> Processes:
        """Meet the other processes, if there are any.

        Args:
            device: The run's `training.device`.

        Raises:
            ConfigError: If several processes cannot share that device.
        """
        _check_environment()
        if not is_one_of_many():
            return cls()
        has_gpu = torch.cuda.is_available()
        is_cpu = device == "cpu" or (device == "auto" and not has_gpu)
        if not is_cpu and device not in ("auto", "cuda"):
            raise ConfigError(
                "training.device", device, expected="auto, cuda or cpu for several processes"
            )
        local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        if not is_cpu and local_rank >= torch.cuda.device_count():
            raise ConfigError(
                "training.device",
                device,
                expected=f"at most {torch.cuda.device_count()} processes on this machine, one for "
                "each of its GPUs, or --device cpu",
            )
        from accelerate import PartialState

        with absence_told(lambda: "while the processes met"):
            state = PartialState(cpu=is_cpu)
            joined = cls(state.process_index, state.num_processes, local_rank)
            joined.gather(None)
        return joined

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes files and reports."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The value of every process, by rank; plain data, as JSON has it."""
        if self.count == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.long) for _ in range(self.count)]
        group = _host_group()
        distributed.all_gather(sizes, torch.tensor([len(data)]), group=group)
        longest = int(max(sizes))
        padded = torch.zeros(longest, dtype=torch.uint8)
        padded[: len(data)] = data
        parts = [torch.zeros(longest, dtype=torch.uint8) for _ in range(self.count)]
        distributed.all_gather(parts, padded, group=group)
        return [
            json.loads(part[: int(size)].numpy().tobytes())
            for part, size in zip(parts, sizes, strict=True)
        ]

    def sum(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The sum of every figure over all processes; a process may lack some."""
        sums: dict[str, float] = {}
        for part in self.gather(dict(figures)):
            for name, value in part.items():
                sums[name] = sums[name] + value if name in sums else value
        return sums

    def on_main(self, action: Callable[[], object]) -> None:
        """Let the main process do something; the others wait for it.

        Raises:
            LostProcessError: In the others, if it failed; it raises what went wrong itself.
        """
        problem = None
        try:
            if self.is_main:
                action()
        except BaseException as error:
            problem = error.problem if isinstance(error, OmniFlowError) else type(error).__name__
            raise
        finally:
            (told, *_) = self.gather(problem)
        if told is not None and not self.is_main:
            raise LostProcessError(f"process 0 stopped: {told}")

    @torch.no_grad()
    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Average gradients; one that some processes lack is zero there."""
        listed = list(parameters)
        present = self.gather([parameter.grad is not None for parameter in listed])
        for parameter, is_there in zip(listed, map(any, zip(*present, strict=True)), strict=True):
            if not is_there:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)
            parameter.grad.div_(self.count)

    def leave(self) -> None:
        """Part from the others, when nothing is left to agree on."""
        if self.count > 1:
            distributed.destroy_process_group()

    @torch.no_grad()
    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes the main one's values."""
        if self.count > 1:
            for tensor in tensors:
                distributed.broadcast(tensor, src=0)


def _check_environment() -> None:
    """Refuse what `accelerate launch` is set to do and this loop does by itself, or not at all.

    Raises:
        UsageError: If there is any.
    """
    for name in _PLUGINS:
        variable = f"ACCELERATE_USE_{name}"
        if os.environ.get(variable, "false").lower() in ("1", "true"):
            raise UsageError(
                f"accelerate is set to use {name}, which this loop does not leave to it",
                where=variable,
                expected="a configuration without it; --shard cuts weights into parts (FSDP2)",
            )


@contextmanager
def absence_told(
    when: Callable[[], str],
    kept: Callable[[], str] = lambda: "nothing was written",
    advice: str = "continue with the same command and --resume auto",
) -> Iterator[None]:
    """While entered, a process that is gone is told with what is left of the run.

    Args:
        when: Says what was being done, such as `after step 12`.
        kept: Says what is left.
        advice: How to go on.

    Raises:
        LostProcessError: In place of what was raised.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(said in str(error) for said in _LOST):
            raise
        raise LostProcessError(
            f"lost contact with another process {when()}",
            notes=[kept(), advice],
        ) from error


@cache
def _host_group() -> Any:
    """The group in which the hosts talk: on GPUs, not the one of their gradients."""
    if distributed.get_backend() == "gloo":
        return distributed.group.WORLD
    return distributed.new_group(backend="gloo")
