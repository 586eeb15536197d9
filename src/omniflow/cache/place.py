"""Where the cache lies."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

#: Format of shards and folders, a part of every key: raise it when either changes.
FORMAT = "omniflow.cache/1"

#: What a shard is called at its end.
SUFFIX = ".safetensors"

#: What a folder of entries says about itself.
ABOUT = "about.json"

#: What a process claims that merges shards.
MERGING = ".merging"

GIGABYTE = 10**9


def cache_folder(said: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder that is named, else `OMNIFLOW_CACHE`, else one in the user's cache folder.

    Args:
        said: A folder; None when none is named.
        environ: Where OMNIFLOW_CACHE and XDG_CACHE_HOME are looked up.
    """
    if said is not None:
        return Path(said).expanduser()
    if environ.get("OMNIFLOW_CACHE"):
        return Path(environ["OMNIFLOW_CACHE"]).expanduser()
    # The XDG specification: a path that is not absolute counts as none.
    home = Path(environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path("~/.cache").expanduser()) / "omniflow"
