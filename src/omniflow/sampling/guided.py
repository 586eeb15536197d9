"""The guided prediction: rows through the network, and their predictions put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from omniflow.interfaces import Streams
from omniflow.models.flow_scheduler import velocity_from_x0
from omniflow.sampling.guidance import combine
from omniflow.sampling.rows import RowBatch
from omniflow.sampling.solvers import Levels, State

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


class GuidedModel:
    """A model with its conditions, as a function of the streams that are made.

    Nothing here waits for the device.

    Args:
        model: The model.
        batches: All rows, conditions included.
        split_cond: Condition each stream on its own timestep only.
    """

    def __init__(
        self, model: OmniFlowModel, batches: Sequence[RowBatch], *, split_cond: bool
    ) -> None:
        self.model = model
        self.batches = tuple(batches)
        self.split_cond = split_cond

    def velocity(self, state: State, sigmas: Levels) -> State:
        """The velocity of every stream that is made, in float32.

        Args:
            state: Noisy latents [batch, ...].
            sigmas: Their noise levels; that of text above 0.
        """
        guided = dict(self.predict(state, sigmas))
        if "text" in guided:
            guided["text"] = velocity_from_x0(state["text"], guided["text"], sigmas["text"])
        return guided

    def predict(self, state: State, sigmas: Levels) -> State:
        """Velocities of image and audio, and the clean latents of text; arguments as above.

        The weights add up to 1, so that guiding clean latents is guiding their velocities.
        """
        predictions: dict[str, list[Tensor]] = {name: [] for name in state}
        weights: list[float] = []
        for batch in self.batches:
            count = len(batch.weights)
            weights += batch.weights
            for name, rows in self._rows(batch, state, sigmas).items():
                predictions[name] += rows.chunk(count)
        return {name: combine(rows, weights) for name, rows in predictions.items()}

    def _rows(self, batch: RowBatch, state: State, sigmas: Levels) -> Mapping[str, Tensor]:
        """What the model says in every row of a batch [rows * batch, ...]."""
        count = len(batch.weights)
        latents = {**batch.fixed, **{name: _repeated(part, count) for name, part in state.items()}}
        timesteps = dict(batch.timesteps)
        for name, sigma in sigmas.items():
            size = len(latents[name])
            # The product in float32, as the scheduler's table has it.
            timesteps[name] = torch.full((size,), sigma, device=latents[name].device) * 1000
        predicted = self.model.predict(
            Streams(**latents),
            Streams(**timesteps),
            batch.pooled,
            split_cond=self.split_cond,
            needs_text="text" in state,
        )
        values = {
            "image": predicted.image,
            "text": None if predicted.text is None else predicted.text.latents,
            "audio": predicted.audio,
        }
        return {name: values[name] for name in state}  # type: ignore[misc]


def _repeated(latents: Tensor, count: int) -> Tensor:
    return latents.repeat(count, *[1] * (latents.dim() - 1))
