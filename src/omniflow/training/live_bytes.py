"""Bytes of tensors that come and go: what a piece of work holds at its peak."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While entered, counts the tensors that are made on a device, until nobody holds them.

    Tensors that share memory count once; those that were there before do not count. What a kernel
    takes for itself and gives back is not seen, nor is what an allocator keeps in reserve.

    Args:
        device_type: The device: cpu, cuda, meta, ...

    Attributes:
        live: Bytes now.
        peak: Most bytes at any moment.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device_type = device_type
        self.live = 0
        self.peak = 0
        self._counted: set[int] = set()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {_key(part) for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)}
        for part in tree_leaves(result):
            if isinstance(part, Tensor) and part.device.type == self.device_type:
                self._count(part, given)
        return result

    def _count(self, tensor: Tensor, given: set[int]) -> None:
        key = _key(tensor)
        # A view of what was given is new only if that was.
        if key in self._counted or key in given:
            return
        storage = tensor.untyped_storage()
        size = storage.nbytes()
        self._counted.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._released, key, size)

    def _released(self, key: int, size: int) -> None:
        self._counted.discard(key)
        self.live -= size


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
