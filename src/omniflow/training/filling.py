"""Filling the cache ahead: every frozen value that a recipe's run will ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from omniflow.assembly import assemble, construct_component
from omniflow.cache.frozen import cached, open_cache
from omniflow.errors import ConfigError
from omniflow.interfaces import Objective
from omniflow.recipe import Recipe
from omniflow.registry import Registry
from omniflow.training.decoding import readable_samples
from omniflow.training.device import choose_device
from omniflow.training.splits import open_datasets


@dataclass(frozen=True)
class Filling:
    """What filling has come to.

    Args:
        folder: The cache.
        samples: Samples looked at.
        found: Values that were there already.
        computed: Values that were not.
        damaged: Shards found damaged, and made anew.
    """

    folder: Path
    samples: int
    found: int
    computed: int
    damaged: int


def fill_cache(
    recipe: Recipe, *, registry: Registry, progress: Callable[[int, int], None] | None = None
) -> Filling:
    """Ask the frozen parts for everything that training by a recipe may ask them for.

    What is there already is not computed again: stopped at any moment, it goes on where it was.

    Args:
        recipe: The resolved recipe.
        registry: Where its names are looked up.
        progress: Called with (samples done, samples) after every batch.

    Raises:
        UsageError: If recipe or data do not fit, or the objective cannot tell what it reads.
        OmniFlowError: If the cache cannot be written (a full disk).
    """
    options = recipe.training
    device = choose_device(options.device)
    objective: Objective = construct_component(registry, "objective", recipe.objective)
    splits = [
        open_datasets(recipe, registry, split, objective.modalities, objective.task_weights())
        for split in ("train", "validation")
    ]
    # Of the validation split a run looks at the beginning alone.
    counts = [len(splits[0]), min(len(splits[1]), options.eval_batches * options.batch_size)]
    store = open_cache(options, is_strict=True)
    if store is None:
        raise ConfigError("training.cache", False, expected="true, to fill the cache")
    model = assemble(recipe, registry, device=device)
    objective.check(model)
    done, total = 0, sum(counts)
    with cached(model.frozen, store):
        for dataset, count in zip(splits, counts, strict=True):
            records = islice(dataset.records(), count)
            while batch := list(islice(records, options.batch_size)):
                samples = readable_samples(dataset, batch)
                if samples:
                    objective.encode_ahead(model, samples)
                done += len(batch)
                if progress is not None:
                    progress(done, total)
    found = store.counts
    return Filling(store.folder, total, found.found, found.computed, found.damaged)
