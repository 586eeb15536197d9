"""The card of a downloaded data set, by which its splits are found, and the source's licence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omniflow.downloads.manifest import Manifest
from omniflow.files import write_text

CARD = "README.md"


def stated_licence(card: Path) -> str | None:
    """The licence that a card states, as it states it; None where it states none."""
    import yaml
    from huggingface_hub import DatasetCard

    if not card.is_file():
        return None
    try:
        said: Any = DatasetCard.load(card).data.to_dict()
    except (ValueError, yaml.YAMLError):
        return None
    licence = said.get("license_name") or said.get("license")
    return ", ".join(map(str, licence)) if isinstance(licence, list) else licence


def write_card(folder: Path, manifest: Manifest, files: Mapping[str, Sequence[str]]) -> None:
    """Write the card that says which files belong to which split.

    Args:
        folder: The folder.
        manifest: What it says about itself.
        files: Names or patterns of files by split.
    """
    import yaml

    head: dict[str, Any] = {}
    if manifest.licence is not None:
        head["license"] = manifest.licence
    if files:
        listed = [{"split": split, "path": [*paths]} for split, paths in files.items()]
        head["configs"] = [{"config_name": manifest.config or "default", "data_files": listed}]
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    told = (
        f"# {manifest.source}\n\nFetched from the Hub at revision {manifest.revision}. "
        "What it may be used for is said by its source.\n"
    )
    write_text(folder / CARD, f"---\n{text}---\n{told}")
