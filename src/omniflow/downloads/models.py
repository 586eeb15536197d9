"""Models from the Hub into its cache, where they are looked for, or into a folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from omniflow.backbones.layout import AVERAGES
from omniflow.backbones.parts import AUDIO_ENCODER_ID, AUDIO_ID, CLIP_ID
from omniflow.backbones.t5_source import T5_ID
from omniflow.checkpoints import content_hash, read_json
from omniflow.connection.fetch import fetch_file, is_right
from omniflow.connection.hub_cache import blob_path, snapshot_folder
from omniflow.connection.listing import HubFile, HubListing, list_repository
from omniflow.connection.patience import Patience
from omniflow.datasets.member_names import leads_out
from omniflow.downloads.at_once import at_once, require_workers
from omniflow.downloads.manifest import MANIFEST
from omniflow.downloads.progress import DownloadReporter
from omniflow.downloads.room import free_room, require_room
from omniflow.errors import CheckpointError, UnknownNameError
from omniflow.files import write_json
from omniflow.hub_access import fetch_files, is_offline, reaching_hub
from omniflow.pretrained import PICKLED_WEIGHTS, WEIGHTS

#: Files of a model of transformers that are no weights.
_SETTINGS = ("*.json", "*.txt", "*.model", "README.md", "LICENSE*")

FORMAT = "omniflow.model/1"

#: Middles of names of weights in another precision than the ordinary ones.
_VARIANTS = {".fp16", ".bf16", ".fp32", ".non_ema"}


@dataclass(frozen=True)
class HubModel:
    """A model, and what is read of it.

    Args:
        name: What it is called.
        hub_id: `owner/name`.
        folders: Sub-folders that are read; all when empty.
        is_whole: Everything in them is read; else settings, and weights beside them.
    """

    name: str
    hub_id: str
    folders: tuple[str, ...] = ()
    is_whole: bool = True


#: The published models, and those whose parts they use.
MODELS: Mapping[str, HubModel] = {
    model.name: model
    for model in (
        HubModel("clip_vit_l", CLIP_ID, is_whole=False),
        HubModel("t5_large", T5_ID, is_whole=False),
        HubModel("languagebind_audio", AUDIO_ENCODER_ID, is_whole=False),
        HubModel("omniflow-v0.5", "jacklishufan/OmniFlow-v0.5"),
        HubModel("omniflow-v0.9", "jacklishufan/OmniFlow-v0.9"),
        HubModel("audioldm2", AUDIO_ID, folders=("vae", "vocoder")),
    )
}


@dataclass(frozen=True)
class ModelReport:
    """What came of it.

    Args:
        model: The model.
        revision: The commit.
        folder: Where its files are.
        files: Their paths there.
        size: Their bytes.
        fetched: How many of them were not there before.
    """

    model: HubModel
    revision: str
    folder: Path
    files: tuple[str, ...]
    size: int
    fetched: int


def hub_model(name: str, *, where: str | None = None) -> HubModel:
    """A model by its name, or any by its Hub id.

    Raises:
        UnknownNameError: If there is none.
    """
    if name in MODELS:
        return MODELS[name]
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return HubModel(name.replace("/", "--"), name)
    raise UnknownNameError("model", name, [*MODELS], where=where, notes=["or any by OWNER/NAME"])


def download_model(
    model: HubModel,
    folder: Path | None = None,
    *,
    revision: str | None = None,
    is_forced: bool = False,
    workers: int = 4,
    reporter: DownloadReporter | None = None,
    patience: Patience | None = None,
) -> ModelReport:
    """Fetch a model, but for files that are there already; those begun are gone on with.

    Args:
        model: The model.
        folder: Where to; into the Hub's cache by default, where its id is enough to find it.
        revision: Branch, tag or commit; None for the main branch.
        is_forced: Fetch files that are there as well.
        workers: Files that are fetched at once.
        reporter: Is told how it goes.
        patience: How often is tried again.

    Raises:
        UsageError: If the Hub cannot be reached or does not have it.
        OmniFlowError: If the disk has no room.
    """
    from huggingface_hub import constants

    require_workers(workers)
    reporter = reporter or DownloadReporter()
    patience = patience or Patience(tell=reporter.told)
    if is_offline() and not is_forced:
        found = _noted(model, folder) if folder else _cached(model, revision)
        if found is not None:
            return found
    with reaching_hub(model.hub_id, revision):
        listing = list_repository(model.hub_id, revision, kind="model", patience=patience)
        files = wanted_files(model, listing)
        noted = model_manifest(folder) if folder else None
        missing = [
            file for file in files if is_forced or not _is_here(listing, file, folder, noted)
        ]
        place = folder or Path(constants.HF_HUB_CACHE)
        size = sum(file.size or 0 for file in missing)
        source = f"{model.hub_id} at {listing.commit[:12]}"
        reporter.planned(model.name, source, len(missing), size, free_room(place))
        require_room(place, size, advice="another --output-dir, or HF_HOME=FOLDER")
        if folder is not None:
            _note_begun(folder, model, listing, files, noted)
        jobs = [_job(listing, file, folder, patience, reporter) for file in missing]
        for _ in at_once(jobs, workers, patience):
            pass
    if folder is None:
        # Small files, and the links by which the client finds large ones.
        place = fetch_files(model.hub_id, revision, [file.path for file in files])
    paths = tuple(file.path for file in files)
    report = ModelReport(
        model, listing.commit, place, paths, _size(place, paths), len(missing)
    )  # fmt: skip
    if folder is not None:
        _note(folder, report)
    return report


def _job(
    listing: HubListing,
    file: HubFile,
    folder: Path | None,
    patience: Patience,
    reporter: DownloadReporter,
) -> Callable[[], object]:
    """Fetches a file to where it is looked for; small ones of the cache are left to the client."""
    target = blob_path(listing, file) if folder is None else folder / file.path
    if target is None:
        return lambda: reporter.received(file.size or 0)
    return partial(
        fetch_file, listing.url(file), target, file, patience=patience, received=reporter.received
    )


def wanted_files(model: HubModel, listing: HubListing) -> list[HubFile]:
    """The files of a model that are read, out of all that its repository has."""
    inside = [
        file
        for file in listing.files
        if not model.folders or PurePosixPath(file.path).parts[0] in model.folders
    ]
    names = {file.path for file in inside}
    if model.is_whole:
        return [file for file in inside if not _is_left_out(file.path, names)]
    weights = [file for file in inside if any(fnmatch(file.path, each) for each in WEIGHTS)]
    weights = weights or [file for file in inside if file.path == PICKLED_WEIGHTS]
    settings = [
        file
        for file in inside
        if file not in weights
        and "/" not in file.path
        and any(fnmatch(file.path, each) for each in _SETTINGS)
        and not file.path.endswith(".index.json")
    ]
    return [*settings, *weights]


def _is_left_out(path: str, names: set[str]) -> bool:
    """Whether a file of a whole model is not read.

    Such are averages, hidden files, weights in another precision, twins of safetensors, and what
    has the name of our own record of the folder.
    """
    place = PurePosixPath(path)
    if place.name == AVERAGES or _VARIANTS & set(place.suffixes) or path.lower() == MANIFEST:
        return True
    if any(part.startswith(".") for part in place.parts):
        return True
    twins = {
        "pytorch_model.bin": "model.safetensors",
        "diffusion_pytorch_model.bin": "diffusion_pytorch_model.safetensors",
    }
    twin = twins.get(place.name)
    return twin is not None and str(place.with_name(twin)) in names


def _is_here(
    listing: HubListing, file: HubFile, folder: Path | None, noted: Mapping[str, Any] | None
) -> bool:
    """Whether a file is there already; of a folder, whether it has its size and content."""
    if folder is None:
        place = blob_path(listing, file)
        return place is None or place.is_file()
    place = folder / file.path
    if not place.is_file() or place.stat().st_size != file.size:
        return False
    is_of_commit = noted is not None and noted["source"]["revision"] == listing.commit
    # Another commit may have other content of the same size.
    return (is_of_commit and noted is not None and file.path in noted["files"]) or is_right(
        content_hash(place), place, file
    )


def _size(folder: Path, paths: Iterable[str]) -> int:
    return sum((folder / path).stat().st_size for path in paths)


def _cached(model: HubModel, revision: str | None) -> ModelReport | None:
    """What the Hub's cache has of a model; None where that is nothing."""
    place = snapshot_folder(model.hub_id, revision, "model")
    if place is None:
        return None
    paths = [file.relative_to(place).as_posix() for file in place.rglob("*") if file.is_file()]
    return ModelReport(model, place.name, place, tuple(sorted(paths)), _size(place, paths), 0)


