"""A folder in the published layout written anew with all its weights as safetensors."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from omniflow.backbones.layout import AVERAGES, WEIGHT_NAMES, indexed_files, read_config
from omniflow.backbones.published import PublishedBackbone
from omniflow.backbones.safetensors_writer import Converted, write_safetensors
from omniflow.backbones.weights import FoundWeights
from omniflow.errors import CheckpointError, ConfigError, OmniFlowError, UsageError
from omniflow.files import check_name, check_new_folder, writing_folder
from omniflow.tensor_files import DTYPES, StoredTensor, check_whole, scan_tensors

#: Weights are split into files of at most so many bytes.
MAX_BYTES = 10 * 10**9

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

#: A file of a split model.
_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.\w+")
_INDEX = (".bin.index.json", ".safetensors.index.json")

#: Stems that have another name as safetensors.
_RENAMED = {"pytorch_model": "model"}
_TRANSFORMER = WEIGHT_NAMES[0].removesuffix(".safetensors")


@dataclass(frozen=True)
class Conversion:
    """What was written.

    Args:
        converted: Files of weights that were written anew, relative to the new folder.
        copied: Files that were copied as they are.
        left_out: Files that have no place in the new folder.
        size: Bytes of all of them.
    """

    converted: tuple[str, ...]
    copied: tuple[str, ...]
    left_out: tuple[str, ...]
    size: int


@dataclass(frozen=True)
class _Weights:
    """One set of weights to write: where it goes, under which name, and the tensors."""

    folder: Path
    name: str
    tensors: dict[str, Converted]

    @property
    def size(self) -> int:
        return sum(tensor.size for tensor in self.tensors.values())


@dataclass(frozen=True)
class _Plan:
    weights: list[_Weights]
    copies: list[Path]
    left_out: list[Path]


def convert_folder(
    source: str | Path,
    target: str | Path,
    *,
    dtype: str | None = None,
    ema: bool = False,
    t5: str | None = None,
    max_bytes: int = MAX_BYTES,
    progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write a folder in the published layout anew, its weights as safetensors.

    Every other file is copied, hidden ones are not. A `.bin` beside safetensors of the same name
    is left out. Memory holds one tensor at a time. The new folder is whole or not there.

    Args:
        source: The folder.
        target: The folder to write; may exist if it is empty.
        dtype: Precision of what is in `transformer/` (transformer, text VAE, T5): fp32, bf16 or
            fp16; that of the files when None. Other parts keep theirs.
        ema: Whether averaged weights take the place of the ordinary ones; `ema_transformer.pt` is
            left out then.
        t5: A folder or Hub id of the T5, as for the backbone; read with `ema` only.
        max_bytes: Larger sets of weights are split into files of at most this size.
        progress: Told the bytes that are done, and all of them.

    Raises:
        UsageError: If there is no such folder, or the target is not empty or inside it.
        CheckpointError: If a file of it is damaged, or it is not a whole model.
        ConfigError: If `dtype` is none of the three.
        OmniFlowError: If there is no room for the result.
    """
    root, target = Path(source).expanduser(), Path(target).expanduser()
    if dtype is not None and dtype not in _DTYPES:
        raise ConfigError("dtype", dtype, expected=", ".join(_DTYPES))
    _check_folders(root, target)
    averaged = _averaged(root, t5) if ema else None
    plan = _plan(root, averaged, _DTYPES.get(dtype or ""))
    total = sum(weights.size for weights in plan.weights)
    total += sum(file.stat().st_size for file in plan.copies)
    _check_room(target, total)
    report = _counting(total, progress)
    with writing_folder(target) as folder:
        for file in plan.copies:
            copy = folder / file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            report(file.stat().st_size)
        for weights in plan.weights:
            place = folder / weights.folder
            place.mkdir(parents=True, exist_ok=True)
            write_safetensors(
                place, weights.name, weights.tensors, max_bytes=max_bytes, progress=report
            )
        # Hours may have passed, and another process been quicker.
        _check_folders(root, target)
    return Conversion(
        converted=tuple((each.folder / each.name).as_posix() for each in plan.weights),
        copied=tuple(file.relative_to(root).as_posix() for file in plan.copies),
        left_out=tuple(file.relative_to(root).as_posix() for file in plan.left_out),
        size=total,
    )


def _check_folders(root: Path, target: Path) -> None:
    if not (root / "transformer" / "config.json").is_file():
        raise CheckpointError(
            "not a model in the published layout" if root.is_dir() else "there is no such folder",
            where=str(root),
            expected="a folder with transformer/config.json and its weights",
        )
    read_config(root / "transformer" / "config.json")
    check_name(target)
    if target.exists() and not target.is_dir():
        raise UsageError("is a file", where=str(target), expected="a new folder")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(
            "is not empty", where=str(target), expected="a new folder: nothing is overwritten"
        )
    if target.resolve().is_relative_to(root.resolve()):
        raise UsageError(f"lies inside {root}", where=str(target), expected="a folder of its own")
    check_new_folder(target)


