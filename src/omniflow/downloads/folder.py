"""The folder of a download: filled beside its place, part by part, then renamed into it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from omniflow.connection.fetch import PARTIAL
from omniflow.downloads.manifest import MANIFEST, Manifest, PartEntry, read_manifest
from omniflow.downloads.parts import Part
from omniflow.errors import DataError, UsageError
from omniflow.files import check_name, check_new_folder


class DownloadFolder:
    """A folder that appears when it is complete, and what is done of it before.

    Args:
        folder: Where it is to be.

    Raises:
        UsageError: If there is something else.
    """

    def __init__(self, folder: Path) -> None:
        check_name(folder, where="--output-dir")
        self.folder = folder
        self.work = folder.with_name(f".{folder.name}.download")
        self._aside = folder.with_name(f".{folder.name}.previous")
        if self._aside.exists() and not folder.exists():
            self._aside.replace(folder)
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UsageError(f"{folder} is no folder", expected="a new folder")
        if folder.is_dir():
            check_new_folder(folder, where="--output-dir")
        self.current = read_manifest(folder)
        if self.current is None and folder.is_dir() and any(folder.iterdir()):
            raise UsageError(
                f"{folder} has files that no download has put there", expected="a new folder"
            )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Alone in the folder where parts are gathered.

        Raises:
            UsageError: If another process fills it, or it cannot be made.
        """
        from filelock import FileLock, Timeout

        try:
            self.work.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.folder} cannot be written ({error.strerror})",
                where="--output-dir",
                expected="a new folder where you may write",
            ) from error
        lock = FileLock(self.work.with_name(f"{self.work.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UsageError(
                f"{self.folder} is being downloaded by another process",
                expected="another --output-dir, or to wait",
            ) from error
        try:
            yield
        finally:
            lock.release()
            with suppress(OSError):
                Path(lock.lock_file).unlink()

    def clear(self) -> None:
        """Forget what is done."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)

    def begin(self, manifest: Manifest, parts: Sequence[Part]) -> Manifest:
        """Take over what is here of some parts, of earlier attempts and of the folder itself.

        Returns:
            The manifest, with the entries of the parts that are here.
        """
        kept: dict[str, PartEntry] = {}
        for place in (self.work, self.folder):
            for entry, part in _alike(_readable(place), parts):
                if part.path not in kept and self._take(place, entry, part.path):
                    kept[part.path] = replace(entry, path=part.path, split=part.split)
        self._remove_others({part.path for part in parts}, kept)
        manifest = replace(manifest, files=tuple(kept.values()))
        manifest.write(self.work)
        return manifest

    def add(self, manifest: Manifest, entry: PartEntry) -> Manifest:
        """Put down that a part is done."""
        manifest = replace(manifest, files=(*manifest.files, entry))
        manifest.write(self.work)
        return manifest

    def publish(self, manifest: Manifest) -> None:
        """Let the folder take its place, complete."""
        replace(manifest, is_complete=True).write(self.work)
        if self.folder.exists():
            self.folder.replace(self._aside)
        self.work.replace(self.folder)
        if self._aside.exists():
            shutil.rmtree(self._aside)

    def _take(self, place: Path, entry: PartEntry, path: str) -> bool:
        """Whether a part is here as it was written; it then lies under `path`."""
        source, target = place / entry.path, self.work / path
        if not source.is_file() or source.stat().st_size != entry.size:
            return False
        if source != target:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(source, target)
            except OSError:
                shutil.copyfile(source, target)
        return True

    def _remove_others(self, paths: set[str], kept: dict[str, PartEntry]) -> None:
        """Remove what belongs to no part, but not what a part has begun with."""
        begun = {path + PARTIAL for path in paths if path not in kept}
        for file in self.work.rglob("*"):
            if file.is_file():
                path = file.relative_to(self.work).as_posix()
                if path not in kept and path not in begun and path != MANIFEST:
                    file.unlink()


def _readable(place: Path) -> Manifest | None:
    """The manifest of what may be left of a killed process."""
    try:
        return read_manifest(place)
    except DataError:
        return None


def _alike(manifest: Manifest | None, parts: Sequence[Part]) -> Iterator[tuple[PartEntry, Part]]:
    """Entries that are what parts would become."""
    entries = {file.origin: file for file in manifest.files} if manifest else {}
    for part in parts:
        if part.origin in entries:
            yield entries[part.origin], part
