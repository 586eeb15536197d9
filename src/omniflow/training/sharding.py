"""Sharded training: every process keeps a part of each trained weight (torch's FSDP2).

Gradients and the optimizer's memory lie in the same parts. Weights are put together where they are
needed: those of a block of the transformer for its own forward and backward pass, those around the
blocks for a step. What is frozen stays whole in every process.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from omniflow.errors import ConfigError
from omniflow.models.joint_block import JointBlock

if TYPE_CHECKING:
    from omniflow.recipe import TrainingOptions
    from omniflow.training.processes import Processes
    from omniflow.training.step import LossModule


class Shards:
    """The parts that the trained weights have been cut into.

    Args:
        losses: What is trained; from now on its parameters are `DTensor`s.
        processes: Those that keep a part each; all of them do this at the same time.
        device_type: Where they compute.
    """

    def __init__(self, losses: LossModule, processes: Processes, device_type: str) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        # Each process cuts what it has itself.
        processes.share(losses.parameters())
        mesh = init_device_mesh(device_type, (processes.count,))
        frozen = {one for one in losses.parameters() if not one.requires_grad}
        blocks = [module for module in losses.modules() if isinstance(module, JointBlock)]
        self._blocks = [
            fully_shard(block, mesh=mesh, ignored_params=frozen, reshard_after_forward=True)
            for block in blocks
        ]
        self._around = fully_shard(
            losses, mesh=mesh, ignored_params=frozen, reshard_after_forward=False
        )
        # A block that leaves text as it came returns a view, which nobody writes into.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        # torch takes the module that is called first for the outermost one.
        register_fsdp_forward_method(losses, "meet")
        losses.meet()
        self._around.reset_iter_state()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """While entered, every process has all weights and uses them without the others.

        Changes of weights are lost at the end.
        """
        parts = (self._around, *self._blocks)
        for part in parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            # Also forgets the order of the blocks, by which torch fetches the next one ahead:
            # processes that evaluate other numbers of batches would wait for one another.
            self._around.reset_iter_state()
            for block in self._blocks:
                block.set_reshard_after_forward(True, recurse=False)


def check_sharding(options: TrainingOptions) -> None:
    """Refuse what does not work in parts.

    Raises:
        ConfigError: If the run asks for it.
    """
    if not options.shard:
        return
    if options.precision == "fp16":
        expected = "false with precision fp16, or precision bf16 or fp32"
        raise ConfigError("training.shard", True, expected=expected)
    if options.compile:
        raise ConfigError("training.shard", True, expected="false with training.compile")
