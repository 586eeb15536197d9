"""Folder: pictures, sounds and texts side by side, those of one name being one sample."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from omniflow.datasets.record_media import SUFFIXES, RecordFiles, checked_text, printable
from omniflow.datasets.shares import SplitShares
from omniflow.datasets.split_sources import SplitSources, require_seed
from omniflow.datasets.splits import text_place
from omniflow.errors import DataError, RecordError
from omniflow.interfaces.dataset import Dataset, Sample

_MODALITY = {suffix: name for name, suffixes in SUFFIXES.items() for suffix in suffixes}

#: File names of a record, by modality; a name more than one is a mistake that the record tells.
_Names = dict[str, list[str]]


class FolderDataset(Dataset):
    """One sample a stem: `dog.jpg`, `dog.txt` and `dog.wav` belong together, in subfolders too.

    Only names are held in memory. Files are opened when they are asked for; one that cannot be
    read, or whose link leads out of the folder, raises `RecordError`. Hidden files are left alone.

    Args:
        path: The folder.
        split: One of `splits`.
        text_lines: Whether every line of a text file is a text of its own: the first one is
            learnt, and predictions are compared with all. Otherwise a file is one text.
        validation_path: A folder of its own for validation.
        test_path: A folder of its own for testing.
        validation_share: Share of `path` held out for validation, in [0, 1], by a hash of the
            stem; of no effect with `validation_path`.
        test_share: Share held out for testing; of no effect with `test_path`.
        seed: Another seed, other splits.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If the folder is missing, holds nothing of use, or a split would be empty.
    """

    def __init__(
        self,
        *,
        path: str,
        split: str = "train",
        text_lines: bool = False,
        validation_path: str | None = None,
        test_path: str | None = None,
        validation_share: float = 0.05,
        test_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        require_seed(seed)
        sources = SplitSources.said(
            path,
            validation_path=validation_path,
            test_path=test_path,
            validation_share=validation_share,
            test_share=test_share,
        )
        given, is_own = sources.of(split, self.splits)
        self.path = Path(given).expanduser()
        self._text_lines = text_lines
        self._files = RecordFiles(self.path, is_closed=True)
        self._wanted = frozenset(SUFFIXES)
        self._notices: list[str] = []
        self._stems = self._found()
        if not is_own:
            self._keep_share(sources.shares, split, seed)

    def __len__(self) -> int:
        return len(self._stems)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self._stems):
            raise IndexError(f"index {index} is not in [0, {len(self._stems)})")
        stem, suffixes = self._stems[index]
        record = printable(stem)
        names: _Names = {}
        for suffix in suffixes:
            names.setdefault(_MODALITY[suffix.lower()], []).append(f"{stem}{suffix}")
        for modality, several in names.items():
            if modality in self._wanted and len(several) > 1:
                told = " and ".join(map(printable, several))
                raise RecordError(record, f"two files of {modality}: {told}")
        return self._sample(record, {name: files[0] for name, files in names.items()})

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Open no files that nobody looks at, and leave out stems that have no other."""
        self._wanted = frozenset(modalities) & set(SUFFIXES)
        kept = [
            (stem, suffixes)
            for stem, suffixes in self._stems
            if any(_MODALITY[suffix.lower()] in self._wanted for suffix in suffixes)
        ]
        left_out = len(self._stems) - len(kept)
        if left_out:
            self._notices.append(
                f"{self.path.name}: {left_out} records without {' or '.join(sorted(self._wanted))} "
                "left out"
            )
        self._stems = kept

    def notices(self) -> list[str]:
        """What was left out or moved."""
        return list(self._notices)

    def _sample(self, record: str, names: dict[str, str]) -> Sample:
        wanted = {name: file for name, file in names.items() if name in self._wanted}
        texts = self._texts(record, wanted["text"]) if "text" in wanted else ()
        return Sample(
            id=record,
            text=texts[0] if texts else None,
            image=self._files.picture(record, wanted["image"]) if "image" in wanted else None,
            audio=self._files.sound(record, wanted["audio"]) if "audio" in wanted else None,
            references=texts,
        )

    def _texts(self, record: str, name: str) -> tuple[str, ...]:
        content = self._files.text(record, name).strip()
        if not self._text_lines:
            return (content,)
        lines = (line.strip() for line in content.splitlines())
        return tuple(dict.fromkeys(checked_text(record, line) for line in lines if line))

    def _found(self) -> list[tuple[str, tuple[str, ...]]]:
        """Stems in order of their names, each with the ends of its files."""
        if not self.path.is_dir():
            raise DataError(
                "is not a folder" if self.path.exists() else "there is no such folder",
                where=str(self.path),
                expected="a folder of pictures, sounds and texts",
            )
        others = 0
        found: list[tuple[str, str]] = []
        for name in _files_below(self.path, self._notices):
            pure = PurePosixPath(name)
            if pure.suffix.lower() in _MODALITY:
                found.append((name.removesuffix(pure.suffix), pure.suffix))
            else:
                others += 1
        if others:
            self._notices.append(f"{self.path.name}: {others} files of other kinds left alone")
        if not found:
            kinds = ", ".join(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
            raise DataError(
                "there is nothing of use in the folder",
                where=str(self.path),
                expected=f"files ending in {kinds}",
            )
        found.sort()
        return [
            (stem, tuple(suffix for _, suffix in group))
            for stem, group in groupby(found, key=lambda pair: pair[0])
        ]

    def _keep_share(self, shares: SplitShares, split: str, seed: int) -> None:
        places = np.array([text_place(os.fsencode(stem).hex(), seed) for stem, _ in self._stems])
        low, high, is_moved = shares.stretch(split, np.unique(places), where=str(self.path))
        if is_moved:
            self._notices.append(
                f"{self.path.name}: only {len(places)} records, so some were moved to give "
                "every split at least one"
            )
        is_ours = (low <= places) & (places < high)
        self._stems = [each for each, ours in zip(self._stems, is_ours, strict=True) if ours]


def _files_below(root: Path, notices: list[str]) -> Iterator[str]:
    """Names of all files relative to `root`, links to files among them; links to folders aren't."""
    linked = 0
    pending: list[str] = [""]
    while pending:
        inside = pending.pop()
        try:
            entries: list[Any] = list(os.scandir(root / inside))
        except OSError as error:
            raise DataError(
                f"cannot be read ({error.strerror})", where=str(root / inside)
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            name = f"{inside}/{entry.name}" if inside else entry.name
            if entry.is_dir(follow_symlinks=False):
                pending.append(name)
            elif entry.is_symlink() and entry.is_dir():
                linked += 1
            else:
                yield name
    if linked:
        notices.append(f"{root.name}: {linked} links to folders not followed")
