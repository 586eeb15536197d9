"""A long run holds no more memory at its end than at its beginning."""

import gc
import statistics
import sys
from pathlib import Path

import pytest

from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train

STEPS = 1000


class MemoryWatch(Reporter):
    """Notes what the process takes.

    Attributes:
        resident: Bytes in memory after every tenth step.
        blocks: Pieces of memory that Python holds at two steps, what it would reuse given back: one
            that is forgotten in every step shows here, when the other figure is too coarse for it.
    """

    def __init__(self):
        self.resident, self.blocks = {}, []

    def stepped(self, step):
        if step % 10 == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.resident[step] = 4096 * pages
        if step in (STEPS // 5, STEPS):
            gc.collect()
            self.blocks.append(sys.getallocatedblocks())


@pytest.fixture
def small_backbone(small_backbone):
    """The small backbone, which notes what it is asked, without its memory."""

    class Forgetful(small_backbone):
        def predict(self, *arguments, **options):
            self.calls.clear()
            return super().predict(*arguments, **options)

    return Forgetful


def test_memory_does_not_grow_in_a_thousand_steps(short_recipe, small_registry, tmp_path):
    watch = MemoryWatch()
    recipe = short_recipe(
        batch_size=2, max_steps=STEPS, epochs=STEPS, log_interval=25, eval_interval=100,
        save_interval=200, lr=1e-4,
    )  # fmt: skip
    train(recipe, output_dir=tmp_path / "run", registry=small_registry, reporter=watch)
    # The first tenth warms up; the second is the first that counts.
    tenths = [
        statistics.median(value for step, value in watch.resident.items() if step // 100 == tenth)
        for tenth in (1, 9)
    ]
    assert tenths[1] < 1.02 * tenths[0]
    before, after = watch.blocks
    # torch 2.13 itself loses nearly one a step; whoever keeps what a step made keeps several.
    assert after - before < 1.5 * 0.8 * STEPS
