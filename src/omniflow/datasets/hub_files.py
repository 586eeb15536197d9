"""Files of a data set by their names: in a folder, in the Hub's cache, or on the Hub itself."""

from __future__ import annotations

import glob
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from omniflow.datasets.byte_files import ByteFile, LocalFile, RemoteFile
from omniflow.errors import ConfigError, DataError, closest
from omniflow.hub_access import fetch_files, is_offline, reaching_hub

#: A small file that most data sets have; asking for it tells the commit.
_CARD = "README.md"


def find_folder(path: str, revision: str | None) -> Path | None:
    """The local folder that was meant; None where it is an id on the Hub.

    Args:
        path: A folder, or `owner/name`.
        revision: What was asked for of the Hub.

    Raises:
        ConfigError: If a local folder comes with a revision.
        DataError: If it can be neither.
    """
    folder = Path(path).expanduser()
    is_local = bool(path) and folder.is_dir()
    if is_local and revision is not None:
        raise ConfigError("revision", revision, expected="null, because path is a local folder")
    if not is_local and (path.startswith((".", "/", "~")) or path.count("/") != 1):
        expected = "a folder, or OWNER/NAME on the Hub"
        raise DataError("there is no such folder", where=path, expected=expected)
    return folder if is_local else None


class HubFiles:
    """The files of a data set, all from one commit.

    Args:
        path: A folder, or `owner/name` on the Hub.
        revision: Branch, tag or commit on the Hub; None for its main branch.
        streaming: Read files on the Hub where they are, in place of fetching them first; of no
            effect where `HF_HUB_OFFLINE` is set.

    Raises:
        ConfigError, DataError: As `find_folder`.
        UsageError: If the Hub cannot be reached or does not have the data set.
    """

    def __init__(self, path: str, revision: str | None, *, streaming: bool) -> None:
        self.path = path
        found = find_folder(path, revision)
        fetched = fetch_files(path, revision, [_CARD], kind="dataset") if found is None else None
        self.commit = None if fetched is None else fetched.name
        self.is_remote = streaming and found is None and not is_offline()
        self._folder = found or fetched or Path()

    def file(self, name: str) -> ByteFile:
        """A file by its name, where it is read from.

        Raises:
            DataError: If it is not there.
            UsageError: If the Hub cannot be reached.
        """
        if not self.is_remote:
            return self.fetched(name)
        hub = importlib.import_module("huggingface_hub")
        url = hub.hf_hub_url(self.path, name, repo_type="dataset", revision=self.commit)
        return RemoteFile(url, hub_id=self.path, revision=self.commit)

    def fetched(self, name: str) -> LocalFile:
        """A file on this machine, fetched into the Hub's cache unless it is there.

        Raises:
            DataError, UsageError: As `file`.
        """
        self.fetch([name])
        file = self._folder / name
        if not file.is_file():
            raise self._missing(name)
        return LocalFile(file)

    def fetch(self, names: Sequence[str]) -> None:
        """Bring files into the Hub's cache, those that are not there; offline none.

        Raises:
            UsageError: If the Hub cannot be reached.
        """
        if self.commit is None or is_offline():
            return
        missing = [glob.escape(name) for name in names if not (self._folder / name).is_file()]
        if missing:
            is_quiet = not sys.stderr.isatty()
            fetch_files(self.path, self.commit, missing, kind="dataset", is_quiet=is_quiet)

    def names(self, pattern: str) -> list[str]:
        """Names that fit a pattern as of a shell, in order; offline of what was fetched before.

        Raises:
            UsageError: If the Hub cannot be reached.
        """
        if self.commit is None or is_offline():
            return sorted(
                each.relative_to(self._folder).as_posix()
                for each in self._folder.glob(pattern)
                if each.is_file()
            )
        system = importlib.import_module("huggingface_hub").HfFileSystem()
        root = f"datasets/{self.path}@{self.commit}/"
        with reaching_hub(self.path, self.commit, kind="dataset"):
            return sorted(str(each).removeprefix(root) for each in system.glob(root + pattern))

    def _missing(self, name: str) -> DataError:
        if self.commit is not None and is_offline():
            advice = "HF_HUB_OFFLINE is set: what was not fetched before is missing"
            return DataError(f"{name} is not here", where=self.path, notes=[advice])
        beside = [each.name for each in self._folder.iterdir()] if self._folder.is_dir() else []
        nearest = closest(name, beside)
        return DataError(f"there is no file {name}", where=self.path, nearest=nearest)
