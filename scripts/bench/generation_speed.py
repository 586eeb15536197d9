"""Captions a second: in batches with a static cache, against one at a time without.

    OMP_NUM_THREADS=1 python scripts/bench/generation_speed.py   # for docs/performance.md
    python scripts/bench/generation_speed.py --captions 8 --alone 2 --steps 2

On `tiny` and its test pictures and captions. Both ways sample the same latents from the same noise.
One at a time, `generate` of transformers decodes, with its own cache, which grows by a copy a
token, or with none. The seconds are the processor's, which other work on the machine changes
little. The texts are compared as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import torch

import omniflow
from omniflow.assembly import construct_component
from omniflow.generation.make import make_batch
from omniflow.generation.plan import GenerationPlan, plan_generation
from omniflow.interfaces import Sample
from omniflow.interfaces.text_decoding import TextDecoding
from omniflow.model import OmniFlowModel
from omniflow.plugins import installed_plugins
from omniflow.recipe import Choice
from omniflow.sampling.noise import SeededNoise
from omniflow.sampling.sampler import sample_latents
from omniflow.seeds import mixed_seed
from omniflow.tasks import Task

LONGEST = 64


def captions_of(count: int) -> list[Sample]:
    """The first test records of `scenes`."""
    registry = installed_plugins().registry
    dataset = construct_component(registry, "dataset", Choice("scenes"), split="test")
    dataset.restrict_to({"text", "image"})
    return [dataset[number] for number in range(count)]


def in_batches(
    model: OmniFlowModel, plan: GenerationPlan, samples: Sequence[Sample], size: int
) -> list[str]:
    """As `omniflow generate` makes them."""
    texts: list[str] = []
    for start in range(0, len(samples), size):
        batch = dict(enumerate(samples[start : start + size], start=start))
        texts += [str(made.text) for made in make_batch(model, plan, batch).values()]
    return texts


def one_at_a_time(
    model: OmniFlowModel, plan: GenerationPlan, samples: Sequence[Sample], *, has_cache: bool
) -> list[str]:
    """Each on its own: sampled, then decoded by transformers."""
    texts: list[str] = []
    for number, sample in enumerate(samples):
        noise = SeededNoise([mixed_seed(plan.seed, number)], model.device)
        latents = sample_latents(model, plan.task, [sample], plan.settings, noise)["text"]
        ids = model.backbone.text_vae.generate(latents, max_new_tokens=LONGEST, use_cache=has_cache)
        texts += model.backbone._text_tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts


def seconds_of(call: Callable[[], list[str]]) -> tuple[float, list[str]]:
    """The processor's seconds, and the texts."""
    started = time.process_time()
    texts = call()
    return time.process_time() - started, texts


def measured(
    model: OmniFlowModel, task: str, samples: Sequence[Sample], arguments: argparse.Namespace
) -> None:
    """One row of the table for each way."""
    plan = plan_generation(
        model.backbone, Task.parse(task), steps=arguments.steps,
        decoding=TextDecoding(max_new_tokens=LONGEST),
    )  # fmt: skip
    few = samples[: arguments.alone]
    in_batches(model, plan, few[:2], 2)
    print(f"\n{task}: captions a second (processor's seconds)")
    rates: dict[str, float] = {}
    found: dict[str, list[str]] = {}
    for name, has_cache in (("one at a time, no cache", False), ("... growing cache", True)):
        seconds, found[name] = seconds_of(
            lambda has_cache=has_cache: one_at_a_time(model, plan, few, has_cache=has_cache)
        )
        rates[name] = len(few) / seconds
    for size in (1, 4, 32, 200):
        name = f"static cache, batches of {size}"
        chosen = few if size == 1 else samples
        seconds, found[name] = seconds_of(
            lambda size=size, chosen=chosen: in_batches(model, plan, chosen, size)
        )
        rates[name] = len(chosen) / seconds
    no_cache, cached = list(rates.values())[:2]
    reference = found["static cache, batches of 32"]
    for name, rate in rates.items():
        same = sum(one == other for one, other in zip(found[name], reference, strict=False))
        print(
            f"| {name} | {rate:.2f} | {rate / no_cache:.1f} | {rate / cached:.1f} | "
            f"{same} of {len(found[name])} |"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--captions", type=int, default=200)
    parser.add_argument("--alone", type=int, default=40, help="so many of them one at a time")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--tasks", nargs="+", default=["t2t", "i2t"])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    samples = captions_of(arguments.captions)
    model = omniflow.build(head="linear", refiner="none")
    for task in arguments.tasks:
        measured(model, task, samples, arguments)


if __name__ == "__main__":
    main()