def _check_room(target: Path, size: int) -> None:
    place = target.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < size:
        raise OmniFlowError(
            f"the result takes {size / 1e9:.1f} GB, there are {free / 1e9:.1f} GB free",
            where=str(target),
            expected="a place with room",
        )


def _averaged(root: Path, t5: str | None) -> FoundWeights:
    """Where the tensors of the model with its averages are."""
    return PublishedBackbone(path=str(root), ema=True, t5=t5).stored_weights


def _plan(root: Path, averaged: FoundWeights | None, dtype: torch.dtype | None) -> _Plan:
    """Settle for every file what becomes of it; nothing but headers is read.

    Raises:
        CheckpointError: If weights are damaged or missing.
    """
    plan = _Plan([], [], [])
    has_transformer = False
    for folder in _folders(root):
        rest = _visible(folder)
        sets = _weight_sets(folder, rest)
        for (stem, suffix), files in sets.items():
            name = _RENAMED.get(stem, stem)
            is_transformer = folder.name == "transformer" and name == _TRANSFORMER
            has_transformer |= is_transformer
            index = folder / f"{stem}.{suffix}.index.json"
            if suffix == "bin" and (name, "safetensors") in sets:
                plan.left_out.extend(files)
            elif suffix == "bin" or (is_transformer and (dtype or averaged)):
                stored = scan_tensors(files)
                if is_transformer and averaged:
                    stored = dict(averaged.tensors)
                wanted = dtype if is_transformer else None
                tensors = {key: _converted(tensor, wanted) for key, tensor in stored.items()}
                place = folder.relative_to(root)
                plan.weights.append(_Weights(place, f"{name}.safetensors", tensors))
            else:
                # As it is, together with its index.
                for file in files:
                    check_whole(file)
                continue
            rest = [file for file in rest if file not in files and file != index]
        for file in rest:
            is_spent = averaged is not None and file.name == AVERAGES
            (plan.left_out if is_spent else plan.copies).append(file)
    if not has_transformer:
        raise CheckpointError(
            "it has no weights", where=str(root / "transformer"), expected=" or ".join(WEIGHT_NAMES)
        )
    return plan


def _folders(root: Path) -> Iterator[Path]:
    yield root
    for folder in sorted(root.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            if root.resolve().is_relative_to(folder.resolve()):
                raise CheckpointError("is a link to a folder that holds it", where=str(folder))
            yield from _folders(folder)


def _visible(folder: Path) -> list[Path]:
    found = [file for file in sorted(folder.iterdir()) if file.name[0] != "."]
    for file in found:
        # Caches hold links, and lose what they lead to.
        if file.is_symlink() and not file.exists():
            raise CheckpointError(
                f"is a link to {file.readlink()}, which is not there", where=str(file)
            )
    return [file for file in found if file.is_file()]


def _weight_sets(folder: Path, files: list[Path]) -> dict[tuple[str, str], list[Path]]:
    """Weights by stem and suffix, shards together.

    Raises:
        CheckpointError: If an index names a file that is not there, or the names of shards say
            that there are more of them.
    """
    sets: dict[tuple[str, str], list[Path]] = {}
    shards: Counter[tuple[str, str, str]] = Counter()
    for file in files:
        if file.suffix in (".bin", ".safetensors"):
            shard = _SHARD.fullmatch(file.name)
            stem = shard[1] if shard else file.stem
            if shard:
                shards[stem, shard[2], file.suffix] += 1
            sets.setdefault((stem, file.suffix[1:]), []).append(file)
        elif file.name.endswith(_INDEX):
            for name in indexed_files(file):
                if not (folder / name).is_file():
                    raise CheckpointError(f"{name} is missing", where=str(folder))
    for (stem, count, suffix), found in shards.items():
        if found != int(count):
            raise CheckpointError(
                f"there are {found} files {stem}-*-of-{count}{suffix}",
                where=str(folder),
                expected=str(int(count)),
            )
    return sets


def _converted(tensor: StoredTensor, dtype: torch.dtype | None) -> Converted:
    if tensor.dtype not in DTYPES.values():
        raise CheckpointError(
            f"{tensor.path[-1]} is of type {str(tensor.dtype).removeprefix('torch.')}",
            where=str(tensor.file),
            expected="a type that safetensors have",
        )
    casts = dtype is not None and tensor.dtype.is_floating_point
    return Converted(tensor, dtype if dtype and casts else tensor.dtype)


def _counting(total: int, progress: Callable[[int, int], None] | None) -> Callable[[int], None]:
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if progress is not None:
            progress(done, total)

    return count
