"""What lets several processes take one step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

    from omniflow.training.processes import Processes


def make_accelerator(processes: Processes, device: torch.device) -> Accelerator:
    """What reduces gradients over the processes.

    Args:
        processes: Those of the run.
        device: Where this one computes.
    """
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    # A task, or a batch without a condition, may leave parameters unused.
    parallel = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    accelerator = Accelerator(
        cpu=processes.count > 1 and device.type == "cpu",
        device_placement=False,
        mixed_precision="no",
        kwargs_handlers=[parallel],
    )
    # Batches are weighed by what is in them, whatever the environment says.
    accelerator.gradient_accumulation_steps = 1
    return accelerator
