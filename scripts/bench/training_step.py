"""A training step as the research scripts take it, against ours: same weights, same samples.

    python scripts/bench/training_step.py                     # the table of docs/performance.md
    python scripts/bench/training_step.py --batch 1 --repeats 1 --tasks t2t

The model is `scaled_model.py`: 4 layers of 768, 1024 image, 1024 audio and 32 text tokens. A sample
is a picture and a caption. The scripts encode text, picture and a silent sound anew in every step
and push all three streams through the transformer, whatever the task; ours takes what is frozen
from the cache, as it does from the second epoch on, and computes the streams of the task. Both
compute losses, gradients, their norm, and an AdamW step. They take turns; times are medians of the
processor's time, which other work on the machine does not change.

`text-decoder` is the scripts' training of a head on the frozen transformer, `flow` that of the
transformer itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from scaled_model import FRAMES, MELS, ScaledBackbone
from torch import Tensor

from omniflow.assembly import assemble, construct_component
from omniflow.cache.frozen import cached
from omniflow.cache.store import CacheStore
from omniflow.draft import Draft
from omniflow.draws import Draws
from omniflow.interfaces import Objective, Sample
from omniflow.interfaces.backbone import Streams
from omniflow.model import OmniFlowModel
from omniflow.models.flow_scheduler import add_noise
from omniflow.objectives.flow_losses import direction_loss, weighted_error
from omniflow.objectives.token_scores import count_targets
from omniflow.plugins import load_plugins
from omniflow.recipe import Recipe
from omniflow.registry import Component, Origin, Registry
from omniflow.resolve import resolve
from omniflow.training.figures import RunningFigures
from omniflow.training.processes import Processes
from omniflow.training.updates import Updates

#: Objective -> its tasks on an image-text dataset, equally frequent.
TASKS = {"text-decoder": ("t2t",), "flow": ("t2i", "i2t")}

CAPTION = "a small brown dog runs along the beach with a red ball in its mouth {}"


def samples_of(batch: int) -> list[Sample]:
    """Pictures of noise, with a caption each."""
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (batch, 512, 512, 3), np.uint8)
    return [
        Sample(id=str(number), text=CAPTION.format(number), image=Image.fromarray(picture))
        for number, picture in enumerate(pictures)
    ]


class Script:
    """A step of the research scripts, from our own classes."""

    def __init__(self, model: OmniFlowModel, objective: str, samples: Sequence[Sample]) -> None:
        self.model = model
        self.is_flow = objective == "flow"
        self.samples = samples
        self.parameters = list(model.trainable_parameters())
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-6)

    def step(self, task: str) -> None:
        """One step; nothing is left out that the task does not need."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._flow_loss(task) if self.is_flow else self._text_loss()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()

    @torch.no_grad()
    def _encoded(self) -> Streams:
        """Latents of all three modalities; a sound that is not there is a silent log-mel."""
        backbone = self.model.backbone
        assert isinstance(backbone, ScaledBackbone)
        self.tokens = backbone.tokenise([sample.text or "" for sample in self.samples],
                                        max_length=256)  # fmt: skip
        pictures = [sample.image for sample in self.samples if sample.image is not None]
        silence = torch.zeros(len(self.samples), 1, FRAMES, MELS)
        return Streams(
            image=backbone.encode_image(pictures),
            text=backbone.encode_text(self.tokens.prompt_ids, self.tokens.is_empty),
            audio=backbone.encode_log_mel(silence),
        )

    def _text_loss(self) -> Tensor:
        """Part B of the scripts: one level for all, streams of no use multiplied by 0."""
        clean = self._encoded()
        levels = torch.rand(len(self.samples)).clamp(0.01, 0.99)
        noisy = [add_noise(part, torch.randn_like(part), levels) for part in clean]
        streams = Streams(image=0.0 * noisy[0], text=noisy[1], audio=0.0 * noisy[2])
        text = self.model.predict(streams, Streams(*[1000 * levels] * 3)).text
        logits = self.model.backbone.decode_logits(text.latents, self.tokens.input_ids)
        ce = F.cross_entropy(logits[:, :-1].flatten(0, 1), self.tokens.input_ids[:, 1:].flatten())
        return ce + 0.1 * F.mse_loss(text.latents, clean.text)

    def _flow_loss(self, task: str) -> Tensor:
        """Part A of the scripts: absent streams are noise at level 1, given ones clean."""
        clean = self._encoded()
        pooled = self._pooled(task)
        made = "image" if task == "t2i" else "text"
        levels = {name: torch.zeros(len(self.samples)) for name in ("image", "text")}
        levels["audio"] = torch.ones(len(self.samples))
        levels[made] = torch.rand(len(self.samples)).clamp(0.01, 0.99)
        noises = {name: torch.randn_like(getattr(clean, name)) for name in levels}
        noisy = Streams(
            **{name: add_noise(getattr(clean, name), noises[name], levels[name]) for name in levels}
        )
        timesteps = Streams(**{name: 1000 * level for name, level in levels.items()})
        prediction = self.model.predict(noisy, timesteps, pooled)
        image_error = F.mse_loss(prediction.image, noises["image"] - clean.image)
        audio_error = F.mse_loss(prediction.audio, noises["audio"] - clean.audio)
        ones = torch.ones(len(self.samples))
        text = prediction.text.latents
        text_error = weighted_error(text, clean.text, ones)
        text_error = text_error + 0.1 * direction_loss(text, clean.text, ones)
        factors = (float(made == "image"), float(made == "text"))
        return factors[0] * image_error + factors[1] * text_error + 0.0 * audio_error

    @torch.no_grad()
    def _pooled(self, task: str) -> Tensor:
        if task == "i2t":
            return self.model.backbone.pool_image([sample.image for sample in self.samples])
        return self.model.backbone.condition_text([sample.text for sample in self.samples]).pooled


