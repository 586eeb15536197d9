"""The published layout of an OmniFlow model: which part lies where, in a folder or on the Hub."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniflow.checkpoints import content_hash, read_json
from omniflow.errors import CheckpointError, UsageError
from omniflow.pretrained import PretrainedSource

#: Names of the weights, best first; each may be split, with `.index.json` saying where what is.
WEIGHT_NAMES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")

#: The same for parts that come from transformers.
TRANSFORMERS_NAMES = ("model.safetensors", "pytorch_model.bin")

#: Averaged weights, in `transformer/` or beside it.
AVERAGES = "ema_transformer.pt"


@dataclass(frozen=True)
class Part:
    """A sub-folder of a model, such as `vae`, or a model of its own; fetched file by file.

    Args:
        source: The folder or Hub id that it belongs to.
        name: The sub-folder; empty for the source itself.
    """

    source: PretrainedSource
    name: str = ""

    @property
    def label(self) -> str:
        """What a person calls it."""
        return f"{self.source.path}/{self.name}" if self.name else self.source.path

    def folder(self, *patterns: str) -> Path:
        """The local folder of the part, with the files that fit the patterns, if it has them.

        Raises:
            UsageError: If the Hub cannot be reached or does not have the model.
        """
        prefix = f"{self.name}/" if self.name else ""
        return self.source.folder(*(prefix + pattern for pattern in patterns)) / self.name

    def config(self) -> Mapping[str, Any]:
        """Its `config.json`.

        Raises:
            CheckpointError: If it is missing, not JSON, or not an object.
        """
        return read_config(self.folder("config.json") / "config.json")

    def weights(self, names: Iterable[str] = WEIGHT_NAMES) -> tuple[Path, ...]:
        """The files of its weights, under the first of the names that it has; none without.

        Shards are those that the index names, whether they are there or not.

        Raises:
            CheckpointError: If the index is unreadable or names files of another folder.
        """
        for name in names:
            folder = self.folder(name, f"{name}.index.json")
            if (folder / name).is_file():
                return (folder / name,)
            index = folder / f"{name}.index.json"
            if index.is_file():
                shards = indexed_files(index)
                return tuple(self.folder(*shards) / shard for shard in shards)
        return ()


@dataclass(frozen=True)
class PublishedFolder:
    """A model in the published layout; its weights are fetched when they are asked for.

    Args:
        source: The folder or Hub id.
        root: The local folder that holds its configurations and tokenizers.
    """

    source: PretrainedSource
    root: Path

    def part(self, name: str) -> Part:
        """A sub-folder, whether it is there or not."""
        return Part(self.source, name)

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

    def weights(self) -> tuple[Path, ...]:
        """The files that hold the transformer and, under `text_decoder.`, the text VAE.

        Raises:
            CheckpointError: If there are none, or shards are missing.
        """
        files = self.part("transformer").weights()
        lacking = _lacking_of(files)
        if lacking:
            raise _not_whole(self.source.path, lacking)
        return files

    def averages(self) -> Path:
        """The file of averaged weights.

        Raises:
            CheckpointError: If there is none.
        """
        root = self.source.folder(f"transformer/{AVERAGES}", AVERAGES)
        for file in (root / "transformer" / AVERAGES, root / AVERAGES):
            if file.is_file():
                return file
        raise CheckpointError(
            "there are no averaged weights",
            where=self.source.path,
            expected=f"transformer/{AVERAGES} or {AVERAGES}",
            notes=["without ema the ordinary weights are read"],
        )

    def content_hash(self, others: Mapping[str, Path]) -> str:
        """SHA-256 over everything that shapes what the model says about its text stream.

        What stands around transformer and text VAE (`vae/`, `text_encoder/`, `audio_vae/`,
        `scheduler/` and so on) does not count: a saved model finds the same backbone whether its
        folder has these parts or not, and nothing of them is fetched to tell. Who replaces one
        of them is answerable for the latents and embeddings that come from it.

        Args:
            others: Files beside the configurations and the text tokenizer, by the name under
                which they count.
        """
        files = [self.transformer_config, self.text_vae_config]
        files += [file for file in self.text_tokenizer.iterdir() if file.is_file()]
        named = {file.relative_to(self.root).as_posix(): file for file in files} | dict(others)
        lines = sorted(f"{name} {content_hash(file)}\n" for name, file in named.items())
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def find_published(path: str, *, revision: str | None = None) -> PublishedFolder:
    """Look up the parts of a model, without reading a weight; of a Hub id, fetch the small ones.

    Raises:
        UsageError: If there is no such folder, or the Hub does not have the model.
        CheckpointError: If parts of it are missing; all of them are named.
        ConfigError: If a folder comes with a revision.
    """
    if "/" not in path and not Path(path).expanduser().is_dir():
        raise UsageError(
            f"there is no folder {path!r}",
            where="backbone.path",
            expected="a folder in the published layout (transformer/, text_vae/, vae_tokenizer/), "
            "or OWNER/NAME on the Hub",
        )
    source = PretrainedSource(path, revision=revision)
    root = source.folder("transformer/config.json", "text_vae/config.json", "vae_tokenizer/*")
    folder = PublishedFolder(source, root)
    parts = (folder.transformer_config, folder.text_vae_config, folder.text_tokenizer)
    lacking = [str(part.relative_to(root)) for part in parts if not part.exists()]
    if source.is_local:
        lacking += _lacking_of(folder.part("transformer").weights())
    if lacking:
        raise _not_whole(path, lacking)
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


def indexed_files(index: Path) -> list[str]:
    """Names of the files, beside the index of a split model, that hold its tensors.

    Raises:
        CheckpointError: If it is unreadable or names anything that is not beside it.
    """
    shards = read_config(index).get("weight_map")
    if not isinstance(shards, dict) or not all(_is_plain(name) for name in shards.values()):
        raise CheckpointError(
            "it does not say which file holds which tensor",
            where=str(index),
            expected="a weight_map from names of tensors to names of files beside it",
        )
    return sorted(set(shards.values()))


def _lacking_of(weights: Sequence[Path]) -> list[str]:
    if not weights:
        return [f"transformer/{WEIGHT_NAMES[0]} (or .bin, whole or split)"]
    return [f"transformer/{file.name}" for file in weights if not file.is_file()]


def _not_whole(path: str, lacking: Iterable[str]) -> CheckpointError:
    return CheckpointError(
        "not a whole model in the published layout",
        where=path,
        notes=[f"missing: {part}" for part in lacking],
    )


def _is_plain(name: object) -> bool:
    return isinstance(name, str) and Path(name).name == name
