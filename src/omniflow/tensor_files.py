"""Files of named tensors: what is in them, and their values one by one in bounded memory.

Reads safetensors and the `.bin` and `.pt` files of torch, the latter without executing anything
that is in them.
"""

from __future__ import annotations

import math
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from omniflow.errors import CheckpointError

#: Precisions by their names in safetensors.
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}

#: A mapped file counts towards the memory of the process as far as it has been read. It is opened
#: anew after this share of it, but not more often than every so many bytes.
_SHARE, _STRETCH = 1 / 40, 2**22


#: How torch says that a pickle asks for something to be called.
_REFUSED = re.compile(r"GLOBAL (\S+)|function (\S+)")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a file, without its values.

    Args:
        file: The file.
        path: Where in its contents: a name, or the name of a list and a position.
        shape: Its sizes.
        dtype: Its precision.
    """

    file: Path
    path: tuple[str | int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


def scan_tensors(files: Iterable[Path]) -> dict[str, StoredTensor]:
    """The tensors of some files by name; their values stay where they are.

    Raises:
        CheckpointError: If a file is missing, truncated, holds more than tensors, or is not what
            its name says.
    """
    found: dict[str, StoredTensor] = {}
    for file in files:
        if file.suffix == ".safetensors":
            found |= _scan_safetensors(file)
            continue
        content = load_pickle(file)
        if not isinstance(content, dict):
            raise CheckpointError(
                f"it holds a {type(content).__name__}", where=str(file), expected="named tensors"
            )
        tensors = {name: value for name, value in content.items() if torch.is_tensor(value)}
        found |= {str(name): stored(file, (name,), value) for name, value in tensors.items()}
    return found


def stored(file: Path, path: tuple[str | int, ...], tensor: Tensor) -> StoredTensor:
    """A tensor as a place in its file.

    Raises:
        CheckpointError: If its values are not there one by one: sparse, quantised or left out.
    """
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta:
        raise CheckpointError(
            f"{path[-1]} is sparse, quantised or without values",
            where=str(file),
            expected="plain tensors",
        )
    return StoredTensor(file, path, tuple(tensor.shape), tensor.dtype)


def stream(tensors: Iterable[StoredTensor]) -> Iterator[Tensor]:
    """The values of tensors, in order, on the CPU.

    They map their file: copy what is to outlive the next one. Memory beyond the copies is a small
    share of the file, or the largest tensor.

    Raises:
        CheckpointError: If a file cannot be read any more.
    """
    opened: Path | None = None
    value_of: Callable[[StoredTensor], Tensor] = _closed
    left = 0.0
    for tensor in tensors:
        with _told(tensor.file):
            if tensor.file != opened or left <= 0:
                value_of = _closed
                opened, value_of = tensor.file, _open(tensor.file)
                left = max(tensor.file.stat().st_size * _SHARE, _STRETCH)
            value = value_of(tensor)
        left -= tensor.size
        yield value
        # Else it would keep the mapping alive beside the next one.
        del value


def check_whole(file: Path) -> None:
    """Look whether safetensors are as long as their header says; their values are not read.

    Raises:
        CheckpointError: If they are not.
    """
    with _told(file), safe_open(file, framework="pt"):
        pass


def load_pickle(file: Path) -> Any:
    """What a file of torch holds: tensors and plain values, mapped and not read.

    Raises:
        CheckpointError: If it is missing, damaged, or holds anything else.
    """
    with _told(file):
        # Weights only: nothing in the file is executed. The format before 2020 cannot be mapped.
        return torch.load(
            file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file)
        )


def _scan_safetensors(file: Path) -> dict[str, StoredTensor]:
    found = {}
    with _told(file), safe_open(file, framework="pt") as content:
        for name in content.keys():  # noqa: SIM118 - not a mapping
            entry = content.get_slice(name)
            dtype = DTYPES[entry.get_dtype()]
            found[name] = StoredTensor(file, (name,), tuple(entry.get_shape()), dtype)
    return found


def _open(file: Path) -> Callable[[StoredTensor], Tensor]:
    if file.suffix == ".safetensors":
        content = safe_open(file, framework="pt")
        return lambda tensor: content.get_tensor(tensor.path[0])  # type: ignore[no-untyped-call]
    values = load_pickle(file)
    return lambda tensor: reduce(getitem, tensor.path, values)


def _closed(tensor: StoredTensor) -> Tensor:
    raise AssertionError(f"{tensor.file} is not open")


@contextmanager
def _told(file: Path) -> Iterator[None]:
    """Tell whatever goes wrong while a file is read as our own error."""
    try:
        yield
    except CheckpointError:
        raise
    except FileNotFoundError as error:
        raise CheckpointError("there is no such file", where=str(file)) from error
    # A damaged pickle makes its reader fail in any way.
    except Exception as error:
        size = file.stat().st_size
        notes = [f"its size is {size} bytes; copy or download it again"]
        if isinstance(error, UnpicklingError):
            notes.append("nothing in it was executed")
            refused = _REFUSED.search(str(error))
            if refused:
                raise CheckpointError(
                    f"it holds more than tensors: {refused[1] or refused[2]}",
                    where=str(file),
                    expected="tensors and plain values",
                    notes=notes[1:],
                ) from error
        raise CheckpointError(
            f"not a whole file of tensors ({_reason(error)})", where=str(file), notes=notes
        ) from error


def _reason(error: Exception) -> str:
    """What is wrong, without the advice of torch to read the file unsafely."""
    told = str(error).rpartition("WeightsUnpickler error:")[2].split("Check the documentation")[0]
    line = " ".join(told.split())
    return line[:200] if line and "weights_only" not in line else type(error).__name__
