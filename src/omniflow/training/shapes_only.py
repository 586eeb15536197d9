"""Kernels as a graphics card has them, for a device that computes shapes and no values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

#: What autocast does in half precision, and what in full: the lists of torch's documentation.
_IN_HALF = frozenset(
    {
        F.linear, F.conv1d, F.conv2d, torch.matmul, torch.bmm, torch.mm, torch.addmm, torch.baddbmm,
        torch.einsum, Tensor.matmul, Tensor.__matmul__, Tensor.__rmatmul__, Tensor.bmm, Tensor.mm,
    }
)  # fmt: skip
_IN_FULL = frozenset(
    {
        F.layer_norm, F.group_norm, F.softmax, F.log_softmax, F.cross_entropy, F.nll_loss,
        F.mse_loss, torch.softmax, torch.log_softmax, torch.exp, torch.log, torch.pow, torch.rsqrt,
        torch.sum, torch.cumsum, torch.norm, Tensor.softmax, Tensor.log_softmax, Tensor.exp,
        Tensor.log, Tensor.pow, Tensor.rsqrt, Tensor.sum, Tensor.cumsum, Tensor.norm,
    }
)  # fmt: skip


class CardKernels(TorchFunctionMode):
    """While entered, attention is one kernel, and autocast may cast: neither is so on `meta`.

    Args:
        half: Autocast to half precision, as `--precision bf16` and `fp16` do.
    """

    def __init__(self, *, half: bool) -> None:
        super().__init__()
        self.half = half

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            query, key, value = (*args[:3], *(kwargs[name] for name in _named(args)))
            if self.half:
                query, key, value = _cast((query, key, value), torch.bfloat16)
            return _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
        if self.half and func in _IN_HALF:
            args, kwargs = _cast((args, kwargs), torch.bfloat16)
        elif self.half and func in _IN_FULL:
            args, kwargs = _cast((args, kwargs), torch.float32)
        return func(*args, **kwargs)


class _Attention(torch.autograd.Function):
    """Keeps what fused attention keeps: inputs, result and one number a query, but no scores."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        result = query.new_empty(*query.shape[:-1], value.shape[-1])
        log_sums = query.new_empty(query.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(query, key, value, result, log_sums)
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.empty_like(tensor) for tensor in ctx.saved_tensors[:3])


def _named(args: Sequence[Any]) -> tuple[str, ...]:
    return ("query", "key", "value")[len(args) :]


def _cast(values: Any, dtype: torch.dtype) -> Any:
    def cast(value: Any) -> Any:
        is_float = isinstance(value, Tensor) and value.is_floating_point()
        return value.to(dtype) if is_float and value.dtype != torch.float64 else value

    return tree_map(cast, values)