class Ours:
    """A step as `omniflow train` takes it, with everything frozen in the cache."""

    def __init__(
        self, model: OmniFlowModel, objective: Objective, recipe: Recipe, samples: Sequence[Sample]
    ) -> None:
        self.model = model
        self.objective = objective
        self.samples = samples
        alone = Processes()
        self.figures = RunningFigures(alone, model.device)
        self.updates = Updates(model, objective, recipe.training, alone, self.figures)
        self.taken = 0
        objective.encode_ahead(model, samples)

    def step(self, task: str) -> None:
        """One step; the objective serves that task alone."""
        self.taken += 1
        draws = Draws.at(0, range(len(self.samples)), self.taken)
        batch = self.objective.collate(self.model, self.samples, draws)
        assert count_targets(batch.tokens) > 0, task
        self.updates.take(self.taken, [batch], 1e-6)


def recipe_of(objective: str, task: str, registry: Registry) -> Recipe:
    """What a person would say; `flow` without drops, which change from step to step."""
    flow = {
        "absent_noise_share": 0.0, "drop_probability": 0.0, "clean_probability": 1.0,
        "clip_probability": 0.0,
    }  # fmt: skip
    head = {"head": {"name": "mlp", "hidden_dim": 2048}, "refiner": "mlp"}
    return resolve(
        Draft.from_mapping(
            {
                "backbone": "scaled",
                "objective": {"name": objective, "tasks": [task],
                              **(flow if objective == "flow" else {})},
                "training": {"device": "cpu", "precision": "fp32", "ema_decay": 0.0},
                **(head if objective == "text-decoder" else {}),
            }
        ),
        registry,
    )  # fmt: skip


def measured(
    objective: str, task: str, batch: int, repeats: int, cache: Path
) -> tuple[float, float]:
    """Median seconds of a step of the scripts, and of ours; the first of each is not counted."""
    registry = load_plugins().registry
    backbone = Component("backbone", "scaled", ScaledBackbone, "", Origin("benchmark", "0"))
    registry.add([backbone])
    recipe = recipe_of(objective, task, registry)
    built = construct_component(registry, "objective", recipe.objective)
    samples = samples_of(batch)
    script_model = assemble(recipe, registry, device=torch.device("cpu"))
    our_model = assemble(recipe, registry, device=torch.device("cpu"))
    our_model.load_trained_state(script_model.trained_state(), where="the other model")
    with ExitStack() as stack:
        store = CacheStore(cache, limit_bytes=10**9)
        stack.enter_context(cached(our_model.frozen, store))
        steps: list[Callable[[str], None]] = [
            Script(script_model, objective, samples).step,
            Ours(our_model, built, recipe, samples).step,
        ]
        seconds: list[list[float]] = [[], []]
        for _ in range(repeats + 1):
            for step, times in zip(steps, seconds, strict=True):
                started = time.process_time()
                step(task)
                times.append(time.process_time() - started)
    script, ours = (statistics.median(times[1:]) for times in seconds)
    return script, ours


def main() -> None:
    """Measure the tasks and print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--objectives", nargs="*", choices=tuple(TASKS), default=tuple(TASKS))
    parser.add_argument("--tasks", nargs="*", help="these alone")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print("| objective | task | script, s a step | ours, s a step | ratio |")
    print("| --- | --- | ---: | ---: | ---: |", flush=True)
    for objective in options.objectives:
        totals = []
        for task in TASKS[objective]:
            if options.tasks and task not in options.tasks:
                continue
            with tempfile.TemporaryDirectory() as cache:
                pair = measured(objective, task, options.batch, options.repeats, Path(cache))
            totals.append(pair)
            print(_row(objective, task, pair), flush=True)
        if len(totals) > 1:
            sums = tuple(sum(each) / len(totals) for each in zip(*totals, strict=True))
            print(_row(objective, "their mean", sums), flush=True)


def _row(objective: str, task: str, pair: Sequence[float]) -> str:
    script, ours = pair
    return f"| {objective} | {task} | {script:.2f} | {ours:.3f} | {script / ours:.1f} x |"


if __name__ == "__main__":
    main()
