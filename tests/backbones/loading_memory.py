"""Prints what loading and converting take at their peak, beyond what a process has before.

Run as a program by `test_memory.py`: SMALL LARGE OUT. A line holds a case, the bytes of its
model, and the bytes at the peak.
"""

import gc
import os
import resource
import sys
from functools import partial
from pathlib import Path

import torch

from omniflow.backbones.convert import convert_folder
from omniflow.backbones.published import PublishedBackbone

PAGE = os.sysconf("SC_PAGE_SIZE")


def memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def measured(case, action, warm_up) -> None:
    """Carry out in a process of its own, after a small model went the same way."""
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return
    # Code counts as memory once it was run; what it takes is not what is measured here.
    warm_up()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = memory()
    size = action()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(f"{case} {size} {peak - before}\n")
    sys.stdout.flush()
    os._exit(0)


def load(folder: Path, dtype: str) -> int:
    backbone = PublishedBackbone(path=str(folder), dtype=dtype)
    backbone.load_weights()
    tensors = [*backbone.parameters(), *backbone.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def convert(folder: Path, out: Path) -> int:
    return convert_folder(folder, out).size


if __name__ == "__main__":
    torch.set_num_threads(1)
    small, large, out = map(Path, sys.argv[1:])
    PublishedBackbone(path=str(small))
    for stored, dtype in (("safetensors", "bf16"), ("bin", "fp32")):
        measured(
            f"{stored}-{dtype}",
            partial(load, large / stored, dtype),
            partial(load, small, dtype),
        )
    measured(
        "convert",
        partial(convert, large / "bin", out / "large"),
        partial(convert, small, out / "small"),
    )
