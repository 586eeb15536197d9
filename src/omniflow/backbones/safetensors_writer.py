"""Safetensors written tensor by tensor, so that memory holds one of them at a time.

The library that owns the format takes all tensors of a file at once. The format: eight bytes with
the length of the header (little endian), the header as JSON, and the values without gaps
(https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from omniflow.files import write_json
from omniflow.tensor_files import DTYPES, StoredTensor, stream

_NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Converted:
    """A tensor to write.

    Args:
        source: Where its values are.
        dtype: The precision to write.
    """

    source: StoredTensor
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Bytes that it takes in the new file."""
        return self.source.size // self.source.dtype.itemsize * self.dtype.itemsize


def write_safetensors(
    folder: Path,
    name: str,
    tensors: Mapping[str, Converted],
    *,
    max_bytes: int,
    progress: Callable[[int], None],
) -> None:
    """Write tensors as one file, or as shards with an index when they take more than `max_bytes`.

    Args:
        folder: An existing folder.
        name: Name of the file, such as `model.safetensors`; shards are named after it.
        tensors: What to write, by name.
        max_bytes: Size of a file; a larger tensor has a file to itself.
        progress: Called with the bytes of every tensor written.

    Raises:
        CheckpointError: If a source cannot be read.
        OSError: If the disk is full.
    """
    shards = list(_shards(tensors, max_bytes))
    if len(shards) <= 1:
        _write(folder / name, tensors, sorted(tensors), progress)
        return
    stem = name.removesuffix(".safetensors")
    places: dict[str, str] = {}
    for number, names in enumerate(shards, 1):
        shard = f"{stem}-{number:05d}-of-{len(shards):05d}.safetensors"
        _write(folder / shard, tensors, names, progress)
        places |= dict.fromkeys(names, shard)
    total = sum(tensor.size for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    write_json(folder / f"{name}.index.json", index)


def _shards(tensors: Mapping[str, Converted], max_bytes: int) -> Iterator[list[str]]:
    """Names in the order given, file by file."""
    names: list[str] = []
    size = 0
    for name, tensor in tensors.items():
        if names and size + tensor.size > max_bytes:
            yield names
            names, size = [], 0
        names.append(name)
        size += tensor.size
    if names:
        yield names


def _write(
    path: Path,
    tensors: Mapping[str, Converted],
    names: Sequence[str],
    progress: Callable[[int], None],
) -> None:
    # The widest first: so every tensor starts at a multiple of its own width.
    ordered = sorted(names, key=lambda name: (-tensors[name].dtype.itemsize, name))
    with path.open("wb") as file:
        file.write(_header(tensors, ordered))
        values = stream(tensors[name].source for name in ordered)
        for name, value in zip(ordered, values, strict=True):
            flat = value.to(tensors[name].dtype).contiguous().flatten()
            file.write(flat.view(torch.uint8).numpy().data)
            progress(tensors[name].size)


def _header(tensors: Mapping[str, Converted], ordered: Sequence[str]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    start = 0
    for name in ordered:
        tensor = tensors[name]
        end = start + tensor.size
        entries[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.source.shape),
            "data_offsets": [start, end],
        }
        start = end
    content = json.dumps(entries, separators=(",", ":")).encode()
    # Spaces fill it up to a multiple of eight, as the format wants.
    content += b" " * (-len(content) % 8)
    return len(content).to_bytes(8, "little") + content
