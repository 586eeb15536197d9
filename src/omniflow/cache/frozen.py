"""What a model's frozen parts make of samples: from the cache, or computed and kept."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from omniflow.cache.key import (
    SampleKeys,
    class_code_digest,
    code_digest,
    package_versions,
    tensor_keys,
)
from omniflow.cache.place import GIGABYTE, cache_folder
from omniflow.cache.store import CacheStore
from omniflow.models.precision import full_precision

if TYPE_CHECKING:
    from omniflow.cache.space import Counts, Space
    from omniflow.interfaces import Backbone, Encoder, Sample, TokenBatch
    from omniflow.recipe import TrainingOptions
    from omniflow.registry import Component

log = logging.getLogger(__name__)

#: On the CPU so many samples are computed at a time, never more or fewer: matrix products of
#: another size may differ in the last digit, and what is made of a sample must not depend on which
#: others are with it.
CPU_ROWS = 4

#: Makes values [positions, ...] of the samples at some positions.
Compute = Callable[[Sequence[int]], Tensor]


class FrozenWork:
    """The frozen parts of a model, asked for values of whole batches.

    Values are computed without gradients, outside autocast, and on the CPU independently of the
    batch they come in. With a store attached, those of a component that says what shapes them
    (`work_identity`) are looked up first and kept afterwards, as long as nothing in it is trained.

    Args:
        backbone: The model's backbone.
        encoders: Its encoders.
        components: The registered components: the backbone's, and one an encoder.
        sources: Where the weights of each came from, for people to read.
    """

    def __init__(
        self,
        backbone: Backbone,
        encoders: Sequence[Encoder],
        components: Sequence[Component],
        sources: Sequence[str],
    ) -> None:
        self._backbone = backbone
        self._encoders = tuple(encoders)
        self._components = tuple(components)
        self._sources = tuple(sources)
        self._store: CacheStore | None = None
        self._spaces: dict[tuple[int, str], Space | None] = {}

    @property
    def counts(self) -> Counts | None:
        """What has happened to the cache; None without one."""
        return None if self._store is None else self._store.counts

    def attach(self, store: CacheStore | None) -> None:
        """Look values up in a store from now on, and keep them there; in none for None."""
        self._store = store
        self._spaces = {}

    def of_backbone(
        self, work: str, keys: Callable[[], Sequence[bytes]], count: int, compute: Compute
    ) -> Tensor:
        """Values of some samples, made by the backbone [count, ...].

        Args:
            work: What is made, see `Backbone.work_identity`.
            keys: Gives the key of each sample's content; called when there is a cache.
            count: How many samples.
            compute: Makes the values of those at some positions.
        """
        return self._values(self._space(0, work), keys, count, compute)

    def text_latents(self, tokens: TokenBatch, positions: Sequence[int] | None = None) -> Tensor:
        """Clean text latents [positions, latent_tokens, latent_dim] of tokenised texts.

        Args:
            tokens: The texts.
            positions: Which of them; all when None.
        """
        rows = slice(None) if positions is None else torch.tensor(positions)
        prompt_ids, is_empty = tokens.prompt_ids[rows], tokens.is_empty[rows]

        def compute(chosen: Sequence[int]) -> Tensor:
            part, device = torch.tensor(chosen), self._device
            return self._backbone.encode_text(
                prompt_ids[part].to(device), is_empty[part].to(device)
            )

        return self.of_backbone(
            "text_latents", lambda: tensor_keys(prompt_ids, is_empty), len(prompt_ids), compute
        )

    def embedding(self, position: int, samples: Sequence[Sample], modality: str) -> Tensor:
        """What one of the encoders makes of a modality of samples [batch, width], not adapted.

        Args:
            position: Which encoder.
            samples: Samples that all have the modality.
            modality: One that it embeds.
        """
        encoder = self._encoders[position]
        return self._values(
            self._space(position + 1, modality),
            lambda: SampleKeys(samples).of(modality, range(len(samples))),
            len(samples),
            lambda chosen: encoder.encode([samples[i] for i in chosen], modality),
        )

    @property
    def _device(self) -> torch.device:
        return next(self._backbone.parameters()).device

    def _values(
        self,
        space: Space | None,
        keys: Callable[[], Sequence[bytes]],
        count: int,
        compute: Compute,
    ) -> Tensor:
        if space is None or self._store is None:
            return self._computed(range(count), compute)
        device, wanted = self._device, keys()
        values, missing = space.gather(wanted, pinned=device.type == "cuda")
        self._store.counts.found += count - len(missing)
        if not missing:
            return values.to(device, non_blocking=True)
        # Of several samples with the same content one is computed.
        first = {wanted[position]: position for position in reversed(missing)}
        positions = sorted(first.values())
        computed = self._computed(positions, compute)
        self._store.counts.computed += len(positions)
        self._store.keep(space, [wanted[position] for position in positions], computed)
        place = {wanted[position]: row for row, position in enumerate(positions)}
        rows = torch.tensor([place[wanted[position]] for position in missing], device=device)
        if len(missing) == count:
            return computed[rows]
        complete = values.to(device)
        complete[torch.tensor(missing, device=device)] = computed[rows]
        return complete

    def _computed(self, positions: Sequence[int], compute: Compute) -> Tensor:
        device = self._device
        with torch.no_grad(), full_precision(device.type):
            if device.type != "cpu":
                return compute(positions).contiguous()
            parts = []
            for start in range(0, len(positions), CPU_ROWS):
                part = list(positions[start : start + CPU_ROWS])
                filled = part + part[-1:] * (CPU_ROWS - len(part))
                parts.append(compute(filled)[: len(part)])
            return torch.cat(parts).contiguous()

    def _space(self, owner: int, work: str) -> Space | None:
        """Where values of a kind are kept; None where they are not."""
        if self._store is None or self._device.type == "meta":
            return None
        if (owner, work) not in self._spaces:
            self._spaces[owner, work] = self._opened(self._store, owner, work)
        return self._spaces[owner, work]

    def _opened(self, store: CacheStore, owner: int, work: str) -> Space | None:
        component = self._components[owner]
        name = f"{component.kind} {component.name}"
        module: Backbone | Encoder = self._backbone if owner == 0 else self._encoders[owner - 1]
        said = module.work_identity(work)
        if said is None or (owner and _is_trained(module)):
            log.info("%s: %s is not kept in the cache", name, work)
            return None
        about = {"component": name, "work": work, "source": self._sources[owner]}
        return store.space(self._identity(component, module, work, said), about)

    def _identity(
        self, component: Component, module: nn.Module, work: str, said: Mapping[str, str]
    ) -> dict[str, Any]:
        """Everything but the content that shapes a value."""
        origin = component.origin
        return {
            "work": work,
            "component": [component.kind, component.name, origin.distribution, origin.version],
            "class": [type(module).__module__, type(module).__qualname__],
            "said": dict(said),
            "code": [code_digest(), class_code_digest(type(module))],
            "packages": package_versions(),
            "device": self._device.type,
            "products": torch.get_float32_matmul_precision(),
        }


def open_cache(options: TrainingOptions, *, is_strict: bool = False) -> CacheStore | None:
    """The cache that options ask for, if they ask for one; nothing is written.

    Args:
        options: Options of the recipe.
        is_strict: Whether values that cannot be written are an error.

    Raises:
        UsageError: If its folder is a file.
    """
    if not options.cache:
        return None
    return CacheStore(
        cache_folder(options.cache_dir),
        limit_bytes=int(options.cache_limit_gb * GIGABYTE),
        is_strict=is_strict,
    )


@contextmanager
def cached(frozen: FrozenWork, store: CacheStore | None) -> Iterator[None]:
    """While entered, frozen values are taken from a store, if there is one, and kept there.

    What has been computed is written at the end, whatever ends it.
    """
    if store is None:
        yield
        return
    frozen.attach(store)
    try:
        yield
    finally:
        frozen.attach(None)
        store.close()
        counts = store.counts
        log.info(
            "cache %s: %d values found, %d computed, %d written, %d damaged shards",
            store.folder, counts.found, counts.computed, counts.written, counts.damaged,
        )  # fmt: skip


def _is_trained(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
