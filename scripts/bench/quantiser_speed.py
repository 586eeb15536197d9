"""Time and peak memory of the VQ quantiser against vector-quantize-pytorch's and against the floor.

    python scripts/bench/quantiser_speed.py               # the table of docs/performance.md
    python scripts/bench/quantiser_speed.py --vectors 512 --repeats 3

Needs `pip install vector-quantize-pytorch`. Both quantisers train: gradients pass, the codebook
follows. The floor is what no exact search can do without: one matrix product of vectors and codes,
and one argmin over it. They take turns; times are medians of the processor's time, which other
work on the machine does not change. Peak memory is what the process grew by over what it had
before, read from the kernel (Linux).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from omniflow.models.quantiser import VectorQuantiser

CODEBOOK, DIM = 8192, 64

#: Makes one call, to be timed.
Call = Callable[[], object]


class Floor(nn.Module):
    """One product and one argmin, which is all that searching costs at least."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codebook", torch.randn(CODEBOOK, DIM))

    def forward(self, vectors: Tensor) -> Tensor:
        """Index of the largest product of each vector with a code."""
        return (vectors.flatten(end_dim=-2) @ self.codebook.T).argmin(dim=-1)


def forward_call(module: nn.Module, vectors: Tensor) -> Call:
    """A forward pass in training mode."""

    def call() -> object:
        with torch.no_grad():
            return module(vectors)

    return call


def backward_call(module: nn.Module, vectors: Tensor) -> Call:
    """A forward and a backward pass in training mode."""

    def call() -> None:
        leaf = vectors.detach().requires_grad_()
        latents, _, loss = module(leaf)
        (latents.square().mean() + loss.sum()).backward()

    return call


def timed(calls: Mapping[str, Call], repeats: int) -> dict[str, float]:
    """Median processor seconds of each call; they take turns, the first round is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            started = time.process_time()
            call()
            seconds[name].append(time.process_time() - started)
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def peak_bytes(call: Call) -> int:
    """What the process grows by during a call."""
    gc.collect()
    # What has been freed would be taken again without growth.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def row(vectors: int, repeats: int) -> str:
    """One line of the table."""
    from vector_quantize_pytorch import VectorQuantize

    torch.manual_seed(0)
    given = torch.randn(1, vectors, DIM)
    ours, theirs = VectorQuantiser(DIM, CODEBOOK), VectorQuantize(DIM, CODEBOOK)
    forward = timed(
        {
            "floor": forward_call(Floor(), given),
            "ours": forward_call(ours, given),
            "theirs": forward_call(theirs, given),
        },
        repeats,
    )
    backward = timed(
        {"ours": backward_call(ours, given), "theirs": backward_call(theirs, given)}, repeats
    )
    memory = {
        name: peak_bytes(backward_call(module, given)) / 2**20
        for name, module in (("ours", ours), ("theirs", theirs))
    }
    floor = forward["floor"]
    return (
        f"| {vectors} | {1000 * floor:.1f} "
        f"| {1000 * forward['ours']:.1f} ({forward['ours'] / floor:.2f}) "
        f"| {1000 * forward['theirs']:.1f} ({forward['theirs'] / floor:.2f}) "
        f"| {forward['theirs'] / forward['ours']:.1f} x "
        f"| {1000 * backward['ours']:.1f} | {1000 * backward['theirs']:.1f} "
        f"| {backward['theirs'] / backward['ours']:.1f} x "
        f"| {memory['ours']:.0f} | {memory['theirs']:.0f} "
        f"| {memory['ours'] / max(memory['theirs'], 1):.2f} |"
    )


def main() -> None:
    """Measure and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--vectors", type=int, nargs="*", default=[512, 4096, 32768])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(
        f"Codebook of {CODEBOOK} x {DIM}, torch {torch.__version__}, {options.threads} threads, "
        f"{platform.machine()}; milliseconds (and times the floor), MB above the start\n"
    )
    print(
        "| vectors | floor | ours, forward | library, forward | faster "
        "| ours, with backward | library, with backward | faster | ours, MB | library, MB | share |"
    )
    print("| ---: " * 11 + "|", flush=True)
    for vectors in options.vectors:
        print(row(vectors, options.repeats), flush=True)


if __name__ == "__main__":
    main()
