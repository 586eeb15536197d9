"""Keys: a hash of content, and a hash of everything else that shapes what is made of it.

The second, the `space`, covers component, weights, preprocessing, number format, code and versions;
entries of one space lie in one folder. The first tells them apart there.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.cache.place import FORMAT

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from omniflow.interfaces import Audio, Sample

#: Bytes of the key of an entry: with a billion of them, two are alike once in 10**20 caches.
KEY_BYTES = 16

#: Packages whose version may change a value in its last digits.
_PACKAGES = ("torch", "transformers", "tokenizers", "diffusers", "Pillow", "numpy")

#: Our own code between raw content and a value.
_CODE = ("backbones", "encoders", "media", "models")


def text_key(text: str) -> bytes:
    """The key of a text."""
    return _digest(b"text", text.encode("utf-8", "surrogatepass"))


def image_key(image: Image) -> bytes:
    """The key of a picture: its decoded pixels, with what says how they are meant."""
    palette = bytes(image.getpalette() or ()) if image.mode in ("P", "PA") else b""
    meaning = repr((image.mode, image.size, image.info.get("transparency"))).encode()
    orientation = image.info.get("exif", b"")
    return _digest(b"image", meaning, palette, orientation, image.tobytes())


def audio_key(audio: Audio) -> bytes:
    """The key of a sound: waveform, number format, shape and rate."""
    wave = audio.waveform
    meaning = repr((audio.rate_hz, wave.shape, wave.dtype.str)).encode()
    return _digest(b"audio", meaning, wave.tobytes())


def tensor_keys(*tensors: Tensor) -> list[bytes]:
    """The keys of the rows of tensors on the CPU, [batch, ...] each, taken together."""
    meaning = repr([(tensor.dtype, tensor.shape[1:]) for tensor in tensors]).encode()
    arrays = [tensor.contiguous().numpy() for tensor in tensors]
    return [
        _digest(b"rows", meaning, *(row.tobytes() for row in rows))
        for rows in zip(*arrays, strict=True)
    ]


class SampleKeys:
    """Keys of some samples, each hashed once however many values are looked up by it.

    Args:
        samples: The samples.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self._keys: dict[tuple[str, int], bytes] = {}

    def of(self, modality: str, positions: Iterable[int]) -> list[bytes]:
        """The keys of one modality of the samples at `positions`, all of which have it."""
        return [self._key(modality, position) for position in positions]

    def _key(self, modality: str, position: int) -> bytes:
        if (modality, position) not in self._keys:
            content: Any = getattr(self.samples[position], modality)
            self._keys[modality, position] = _BY_MODALITY[modality](content)
        return self._keys[modality, position]


_BY_MODALITY: Mapping[str, Callable[[Any], bytes]] = {
    "text": text_key,
    "image": image_key,
    "audio": audio_key,
}


def space_digest(identity: Mapping[str, Any]) -> str:
    """The name of the space of an identity: plain data whose order does not matter."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return _digest(FORMAT.encode(), text.encode()).hex()


def tensors_digest(tensors: Iterable[tuple[str, Tensor]]) -> str:
    """A hash of named tensors as they are in memory: names, number formats, shapes and values."""
    import torch

    digest = hashlib.blake2b(digest_size=32)
    for name, tensor in sorted(tensors, key=lambda named: named[0]):
        values = tensor.detach().contiguous().cpu()
        meaning = f"{name} {values.dtype} {tuple(values.shape)}".encode()
        digest.update(len(meaning).to_bytes(8, "little") + meaning)
        digest.update(values.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def files_digest(files: Mapping[str, Path]) -> str:
    """A hash of files by name, both counting."""
    parts = [f"{name} {_file_digest(*_state(file))}".encode() for name, file in files.items()]
    return _digest(*sorted(parts)).hex()


@cache
def code_digest() -> str:
    """A hash of the library's own code between raw content and a value."""
    root = Path(__file__).parents[1]
    files = [file for name in _CODE for file in sorted((root / name).rglob("*.py"))]
    return files_digest({str(file.relative_to(root)): file for file in files})


def class_code_digest(component: type) -> str:
    """A hash of the file that a class is written in; empty for one that was typed in."""
    try:
        file = inspect.getsourcefile(component)
    except TypeError:
        return ""
    return files_digest({"": Path(file)}) if file and Path(file).is_file() else ""


@cache
def package_versions() -> dict[str, str]:
    """Versions of the packages that take part in every value."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = ""
    return found


def _digest(*parts: bytes) -> bytes:
    """One hash of several byte strings; where one ends and the next begins counts."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.digest()


def _state(file: Path) -> tuple[Path, int, int, int]:
    """What changes when a file is written to."""
    state = file.stat()
    return file, state.st_size, state.st_mtime_ns, state.st_ino


@lru_cache(maxsize=4096)
def _file_digest(file: Path, size: int, mtime_ns: int, inode: int) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