def _note(folder: Path, report: ModelReport) -> None:
    """Write down where the files of a folder are from."""
    sizes = {path: (folder / path).stat().st_size for path in report.files}
    _write_manifest(folder, report.model.hub_id, report.revision, sizes)


def _note_begun(
    folder: Path,
    model: HubModel,
    listing: HubListing,
    files: Iterable[HubFile],
    noted: Mapping[str, Any] | None,
) -> None:
    """Write down what a folder is going to be, unless it is that."""
    sizes = {file.path: file.size for file in files}
    if noted is not None and noted["source"]["revision"] == listing.commit:
        return
    earlier = {} if noted is None else noted["files"]
    # No commit yet: files of an earlier one, of the same size, may still be there.
    _write_manifest(folder, model.hub_id, None, {**earlier, **sizes})


def _write_manifest(
    folder: Path, hub_id: str, revision: str | None, sizes: Mapping[str, int | None]
) -> None:
    content = {
        "format": FORMAT,
        "source": {"id": hub_id, "revision": revision},
        "files": dict(sizes),
    }
    write_json(folder / MANIFEST, content)


def model_manifest(folder: Path) -> dict[str, Any] | None:
    """What a folder says about itself; None where it says nothing.

    Raises:
        CheckpointError: If its manifest was edited, damaged, or names files outside of the folder.
    """
    path = folder / MANIFEST
    content = read_json(path) if path.is_file() else None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    source, files = content.get("source"), content.get("files")
    is_whole = (
        isinstance(source, dict)
        and isinstance(source.get("id"), str)
        and isinstance(source.get("revision", 0), str | None)
        and isinstance(files, dict)
        and not any(leads_out(name) for name in files)
    )
    if not is_whole:
        raise CheckpointError(
            "is not the manifest of a download",
            where=str(path),
            expected="one as it was written, or a new folder",
        )
    return content


def _noted(model: HubModel, folder: Path) -> ModelReport | None:
    """What a folder has of a model by its own account; None where something is missing."""
    content = model_manifest(folder)
    if content is None or content["source"]["revision"] is None:
        return None
    files = content["files"]
    is_whole = all(
        (folder / name).is_file() and (folder / name).stat().st_size == size
        for name, size in files.items()
    )
    if not is_whole or content["source"]["id"] != model.hub_id:
        return None
    revision = content["source"]["revision"]
    return ModelReport(model, revision, folder, tuple(files), sum(files.values()), 0)
