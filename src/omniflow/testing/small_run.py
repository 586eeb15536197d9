"""A model on the embedded backbone with the component under test in it, and one step of training.

The smallest thing that a person would do with a component: build a model with it, train it, save
it, and load it again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch

from omniflow.assembly import assemble, load
from omniflow.draft import Draft
from omniflow.draws import Draws
from omniflow.interfaces import Batch, Losses, Objective, Sample
from omniflow.model import OmniFlowModel
from omniflow.options import load_component
from omniflow.resolve import resolve
from omniflow.testing.subject import Subject


@dataclass
class SmallRun:
    """A model, its objective, and a batch for it.

    Args:
        model: The model.
        objective: What trains it.
        samples: Samples of the batch.
    """

    model: OmniFlowModel
    objective: Objective
    samples: Sequence[Sample]

    def batch(self, rows: slice = slice(None), *, seed: int = 0) -> Batch:
        """Some of the samples as a batch."""
        positions = range(len(self.samples))[rows]
        return self.objective.collate(
            self.model, self.samples[rows], Draws.at(seed, list(positions))
        )

    def losses(self, *, seed: int = 0) -> Losses:
        """The losses of a batch of all samples, from the same random numbers each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.objective.losses(self.model, self.batch(seed=seed))

    def train(self, *, steps: int = 2) -> None:
        """Take some steps."""
        self.model.train()
        optimizer = torch.optim.SGD(self.model.trainable_parameters(), lr=0.01)
        for step in range(steps):
            optimizer.zero_grad()
            torch.autograd.backward(self.losses(seed=step).total)
            optimizer.step()
        self.model.eval()


def small_run(subject: Subject, sections: Mapping[str, Any] | None = None) -> SmallRun:
    """A run with the component under test in its place.

    Args:
        subject: A backbone, head, refiner, encoder or objective.
        sections: Other sections of the recipe, as `omniflow.build` takes them.
    """
    chosen = {"name": subject.component.qualified_name, **subject.options}
    own = [chosen] if subject.kind == "encoder" else chosen
    recipe = resolve(Draft.from_mapping({**(sections or {}), subject.kind: own}), subject.registry)
    loaded = load_component(subject.registry, "objective", recipe.objective.name)
    objective = cast(Objective, loaded(**recipe.objective.options))
    model = assemble(recipe, subject.registry)
    objective.check(model)
    return SmallRun(model, objective, list(subject.samples)[:4])


def saved_and_loaded(run: SmallRun, subject: Subject) -> OmniFlowModel:
    """The model as it comes back from a folder."""
    folder = subject.folder / "model"
    run.model.save_pretrained(folder)
    return load(folder, registry=subject.registry)


def trains_in_a_model(subject: Subject) -> None:
    """A model with it on the backbone `tiny` is trained, saved, and loaded bit for bit."""
    run = small_run(subject)
    run.train()
    again = saved_and_loaded(run, subject)
    generator = torch.Generator().manual_seed(0)
    shape = (2, run.model.backbone.latent_tokens, run.model.backbone.latent_dim)
    noisy, levels = torch.randn(*shape, generator=generator), torch.tensor([300.0, 1000.0])
    with torch.no_grad():
        before, after = (model(noisy, levels).latents for model in (run.model, again))
    subject.expect(torch.equal(before, after), "a saved model predicts something else")
