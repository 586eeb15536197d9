"""A saved model of ours from the Hub into a folder: `omniflow pull`."""

from __future__ import annotations

from pathlib import Path

from omniflow.checkpoints import content_hash, read_model_config
from omniflow.connection.fetch import is_right
from omniflow.connection.listing import list_repository
from omniflow.connection.patience import Patience
from omniflow.downloads.models import (
    HubModel,
    ModelReport,
    download_model,
    model_manifest,
    wanted_files,
)
from omniflow.downloads.progress import DownloadReporter
from omniflow.errors import UsageError
from omniflow.files import check_name, check_new_folder
from omniflow.hub.fetch import fetch_model
from omniflow.hub.names import pinned
from omniflow.hub_access import is_offline, reaching_hub


def pull_model(
    said: str,
    folder: Path,
    *,
    revision: str | None = None,
    reporter: DownloadReporter | None = None,
    patience: Patience | None = None,
) -> ModelReport:
    """Fetch everything of a model's repository but hidden files.

    Files of an earlier pull that are the same are not fetched again, those that the repository has
    no more are removed; a pull that was stopped goes on. `manifest.json` of the folder tells the
    commit.

    Args:
        said: `OWNER/NAME` or `OWNER/NAME@REVISION`.
        folder: Where to.
        revision: Branch, tag or commit, where it does not stand in the name.
        reporter: Is told how it goes.
        patience: How often is tried again.

    Raises:
        UsageError: If the Hub cannot be reached, does not have it, or has no model of ours there;
            or the folder holds something else, or a file of one's own that would be replaced.
        OmniFlowError: If the disk has no room.
    """
    name = pinned(said, revision)
    before = _earlier_files(folder, name.hub_id)
    # Small, and all that it takes to see whether the rest is worth fetching.
    fetched = fetch_model(name.hub_id, name.revision, patterns=("config.json",))
    read_model_config(fetched / "config.json")
    model = HubModel(name.hub_id, name.hub_id)
    # The commit of that configuration, whatever is pushed meanwhile.
    commit = fetched.name
    if folder.is_dir() and not is_offline():
        _refuse_to_replace(model, commit, folder, before, patience or Patience())
    report = download_model(
        model,
        folder,
        revision=commit,
        reporter=reporter,
        patience=patience,
    )
    for path in sorted(before - set(report.files)):
        if not (folder / path).is_dir():
            (folder / path).unlink(missing_ok=True)
    return report


def _refuse_to_replace(
    model: HubModel, commit: str, folder: Path, before: set[str], patience: Patience
) -> None:
    """Refuse to put a file in the place of one that no pull has put there."""
    with reaching_hub(model.hub_id, commit):
        listing = list_repository(model.hub_id, commit, kind="model", patience=patience)
    for file in wanted_files(model, listing):
        place = folder / file.path
        if file.path in before or not place.exists():
            continue
        if place.is_dir() or not is_right(content_hash(place), place, file):
            raise UsageError(
                f"{model.hub_id} has a file {file.path} as well, and this one is not of a pull",
                where=str(place),
                expected="it to be moved away, or a new folder",
            )


def _earlier_files(folder: Path, hub_id: str) -> set[str]:
    """Paths that an earlier pull of the same model has put into a folder.

    Raises:
        UsageError: If the folder holds anything else.
    """
    check_name(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder", expected="a new folder")
    if not folder.is_dir() or not any(folder.iterdir()):
        return set()
    check_new_folder(folder)
    content = model_manifest(folder)
    found = None if content is None else content["source"]["id"]
    if content is not None and found == hub_id:
        return set(content["files"])
    problem = "other things than a model that was pulled" if found is None else f"{found}"
    raise UsageError(
        f"the folder holds {problem}",
        where=str(folder),
        expected=f"a new or empty folder, or one that {hub_id} was pulled to",
    )
