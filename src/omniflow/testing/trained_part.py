"""Heads and refiners, driven alike: both are trained, and both make latents."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from omniflow.interfaces import Head, HeadOutput, Refiner
from omniflow.testing.subject import Subject

FEATURE_DIM, LATENT_DIM = 32, 16


class TrainedPart(ABC):
    """How a check drives a part that is trained.

    Args:
        subject: The component.
    """

    #: Widths of what the part reads; latents are `LATENT_DIM` wide.
    input_dims: tuple[int, ...]

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.expect = subject.expect

    @abstractmethod
    def make(self, *, seed: int = 0, input_dim: int | None = None) -> nn.Module:
        """The part with random weights, in training mode.

        Args:
            seed: Decides about the weights.
            input_dim: Width of what it reads; the first of `input_dims` when None.
        """

    @abstractmethod
    def run(self, module: nn.Module, inputs: Tensor) -> HeadOutput:
        """What the part makes of inputs [batch, tokens, input_dim]."""

    def draw(
        self, batch: int = 3, tokens: int = 5, *, seed: int = 0, input_dim: int | None = None
    ) -> Tensor:
        """Random inputs [batch, tokens, input_dim]."""
        width = self.input_dims[0] if input_dim is None else input_dim
        return torch.randn(batch, tokens, width, generator=torch.Generator().manual_seed(seed))

    def loss(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """Squared error of the latents against random ones, and the part's own losses."""
        output = self.run(module, inputs)
        target = self.draw(*inputs.shape[:2], seed=7, input_dim=LATENT_DIM)
        own = (loss.float() for loss in output.losses.values())
        return F.mse_loss(output.latents.float(), target.to(inputs.device)) + sum(own)

    def train(self, module: nn.Module, *, steps: int = 3) -> None:
        """Take steps of training, each on inputs of its own."""
        optimizer = torch.optim.SGD(trainable(module), lr=0.1) if trainable(module) else None
        for step in range(steps):
            if optimizer is None:
                self.run(module, self.draw(seed=step))
                continue
            optimizer.zero_grad()
            torch.autograd.backward(self.loss(module, self.draw(seed=step)))
            optimizer.step()


class HeadPart(TrainedPart):
    """A head, which reads features of the transformer (`hidden`), or its latents (`x0`)."""

    input_dims = (FEATURE_DIM, LATENT_DIM)

    def make(self, *, seed: int = 0, input_dim: int | None = None) -> nn.Module:
        """The head with random weights."""
        width = self.input_dims[0] if input_dim is None else input_dim
        made = self.subject.construct(seed=seed, feature_dim=width, latent_dim=LATENT_DIM)
        return cast(Head, made).train()

    def run(self, module: nn.Module, inputs: Tensor) -> HeadOutput:
        """What it makes of features at noise levels from nearly none to nearly all."""
        timesteps = torch.linspace(50.0, 950.0, len(inputs), device=inputs.device)
        return cast(Head, module).predict(inputs, timesteps)


class RefinerPart(TrainedPart):
    """A refiner, which reads what it writes."""

    input_dims = (LATENT_DIM,)

    def make(self, *, seed: int = 0, input_dim: int | None = None) -> nn.Module:
        """The refiner with random weights."""
        made = self.subject.construct(seed=seed, latent_dim=LATENT_DIM)
        return cast(Refiner, made).train()

    def run(self, module: nn.Module, inputs: Tensor) -> HeadOutput:
        """The refined latents, without losses."""
        return HeadOutput(latents=module(inputs))


def trainable(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that an optimizer gets."""
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
