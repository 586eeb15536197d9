"""What the stages of `make_tiny.py` share: the log, schedules, batches, tensors on disk."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn


class Log:
    """Lines on the screen and in a file, with the seconds since the start."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = path.open("a", encoding="utf-8")
        self.started = time.monotonic()

    def __call__(self, message: str) -> None:
        """Write one line."""
        line = f"{time.monotonic() - self.started:7.1f} s  {message}"
        print(line, flush=True)
        print(line, file=self.file, flush=True)


class Means:
    """Running means of named figures, reported and forgotten every so many steps."""

    def __init__(self, log: Log, stage: str, every: int = 100) -> None:
        self.log, self.stage, self.every = log, stage, every
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.started = time.monotonic()

    def add(self, **figures: float) -> None:
        """One step's figures; those of a name that is missing in a step are not counted."""
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def report(self, step: int) -> None:
        """Write a line when it is due."""
        if step % self.every:
            return
        pace = (time.monotonic() - self.started) / step
        means = " ".join(f"{name} {self.sums[name] / self.counts[name]:.4f}" for name in self.sums)
        self.log(f"{self.stage} step {step}: {means}, {pace:.3f} s a step")
        self.sums, self.counts = {}, {}


def batches(count: int, batch_size: int, seed: int) -> Iterator[Tensor]:
    """Rows of one batch after another, in a new order each time round, without end."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(count, generator=generator)
        yield from order[: count - count % batch_size].split(batch_size)


def schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then cosine to 2 %."""
    if step < warmup:
        return step / warmup
    return cosine((step - warmup) / max(1, steps - warmup))


def cosine(done: float) -> float:
    """From 1 to 2 % as the share that is done goes from 0 to 1."""
    return 0.02 + 0.49 * (1 + math.cos(math.pi * done))


def multiplies_bfloat16() -> bool:
    """Whether this processor does; where it can't, bfloat16 is thirty times slower than float32."""
    can = torch.cpu.get_capabilities()
    return any(can.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def fast_precision() -> torch.autocast:
    """Autocast to bfloat16 where that is faster."""
    return torch.autocast("cpu", torch.bfloat16, enabled=multiplies_bfloat16())


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group."""
    for group in optimizer.param_groups:
        group["lr"] = lr


def take_step(optimizer: torch.optim.Optimizer, module: nn.Module, loss: Tensor, lr: float) -> None:
    """Backward, clip, step."""
    set_lr(optimizer, lr)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()


def parameters(module: nn.Module) -> int:
    """Number of values that the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def unshared(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module with each tensor once: tied weights under their first name."""
    seen: set[int] = set()
    kept = {}
    for name, tensor in module.state_dict().items():
        if tensor.data_ptr() not in seen:
            seen.add(tensor.data_ptr())
            kept[name] = tensor
    return kept


def rounded(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as they are shipped: in bfloat16, what follows is trained and measured on those."""
    return {name: tensor.bfloat16().float() for name, tensor in tensors.items()}


def in_parts(count: int, size: int, work: Callable[[Tensor], Tensor]) -> Tensor:
    """The results of some work on rows [0, count), `size` at a time, joined."""
    return torch.cat([work(part) for part in torch.arange(count).split(size)])
