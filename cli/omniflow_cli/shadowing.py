"""The package imported as `omniflow` must be ours: an unrelated one has that name on PyPI.

Standard library only, and nothing of `omniflow`: this has to work when `omniflow` is a stranger.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import Distribution

OURS = "omniflow-zoo"
STRANGER = "omniflow"
REMEDY = f"pip uninstall {STRANGER} && pip install --force-reinstall --no-deps {OURS}"

#: Files that our package has and a stranger of the same name has not.
_LANDMARKS = ("errors.py", "registry.py", "plugins.py")


def refuse_strangers() -> None:
    """End the process, with what to do about it, when `omniflow` is another package than ours."""
    folder = package_folder()
    if folder is None or all((folder / name).is_file() for name in _LANDMARKS):
        return
    sys.stderr.write(
        f"error: {folder} is imported as 'omniflow' and is not part of {OURS}\n"
        f"  repair: {REMEDY}, or remove that folder from PYTHONPATH\n"
    )
    raise SystemExit(1)


def findings() -> list[str]:
    """What is wrong with how `omniflow` is installed, one line each; empty when nothing is."""
    found = []
    stranger = _installed(STRANGER)
    if stranger is not None:
        found.append(
            f"the unrelated distribution {STRANGER} {stranger.version} is installed beside "
            f"{OURS} and may have replaced its files; repair: {REMEDY}"
        )
    ours, folder = _installed(OURS), package_folder()
    expected = _expected_folder(ours) if ours is not None else None
    if folder is not None and expected is not None and folder.resolve() != expected.resolve():
        found.append(f"'omniflow' is imported from {folder}, but {OURS} is installed in {expected}")
    return found


def package_folder() -> Path | None:
    """Where `import omniflow` finds its package; nothing is imported to find out."""
    spec = find_spec("omniflow")
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _expected_folder(ours: Distribution) -> Path | None:
    """Where our package should be: in the wheel's place, or in the source of an editable one."""
    import json
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    for file in ours.files or ():
        if file.as_posix() == "omniflow/__init__.py":
            return Path(str(ours.locate_file(file))).parent
    origin = json.loads(ours.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(origin["url"]).path)) / "src" / "omniflow"


def _installed(name: str) -> Distribution | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        return distribution(name)
    except PackageNotFoundError:
        return None
