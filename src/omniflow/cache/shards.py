"""Shards: files of entries that are whole or not there, read row by row, each row checked.

A shard is a safetensors file of three tensors: `keys` [entries, 16] and `checks` [entries, 8] as
bytes, and `values` [entries, ...]. A check is a hash of a row's key and value; the metadata hold a
hash of all keys and checks.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from omniflow.cache.key import KEY_BYTES
from omniflow.cache.place import FORMAT, SUFFIX
from omniflow.errors import OmniFlowError

if TYPE_CHECKING:
    from torch import Tensor

CHECK_BYTES = 8

Bytes = npt.NDArray[np.uint8]


class DamagedShardError(OmniFlowError):
    """A shard is truncated, altered, or of another space or format."""


class Shard:
    """A shard as it lies on disk; values are mapped when they are first asked for.

    Args:
        path: The file.
        space: The space that it has to belong to.

    Raises:
        FileNotFoundError: If it is gone.
        DamagedShardError: If it is not a whole shard of that space.
    """

    def __init__(self, path: Path, space: str) -> None:
        self.path = path
        metadata, tensors = _opened(path, ("keys", "checks"))
        #: Number format and shape of its values.
        self.kind = metadata.get("values", "")
        self.keys: Bytes = tensors["keys"].numpy().copy()
        self._checks: Bytes = tensors["checks"].numpy().copy()
        expected = _metadata(space, self.keys, self._checks, self.kind)
        if metadata != expected:
            raise _damaged(path, "its metadata are not those of its content")
        self._is_checked = np.zeros(len(self.keys), bool)
        self._values: Tensor | None = None

    def __len__(self) -> int:
        """Number of entries."""
        return len(self.keys)

    def take(self, rows: npt.NDArray[np.int64]) -> Tensor:
        """Some values, copied [rows, ...]; a row is checked when it is first read.

        Raises:
            FileNotFoundError: If the file is gone.
            DamagedShardError: If a value is not what was written.
        """
        import torch

        values = self._mapped()
        for row in rows[~self._is_checked[rows]]:
            if _check(self.keys[row].tobytes(), values[int(row)]) != self._checks[row].tobytes():
                raise _damaged(self.path, f"value {row} is not what was written")
            self._is_checked[row] = True
        return torch.index_select(values, 0, torch.from_numpy(rows))

    def unmap(self) -> None:
        """Let go of the file's pages, which count towards the memory of the process."""
        self._values = None

    def _mapped(self) -> Tensor:
        if self._values is None:
            _, tensors = _opened(self.path, ("values",))
            values = tensors["values"]
            if _described(values) != self.kind or len(values) != len(self.keys):
                raise _damaged(self.path, "its values are not those of its keys")
            self._values = values
            # The time of last use, by which old entries go; a shared folder may be read-only.
            with suppress(OSError):
                os.utime(self.path)
        return self._values


def write_shard(path: Path, space: str, keys: Sequence[bytes], values: Tensor) -> None:
    """Write entries as one shard, atomically.

    Args:
        path: The file to write.
        space: The space that they belong to.
        keys: Key of each entry.
        values: Their values [entries, ...], on the CPU.

    Raises:
        UsageError: If the folder cannot be written to.
        OmniFlowError: If writing fails (a full disk).
    """
    import torch

    from omniflow.checkpoints import write_tensors

    values = values.contiguous()
    rows = [_check(key, value) for key, value in zip(keys, values, strict=True)]
    tensors = {
        "keys": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8),
        "checks": torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8),
    }
    shaped = {name: tensor.view(len(keys), -1) for name, tensor in tensors.items()}
    metadata = _metadata(
        space, shaped["keys"].numpy(), shaped["checks"].numpy(), _described(values)
    )
    write_tensors(path, {**shaped, "values": values}, metadata=metadata)


def count_entries(path: Path) -> int:
    """How many entries a shard says to hold; 0 for a file without a readable header.

    Reads the header alone, and needs no torch.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: Any = json.loads(file.read(min(size, path.stat().st_size)))
        return int(header["keys"]["shape"][0])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return 0


def shard_files(folder: Path) -> list[os.DirEntry[str]]:
    """The shards of one space; nothing if there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return [
                entry
                for entry in entries
                if entry.name.endswith(SUFFIX) and not entry.name.startswith(".")
            ]
    except FileNotFoundError:
        return []


def _opened(path: Path, names: Sequence[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as content:
            tensors = {name: content.get_tensor(name) for name in names}
            return content.metadata() or {}, tensors
    except FileNotFoundError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise _damaged(path, " ".join(str(error).split())[:200]) from error


def _described(values: Tensor) -> str:
    return f"{values.dtype} {list(values.shape[1:])}"


def _metadata(space: str, keys: Bytes, checks: Bytes, values: str) -> dict[str, str]:
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in (keys, checks):
        digest.update(repr(part.shape).encode() + part.tobytes())
    digest.update(values.encode())
    return {"format": FORMAT, "space": space, "values": values, "check": digest.hexdigest()}


def _check(key: bytes, value: Tensor) -> bytes:
    import torch

    digest = hashlib.blake2b(key, digest_size=CHECK_BYTES)
    digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.digest()


def _damaged(path: Path, reason: str) -> DamagedShardError:
    return DamagedShardError(f"the shard is damaged ({reason})", where=str(path))
