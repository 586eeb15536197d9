"""Files of tensors and their configuration; nothing here reads or writes a pickle."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.errors import CheckpointError
from omniflow.files import replacing

if TYPE_CHECKING:
    from torch import Tensor

#: What config.json of a saved model says about itself.
MODEL_FORMAT = "omniflow.model/1"

#: How packages and their versions are written.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
_VERSION = re.compile(r"[A-Za-z0-9.!+_-]+")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CheckpointError: If it is missing, cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError("there is no such file", where=str(path)) from error
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"not readable as JSON ({error})", where=str(path)) from error


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors as safetensors, atomically.

    Args:
        path: The file to write.
        tensors: Name -> tensor; no two may share memory.
        metadata: What the header says beside their names.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contiguous = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    with replacing(path) as temporary:
        try:
            save_file(contiguous, temporary, metadata={"format": "pt", **(metadata or {})})
        except SafetensorError as error:
            # Its way of telling a full disk.
            raise OSError(str(error)) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read every tensor of a safetensors file, to the CPU.

    Raises:
        CheckpointError: If the file is missing, truncated, or not safetensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise CheckpointError("there is no such file", where=str(path))
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"not a whole safetensors file ({error})",
            where=str(path),
            notes=[f"its size is {path.stat().st_size} bytes; copy or download it again"],
        ) from error
    return tensors


def content_hash(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_folder(path: Path) -> Path:
    """The folder that holds the model: the path itself, or a run's best or latest checkpoint.

    Raises:
        CheckpointError: If there is none.
    """
    if path.is_file():
        raise _no_folder(path)
    if not path.is_dir():
        raise CheckpointError("there is no such folder", where=str(path))
    for candidate in (path, path / "best", path / "final", path / "latest"):
        if (candidate / "config.json").is_file():
            return candidate
    raise CheckpointError(
        "no model in this folder",
        where=str(path),
        expected="config.json and model.safetensors, or a run with best, final or latest",
    )


def _no_folder(file: Path) -> CheckpointError:
    notes = []
    if file.suffix in {".pt", ".pth"}:
        notes = [f"one of the research script is converted first: omniflow convert {file} FOLDER"]
    return CheckpointError(
        "is a file", where=str(file), expected="a run, or the folder of a saved model", notes=notes
    )


def read_model_config(path: Path) -> dict[str, Any]:
    """Read the config.json of a saved model.

    Raises:
        CheckpointError: If it is missing, not JSON, of another format, or lacks a part.
    """
    config: dict[str, Any] = read_json(path)
    given = config.get("format") if isinstance(config, dict) else None
    if given != MODEL_FORMAT:
        raise CheckpointError(
            f"its format is {given!r}, this is not a model of ours",
            where=str(path),
            expected=MODEL_FORMAT,
        )
    wanted = {"backbone", "head", "refiner", "encoder", "components", "backbone_identity"}
    missing = sorted(wanted - config.keys())
    if missing:
        raise CheckpointError(f"it lacks {', '.join(missing)}", where=str(path))
    if not isinstance(config["backbone_identity"], dict):
        raise CheckpointError("its backbone_identity is no mapping", where=str(path))
    _check_parts(config, str(path))
    return config


def _check_parts(config: Mapping[str, Any], where: str) -> None:
    """Refuse parts without a name, or without a word on where they come from."""
    encoders = config["encoder"] if isinstance(config["encoder"], list) else [config["encoder"]]
    parts = [(kind, config[kind]) for kind in ("backbone", "head", "refiner")]
    parts += [("encoder", encoder) for encoder in encoders]
    for kind, part in parts:
        if not isinstance(part, dict) or not isinstance(part.get("name"), str):
            raise CheckpointError(f"its {kind} has no name", where=where)
    told, facts = config["components"], {"kind", "name", "distribution", "version"}
    if not isinstance(told, list) or not all(
        isinstance(entry, dict) and all(isinstance(entry.get(fact), str) for fact in facts)
        for entry in told
    ):
        raise CheckpointError(
            "its components cannot be read",
            where=where,
            expected=f"a list, each with {', '.join(sorted(facts))}",
        )
    for entry in told:
        # Messages and cards tell people to install it.
        if not (
            _DISTRIBUTION.fullmatch(entry["distribution"]) and _VERSION.fullmatch(entry["version"])
        ):
            said = f"{entry['distribution']!r} {entry['version']!r}"
            raise CheckpointError(f"{said} is no name and version of a package", where=where)
    origins = {(entry["kind"], entry["name"]) for entry in told}
    for kind, part in parts:
        if (kind, part["name"].rpartition(":")[2]) not in origins:
            raise CheckpointError(f"its components lack {kind} {part['name']!r}", where=where)
