"""The published folder of an OmniFlow model: what lies where, and its tensors one by one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.checkpoints import content_hash, read_json
from omniflow.errors import CheckpointError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

#: Names of the weights, best first; each may be split, with `.index.json` saying where what is.
WEIGHT_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")


@dataclass(frozen=True)
class PublishedFolder:
    """Where the parts of one model lie.

    Args:
        root: The folder itself.
        weights: The files that hold the transformer and, under `text_decoder.`, the text VAE.
        t5_config: Configuration of the T5 encoder, when the folder brings its own.
        t5_tokenizer: Folder of its tokenizer, likewise.
    """

    root: Path
    weights: tuple[Path, ...]
    t5_config: Path | None
    t5_tokenizer: Path | None

    @property
    def transformer_config(self) -> Path:
        """Sizes and choices of the joint transformer."""
        return self.root / "transformer" / "config.json"

    @property
    def text_vae_config(self) -> Path:
        """The Llama configuration, with the sizes of the text VAE around it."""
        return self.root / "text_vae" / "config.json"

    @property
    def text_tokenizer(self) -> Path:
        """Folder of the tokenizer of the text decoder."""
        return self.root / "vae_tokenizer"

    def content_hash(self) -> str:
        """SHA-256 over everything that shapes a result: weights, configurations, tokenizers."""
        files = [self.transformer_config, self.text_vae_config, *self.weights]
        files += [] if self.t5_config is None else [self.t5_config]
        for tokenizer in (self.text_tokenizer, self.t5_tokenizer):
            files += [] if tokenizer is None else [f for f in tokenizer.iterdir() if f.is_file()]
        lines = sorted(
            f"{file.relative_to(self.root).as_posix()} {content_hash(file)}\n" for file in files
        )
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_published(path: str) -> PublishedFolder:
    """Look up the parts of a folder, without reading a weight.

    Raises:
        UsageError: If there is no such folder.
        CheckpointError: If parts of it are missing; all of them are named.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        raise UsageError(
            f"there is no folder {path!r}",
            where="backbone.path",
            expected="a folder in the published layout (transformer/, text_vae/, vae_tokenizer/)",
            notes=["this release reads folders only: download a model of the Hub first"],
        )
    t5_config, t5_tokenizer = root / "text_encoder_3" / "config.json", root / "tokenizer_3"
    folder = PublishedFolder(
        root=root,
        weights=_weight_files(root / "transformer"),
        t5_config=t5_config if t5_config.is_file() else None,
        t5_tokenizer=t5_tokenizer if t5_tokenizer.is_dir() else None,
    )
    parts = (folder.transformer_config, folder.text_vae_config, folder.text_tokenizer)
    missing = [str(part.relative_to(root)) for part in parts if not part.exists()]
    if not folder.weights:
        missing.append(f"transformer/{WEIGHT_NAMES[0]} (or .bin, whole or split)")
    missing += [str(file.relative_to(root)) for file in folder.weights if not file.is_file()]
    if missing:
        raise CheckpointError(
            "not a whole model in the published layout",
            where=str(root),
            notes=[f"missing: {part}" for part in missing],
        )
    return folder


def read_config(path: Path) -> Mapping[str, Any]:
    """Read a configuration file.

    Raises:
        CheckpointError: If it is missing, not JSON, or not an object.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise CheckpointError(
            f"it holds a {type(values).__name__}", where=str(path), expected="a JSON object"
        )
    return values


def stored_tensors(files: Sequence[Path]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of some files with its name, one in memory at a time, on the CPU.

    Raises:
        CheckpointError: If a file is truncated or not what its name says.
    """
    for file in files:
        try:
            yield from _safetensors(file) if file.suffix == ".safetensors" else _pickled(file)
        except _damage() as error:
            raise CheckpointError(
                f"not a whole file of tensors ({error})",
                where=str(file),
                notes=[f"its size is {file.stat().st_size} bytes; copy or download it again"],
            ) from error


def _safetensors(file: Path) -> Iterator[tuple[str, Tensor]]:
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        for name in tensors.keys():  # noqa: SIM118 - not a mapping
            yield name, tensors.get_tensor(name)


def _pickled(file: Path) -> Iterator[tuple[str, Tensor]]:
    import torch

    # Weights only: nothing in the file is executed.
    state = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(state, dict):
        raise ValueError(f"it holds a {type(state).__name__} instead of named tensors")
    yield from ((name, tensor) for name, tensor in state.items() if torch.is_tensor(tensor))


def _damage() -> tuple[type[Exception], ...]:
    from pickle import UnpicklingError

    from safetensors import SafetensorError

    return (SafetensorError, UnpicklingError, OSError, RuntimeError, ValueError, EOFError)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    for name in WEIGHT_NAMES:
        if (folder / name).is_file():
            return (folder / name,)
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = read_config(index).get("weight_map")
            if not isinstance(shards, dict) or not all(_is_plain(name) for name in shards.values()):
                raise CheckpointError(
                    "it does not say which file holds which tensor",
                    where=str(index),
                    expected="a weight_map from names of tensors to names of files beside it",
                )
            return tuple(folder / shard for shard in sorted(set(shards.values())))
    return ()


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name
