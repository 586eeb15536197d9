"""Data sets that can be downloaded: every registered one that has a place on the Hub by default."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from omniflow.errors import UnknownNameError
from omniflow.options import options_of
from omniflow.registry import Component, Registry

#: What reads any data set, by the columns that options name.
ANY = "huggingface"


@dataclass(frozen=True)
class HubData:
    """A data set, and where it is on the Hub.

    Args:
        name: What the folder is called.
        dataset: Name of the registered dataset that reads it.
        hub_id: `owner/name`.
        config: Its configuration; None for the default one or the only one.
        source_splits: What splits are called at the source, where they are not called so.
        source_files: Files that are read by their names; none where splits say which.
    """

    name: str
    dataset: str
    hub_id: str
    config: str | None
    source_splits: Mapping[str, str]
    source_files: tuple[str, ...] = ()


def hub_names(registry: Registry) -> dict[str, str]:
    """Names of the data sets that are on the Hub, with their ids there."""
    found = {}
    for component in registry.components("dataset"):
        path = _defaults(component).get("path")
        if isinstance(path, str) and path.count("/") == 1:
            found[component.name] = path
    return found


def hub_data(registry: Registry, name: str, *, where: str | None = None) -> HubData:
    """A data set by its registered name, or any by its Hub id.

    Raises:
        UnknownNameError: If no data set of that name is on the Hub.
    """
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return HubData(name.replace("/", "--"), ANY, name, None, {})
    known = hub_names(registry)
    if name not in known:
        raise UnknownNameError(
            "data set on the Hub", name, [*known], where=where, notes=["or any by OWNER/NAME"]
        )
    component = registry.get("dataset", name, where=where)
    config = _defaults(component).get("config")
    loaded = component.load()
    return HubData(
        name=name,
        dataset=name,
        hub_id=known[name],
        config=config if isinstance(config, str) else None,
        source_splits=getattr(loaded, "source_splits", {}),
        source_files=getattr(loaded, "source_files", ()),
    )


def _defaults(component: Component) -> dict[str, object]:
    options = {option.name: option.default for option in options_of(component)}
    return options if "revision" in options else {}
