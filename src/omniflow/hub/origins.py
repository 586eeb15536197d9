"""Folders that options name, told by what others can find: a Hub id, or the name alone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from omniflow.hub.names import HubName, hub_name
from omniflow.hub.publishable import is_place, publishable

#: What a download leaves in its folder.
_MANIFEST = "manifest.json"

#: How shards in a data set of the Hub are named.
_SHARDS = re.compile(r"hf://datasets/([^/@]+/[^/@]+)")

#: Keys of a component that are no options.
_NO_OPTIONS = frozenset({"name"})


def portable(
    component: Mapping[str, Any], base: HubName | None = None, *, is_local: bool = False
) -> dict[str, Any]:
    """A component as a recipe has it, with no folder of this machine among its options.

    A folder that was downloaded becomes the Hub id that it is from, any other `./NAME`.

    Args:
        component: Its name beside its options.
        base: What `path` is on the Hub, where that was said.
        is_local: Whether `path` is known to be a folder, whatever folder this is asked in.
    """
    found: dict[str, Any] = publishable(component)
    for name, value in component.items():
        if name in _NO_OPTIONS or not isinstance(value, str):
            continue
        is_path = name == "path" and is_local and "/" in value and "://" not in value
        if not is_path and not _names_a_place(value):
            continue
        origin = base if name == "path" and base is not None else hub_origin(Path(value))
        if origin is None:
            found[name] = f"./{_expanded(value).resolve().name}"
            continue
        found[name] = origin.hub_id
        if name == "path" and "revision" in component:
            found["revision"] = origin.revision
    return found


def hub_origin(folder: Path) -> HubName | None:
    """The Hub id and commit that a folder was downloaded from; None where it does not say."""
    try:
        content = json.loads((_expanded(folder) / _MANIFEST).read_text(encoding="utf-8"))
        source = content["source"]
        found = hub_name(source["id"])
        return None if found is None else HubName(found.hub_id, source["revision"])
    except (OSError, ValueError, KeyError, TypeError):
        # Somebody else's file of that name, or none: the folder has no origin to tell.
        return None


def hub_ids(components: Iterable[Mapping[str, Any]]) -> list[str]:
    """The Hub ids that `path` names among portable components, each once, in their order."""
    ids = [
        _hub_id(path, "revision" in component)
        for component in components
        if isinstance(path := component.get("path"), str)
    ]
    return list(dict.fromkeys(found for found in ids if found is not None))


def data_name(components: Iterable[Mapping[str, Any]]) -> str:
    """What data are called by those who have no access to this machine: Hub ids, else names."""
    portables = [portable(component) for component in components]
    names = [(hub_ids([one]) or [_bare(one["name"])])[0] for one in portables]
    return " + ".join(dict.fromkeys(names))


def _bare(name: str) -> str:
    """The name of a component, without the distribution that it may be told with."""
    return name.rpartition(":")[2]


def _hub_id(path: str, has_revisions: bool) -> str | None:
    """The Hub id that a path is; of a component without revisions, `a/b` is a file or folder."""
    of_shards = _SHARDS.match(path)
    if of_shards is not None:
        return of_shards[1]
    return path if has_revisions and hub_name(path) is not None else None


def _expanded(place: str | Path) -> Path:
    """With the folder of a user in the place of `~`; of one that is not here, as it is."""
    return Path(os.path.expanduser(place))


def _names_a_place(value: str) -> bool:
    """Whether a value is a place here; a bare word may as well be a name."""
    if is_place(value):
        return True
    if "\n" in value or len(value) > 1000:
        return False
    return ("/" in value or "\\" in value) and Path(value).exists()
