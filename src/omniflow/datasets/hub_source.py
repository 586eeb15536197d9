"""Where the records of a Hub or local data set are: its configurations, splits and files."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from omniflow.connection.patience import Patience, persistently
from omniflow.datasets.hub_files import find_folder
from omniflow.errors import DataError, UnknownNameError
from omniflow.hub_access import fetch_files, is_offline, one_line, reaching_hub, without_secrets

#: The card of a data set, which says what its configurations and splits are.
_CARD = "README.md"

#: What `Dataset.save_to_disk` leaves behind: of one split, and of several.
_SAVED, _SAVED_SPLITS = "state.json", "dataset_dict.json"

#: Largest file that is read into memory for one record: 64 MiB.
MOST_BYTES = 1 << 26

#: Parts are numbered `train-00000-of-00002`.
_PART = re.compile(r"(.*)-\d+-of-(\d+)(\..*)?")


class HubSource:
    """A data set that the package `datasets` reads: an id on the Hub, or a folder.

    Which files belong to a split is said by the card, or by their names. Nothing in them is
    executed. Of a data set on the Hub all files come from one commit.

    Args:
        path: A folder, or a Hub id.
        config: Its configuration; when null, the default one or the only one.
        revision: Branch, tag or commit on the Hub; null for its main branch.

    Raises:
        ConfigError: If a local folder comes with a revision.
        DataError: If the folder is missing or its card cannot be read.
        UnknownNameError: If there is no such configuration.
        UsageError: If the Hub cannot be reached or does not have the data set.
    """

    def __init__(self, path: str, config: str | None, revision: str | None) -> None:
        folder = find_folder(path, revision)
        self.path = path
        self.is_local = folder is not None
        self._folder = folder or self._fetched(revision, [_CARD])
        self.commit = None if self.is_local else self._folder.name
        self._config = config
        with self._reading():
            self._patterns = self._declared()
        for patterns in self._patterns.values():
            _require_inside(patterns, where=path)

    @property
    def splits(self) -> list[str]:
        """Names of the splits there are."""
        return list(self._patterns)

    @property
    def config(self) -> str | None:
        """Its configuration; None where it has none."""
        return self._config

    @property
    def folder(self) -> Path:
        """The local folder that has its card."""
        return self._folder

    def files_of(self, split: str) -> list[str]:
        """Paths of the files of a split, from its folder or repository on.

        Raises:
            DataError: If there are none, or numbered ones are missing.
            UnknownNameError: If there is no such split; says which there are.
            UsageError: If the Hub cannot be reached.
        """
        if split not in self._patterns:
            raise UnknownNameError("split", split, self.splits, where=self.path)
        files = importlib.import_module("datasets.data_files")
        base = str(self._folder)
        if not self.is_local and not is_offline():
            base = f"hf://datasets/{self.path}@{self.commit}"
        with self.reaching(), self._reading(split):
            patterns = [*self._patterns[split]]
            found = persistently(
                lambda: files.DataFilesList.from_patterns(patterns, base_path=base), Patience()
            )
            names = [str(name) for name in found]
            if not names:
                raise FileNotFoundError(f"none is called {' or '.join(self._patterns[split])}")
        _require_all_parts(names, where=f"{self.path}, split {split}")
        return [name.removeprefix(f"{base}/") for name in names]

    def open(self, split: str, *, streaming: bool) -> Any:
        """The records of a split: a `datasets.Dataset`, or an `IterableDataset`.

        Args:
            split: One of `splits`.
            streaming: Read files as they come; those on the Hub are then not fetched first, unless
                `HF_HUB_OFFLINE` is set.

        Raises:
            UnknownNameError: If there is no such split; says which there are.
            DataError: If its files are missing or cannot be read.
            UsageError: If the Hub cannot be reached.
        """
        if split not in self._patterns:
            raise UnknownNameError("split", split, self.splits, where=self.path)
        if self._is_saved:
            return self._open_saved(split, streaming)
        is_remote = streaming and not self.is_local and not is_offline()
        if not is_remote:
            self._gather(split)
        library = importlib.import_module("datasets")
        with self.reaching(), self._reading(), _uncounted():
            return persistently(
                lambda: library.load_dataset(
                    self.path if is_remote else str(self._folder),
                    self._config,
                    revision=self.commit if is_remote else None,
                    data_files={split: self._patterns[split]},
                    split=split,
                    streaming=streaming,
                    # The card tells of all splits, which are not all read.
                    verification_mode="no_checks",
                ),
                Patience(),
            )

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Tells what goes wrong with the connection while records are read."""
        if self.is_local:
            yield
            return
        with reaching_hub(self.path, self.commit, kind="dataset"):
            yield

    def read_file(self, path: str) -> bytes:
        """What is in a file that a record names.

        Args:
            path: As the reader told it: a path here, or one on the Hub.

        Raises:
            ValueError: If it is no file of this data set, too large or unreadable; says so.
            UsageError: If the Hub cannot be reached.
        """
        if self.commit is not None and path.startswith(f"hf://datasets/{self.path}@{self.commit}/"):
            with self.reaching(), importlib.import_module("fsspec").open(path) as file:
                content: bytes = file.read(MOST_BYTES + 1)
        else:
            content = self._read_local(path)
        if len(content) > MOST_BYTES:
            raise ValueError(f"{path!r}: more than {MOST_BYTES} bytes")
        return content

    def _read_local(self, path: str) -> bytes:
        unpacked = importlib.import_module("datasets.config").EXTRACTED_DATASETS_PATH
        # In the Hub's cache a snapshot holds links to files that lie beside it.
        own = self._folder if self.is_local else self._folder.parent.parent
        try:
            place = (self._folder / path).resolve()
            if not any(place.is_relative_to(Path(each).resolve()) for each in (own, unpacked)):
                raise ValueError(f"{path!r} is no file of {self.path}")
            with place.open("rb") as file:
                return file.read(MOST_BYTES + 1)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"{path!r} cannot be read ({one_line(error)})") from error

    @cached_property
    def _is_saved(self) -> bool:
        return self.is_local and any(
            (self._folder / name).is_file() for name in (_SAVED, _SAVED_SPLITS)
        )

    def _open_saved(self, split: str, streaming: bool) -> Any:
        """What `save_to_disk` wrote, memory-mapped in place."""
        has_splits = (self._folder / _SAVED_SPLITS).is_file()
        library = importlib.import_module("datasets")
        with self._reading():
            rows = library.load_from_disk(str(self._folder / split if has_splits else self._folder))
            return rows.to_iterable_dataset() if streaming else rows

    def _declared(self) -> Mapping[str, Sequence[str]]:
        """Patterns of files by split."""
        if self._is_saved:
            return self._saved_splits()
        files = importlib.import_module("datasets.data_files")
        configs = self._configs()
        if self._config is not None and self._config not in configs:
            raise UnknownNameError("configuration", self._config, list(configs), where=self.path)
        if self._config is None and configs:
            self._config = _default_of(configs, where=self.path)
        said = configs.get(self._config or "", {}).get("data_files")
        if said is not None:
            patterns: Mapping[str, Sequence[str]] = files.sanitize_patterns(said)
            return patterns
        base = str(self._folder)
        if not self.is_local and not is_offline():
            base = f"hf://datasets/{self.path}@{self.commit}"
        found: Mapping[str, Sequence[str]] = persistently(
            lambda: files.get_data_patterns(base), Patience()
        )
        return {str(split): patterns for split, patterns in found.items()}

    def _saved_splits(self) -> dict[str, list[str]]:
        if (self._folder / _SAVED).is_file():
            return {"train": []}
        folders = sorted(self._folder.iterdir())
        return {each.name: [] for each in folders if (each / _SAVED).is_file()}

    def _configs(self) -> dict[str, Any]:
        """What the card says of each configuration."""
        card = self._folder / _CARD
        if not card.is_file():
            return {}
        metadata = importlib.import_module("datasets.utils.metadata")
        hub = importlib.import_module("huggingface_hub")
        said = hub.DatasetCard.load(card).data
        configs: dict[str, Any] = metadata.MetadataConfigs.from_dataset_card_data(said)
        return configs

    def _gather(self, split: str) -> None:
        """Bring the files of a split here; look whether all are.

        Raises:
            DataError: If some are missing.
        """
        names = self.files_of(split)
        if not self.is_local and not is_offline():
            patterns = [_escaped(name) for name in names]
            self._fetched(self.commit, patterns, is_quiet=not sys.stderr.isatty())

    def _fetched(
        self, revision: str | None, patterns: Sequence[str], *, is_quiet: bool = True
    ) -> Path:
        return fetch_files(self.path, revision, patterns, kind="dataset", is_quiet=is_quiet)

    @contextmanager
    def _reading(self, split: str | None = None) -> Iterator[None]:
        """Tells what the reader says of files; without its log and, in a pipe, its progress."""
        library = importlib.import_module("datasets")
        arrow = importlib.import_module("pyarrow")
        level = library.logging.get_verbosity()
        is_bare = library.utils.are_progress_bars_disabled()
        library.logging.set_verbosity(library.logging.CRITICAL)
        if not sys.stderr.isatty():
            library.disable_progress_bars()
        where = self.path if split is None else f"{self.path}, split {split}"
        try:
            yield
        except FileNotFoundError as error:
            raise self._nothing_there(where, error) from error
        except RuntimeError as error:
            if "script" not in str(error):
                raise
            raise self._nothing_there(where, error) from error
        except (library.exceptions.DatasetsError, arrow.ArrowException, ValueError) as error:
            reason = without_secrets(one_line(error.__cause__ or error))
            raise DataError(f"cannot be read ({reason})", where=where) from error
        finally:
            library.logging.set_verbosity(level)
            if not is_bare:
                library.enable_progress_bars()

    def _nothing_there(self, where: str, error: Exception) -> DataError:
        if not self.is_local and is_offline():
            advice = "HF_HUB_OFFLINE is set: what was not fetched before is missing"
            return DataError("its files are not here", where=where, notes=[advice])
        return DataError(
            f"there are no files to read ({without_secrets(one_line(error))})",
            where=where,
            expected="tables, or pictures and sounds; a script is not executed",
        )


