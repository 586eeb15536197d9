"""What our training loop adds to the bare arithmetic of its steps.

    python scripts/bench/loop_overhead.py               # the table of docs/performance.md
    python scripts/bench/loop_overhead.py --steps 30

A run of `omniflow train` on `tiny` and `scenes`, in its second epoch: reading, tokenising, drawing
noise, the cache, figures, logging every 20 steps. After each of its steps the same tensors go
through a bare loop on a second model: forward, backward, clipping, optimizer. Log lines are part of
the means; the first steps and the last are left out. Times are the processor's, which other work on
the machine does not change.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch
import torch.nn.functional as F

from omniflow.assembly import assemble, construct_component
from omniflow.cache.frozen import cached, open_cache
from omniflow.draft import Draft
from omniflow.draws import Draws
from omniflow.models.flow_scheduler import add_noise
from omniflow.objectives.noise_coupling import coupled
from omniflow.objectives.token_scores import cross_entropy
from omniflow.plugins import load_plugins
from omniflow.recipe import Recipe
from omniflow.registry import Registry
from omniflow.resolve import resolve
from omniflow.training.optimizer import make_optimizer
from omniflow.training.order import SampleOrder
from omniflow.training.reporter import Reporter
from omniflow.training.splits import open_datasets
from omniflow.training.trainer import train

#: Steps whose times are not looked at: the first epoch, in which the cache is filled.
WARM_UP = 10


class BareSteps(Reporter):
    """After every step of a run, times the same step without the loop around it.

    Args:
        recipe: Of the run.
        registry: Where its names are looked up.

    Attributes:
        ours: Seconds of the run's steps, and of all that it does between them.
        bare: Seconds of the bare ones.
    """

    def __init__(self, recipe: Recipe, registry: Registry) -> None:
        self.options = recipe.training
        self.objective = construct_component(registry, "objective", recipe.objective)
        self.model = assemble(recipe, registry, device=torch.device("cpu"))
        dataset = open_datasets(recipe, registry, "train", self.objective.modalities)
        self.order = SampleOrder(dataset, self.options.seed)
        self.parameters = list(self.model.trainable_parameters())
        self.optimizer = make_optimizer(self.model, self.options)
        self.ours: list[float] = []
        self.bare: list[float] = []
        self.resumed = time.process_time()

    def stepped(self, step: int) -> None:
        """Time a step of the run, and the bare one."""
        ours = time.process_time() - self.resumed
        size = self.options.batch_size
        positions = range((step - 1) * size, step * size)
        draws = Draws.at(self.options.seed, positions, step - 1)
        batch = self.objective.collate(self.model, self.order.samples(positions), draws)
        clean = self.model.frozen.text_latents(batch.tokens)
        levels = draws.fractions("level").float().clamp(1e-4, 1 - 1e-4)
        drawn = coupled(
            draws.normal("noise", *clean.shape[1:]), clean, self.objective.text_coupling
        )
        noisy = add_noise(clean, drawn, levels)
        self.model.train()
        started = time.process_time()
        self.optimizer.zero_grad(set_to_none=True)
        predicted = self.model(noisy, 1000 * levels).latents
        weights = self.objective.weights
        loss = weights["ce"] * cross_entropy(self.model.backbone, predicted, batch.tokens)
        loss = loss + weights["mse"] * F.mse_loss(predicted.float(), clean.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.options.grad_clip)
        self.optimizer.step()
        self.bare.append(time.process_time() - started)
        self.ours.append(ours)
        self.resumed = time.process_time()


def main() -> None:
    """Run, and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    registry = load_plugins().registry
    with tempfile.TemporaryDirectory() as folder:
        training = {
            "batch_size": options.batch, "max_steps": WARM_UP + options.steps + 1, "device": "cpu",
            "log_interval": 20, "eval_batches": 1, "eval_interval": 10**6, "save_interval": 10**6,
            "epochs": 10**4, "precision": "fp32", "cache_dir": str(Path(folder) / "cache"),
            "workers": options.workers,
        }  # fmt: skip
        said = {
            "head": "mlp", "refiner": "mlp", "training": training,
            "dataset": {"name": "scenes", "size": WARM_UP * options.batch},
        }  # fmt: skip
        recipe = resolve(Draft.from_mapping(said), registry)
        bare = BareSteps(recipe, registry)
        with cached(bare.model.frozen, open_cache(recipe.training)):
            train(recipe, output_dir=Path(folder) / "run", registry=registry, reporter=bare)
    ours, alone = (times[WARM_UP:-1] for times in (bare.ours, bare.bare))
    pairs = [one / other - 1 for one, other in zip(ours, alone, strict=True)]
    print("| workers | ours, ms a step | bare, ms a step | overhead, median of pairs | of means |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    means = [1000 * statistics.fmean(times) for times in (ours, alone)]
    print(
        f"| {options.workers} | {means[0]:.1f} | {means[1]:.1f} "
        f"| {statistics.median(pairs):+.1%} | {means[0] / means[1] - 1:+.1%} |"
    )


if __name__ == "__main__":
    main()
