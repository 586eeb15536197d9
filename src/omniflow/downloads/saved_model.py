"""A saved model of ours from the Hub into a folder: `omniflow pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omniflow.checkpoints import read_json, read_model_config
from omniflow.connection.patience import Patience
from omniflow.downloads.manifest import MANIFEST
from omniflow.downloads.models import HubModel, ModelReport, download_model
from omniflow.downloads.progress import DownloadReporter
from omniflow.errors import UsageError
from omniflow.files import check_name, check_new_folder
from omniflow.hub.fetch import fetch_model
from omniflow.hub.names import pinned


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
            or the folder holds something else.
        OmniFlowError: If the disk has no room.
    """
    name = pinned(said, revision)
    before = _earlier_files(folder, name.hub_id)
    # Small, and all that it takes to see whether the rest is worth fetching.
    fetched = fetch_model(name.hub_id, name.revision, patterns=("config.json",))
    read_model_config(fetched / "config.json")
    report = download_model(
        HubModel(name.hub_id, name.hub_id),
        folder,
        # The commit of that configuration, whatever is pushed meanwhile.
        revision=fetched.name,
        reporter=reporter,
        patience=patience,
    )
    for path in sorted(before - set(report.files)):
        (folder / path).unlink(missing_ok=True)
    return report


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
    content = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    files: dict[str, Any] = {}
    found = None
    if isinstance(content, dict) and "files" in content and "source" in content:
        files, found = content["files"], content["source"].get("id")
    if found == hub_id:
        return set(files)
    problem = "other things than a model that was pulled" if found is None else f"{found}"
    raise UsageError(
        f"the folder holds {problem}",
        where=str(folder),
        expected=f"a new or empty folder, or one that {hub_id} was pulled to",
    )