def _default_of(configs: Any, *, where: str) -> str:
    default: str | None = configs.get_default_config_name()
    if default is None and len(configs) == 1:
        default = next(iter(configs))
    if default is None:
        raise DataError(
            "it has several configurations",
            where=where,
            expected="the option config to name one",
            notes=[f"configurations: {', '.join(configs)}"],
        )
    return default


def _require_inside(patterns: Sequence[str], *, where: str) -> None:
    """Refuse a card that names files elsewhere on this machine or the net."""
    for pattern in patterns:
        path = PurePosixPath(str(pattern))
        if path.is_absolute() or ".." in path.parts or "://" in str(pattern):
            raise DataError(
                f"its card names {str(pattern)!r}", where=where, expected="files of its own"
            )


def _require_all_parts(names: Sequence[str], *, where: str) -> None:
    """Refuse a split of which some numbered parts are missing."""
    parts: dict[tuple[str, str, str], int] = {}
    for name in names:
        if match := _PART.fullmatch(name):
            key = (match[1], match[2], match[3] or "")
            parts[key] = parts.get(key, 0) + 1
    for (prefix, count, _), found in parts.items():
        if found != int(count):
            raise DataError(
                f"{found} of {int(count)} parts are here", where=where,
                expected=f"all of {PurePosixPath(prefix).name}-*-of-{count}",
            )  # fmt: skip


@contextmanager
def _uncounted() -> Iterator[None]:
    """Without a request to another host, by which `datasets` has its loads counted.

    It goes there at any endpoint, for every data set that is streamed; who sets
    HF_UPDATE_DOWNLOAD_COUNTS=1 wants it.
    """
    config: Any = importlib.import_module("datasets.config")
    before = config.HF_UPDATE_DOWNLOAD_COUNTS
    if "HF_UPDATE_DOWNLOAD_COUNTS" not in os.environ:
        config.HF_UPDATE_DOWNLOAD_COUNTS = False
    try:
        yield
    finally:
        config.HF_UPDATE_DOWNLOAD_COUNTS = before


def _escaped(name: str) -> str:
    """A pattern that fits this name alone."""
    return re.sub(r"([*?[])", r"[\1]", name)
