"""Modules that can compute activations again in place of keeping them."""

from __future__ import annotations


class Recomputing:
    """Mixin of modules with activations worth computing again in the backward pass.

    A trainer with `gradient_checkpointing` finds them among all modules of a model, frozen ones
    that gradients pass through included. What such a module computes must not change its state.

    Attributes:
        gradient_checkpointing: Whether activations are computed again.
    """

    gradient_checkpointing: bool = False
