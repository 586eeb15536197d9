"""A table in a person's own file: a caption and the paths of a picture and a sound a record."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from omniflow.datasets.record_columns import Columns, Layout, choose_columns
from omniflow.datasets.record_index import RecordIndex
from omniflow.datasets.record_media import RecordFiles, checked_text
from omniflow.datasets.shares import SplitShares, number_places
from omniflow.datasets.split_sources import SplitSources, require_seed
from omniflow.datasets.splits import text_place
from omniflow.errors import DataError, RecordError, closest
from omniflow.interfaces.dataset import Dataset, Sample

#: Modalities in the order of their columns.
_ALL = ("text", "image", "audio")


class TableDataset(Dataset):
    """One sample a record: its text, the picture and the sound at its paths.

    Nothing is held in memory but where records begin. A record that cannot be read raises
    `RecordError`: a text that is empty, a file that is missing, damaged, far too large or of
    another type, a path that leads out of the folder.

    Args:
        path: The file, or a folder that holds one called `metadata`.
        split: One of `splits`.
        layout: text2img, img2aud, text2aud or any2any: a table of the original training script,
            with its columns and their other names, and `@` for commas in captions. When null,
            columns are found by name.
        text_column: Column of texts; when null, text or caption.
        image_column: Column of paths of pictures; when null, image, img_path, img_file, image_path
            or file_name.
        audio_column: Column of paths of sounds; when null, audio, audio_path or audio_file.
        id_column: Column of ids. Records of one id are in one split; when null, the number of the
            line is the id.
        root: Folder that relative paths start from, the file's own when null. When it is given,
            absolute paths have to lie in it as well.
        validation_path: A file of its own for validation.
        test_path: A file of its own for testing.
        validation_share: Share of `path` held out for validation, in [0, 1], by a hash of the id;
            of no effect with `validation_path`.
        test_share: Share held out for testing; of no effect with `test_path`.
        seed: Another seed, other splits.

    Raises:
        ConfigError: If an option cannot have its value.
        DataError: If the file is missing, or a split would be empty.
        UnknownNameError: If there is no such column; says which there are.
    """

    #: What the file ends in.
    suffix: ClassVar[str]

    def __init__(
        self,
        *,
        path: str,
        split: str = "train",
        layout: Layout | None = None,
        text_column: str | None = None,
        image_column: str | None = None,
        audio_column: str | None = None,
        id_column: str | None = None,
        root: str | None = None,
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
        self.path = self._file(given)
        self._notices: list[str] = []
        self._seed = seed
        self._index = self._indexed()
        present = self._columns()
        asked = {"text": text_column, "image": image_column, "audio": audio_column, "id": id_column}
        self.columns: Columns = choose_columns(asked, layout, present, where=str(self.path))
        self._wanted = self.columns.modalities
        folder = Path(root).expanduser() if root is not None else self.path.parent
        self._files = RecordFiles(folder, is_closed=root is not None)
        numbers = np.arange(self._first, len(self._index), dtype=np.int32)
        self._chosen = numbers if is_own else self._drawn(numbers, sources.shares, split)

    #: Records at the beginning that are no samples.
    _first: ClassVar[int] = 0

    @abstractmethod
    def _indexed(self) -> RecordIndex:
        """Where the records are."""

    @abstractmethod
    def _columns(self) -> Sequence[str]:
        """Names of the columns.

        Raises:
            DataError: If there are none.
        """

    @abstractmethod
    def _row(self, content: bytes) -> Mapping[str, Any]:
        """Column to value, of the bytes of a record.

        Raises:
            ValueError: If it is no record; says why.
        """

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self._chosen):
            raise IndexError(f"index {index} is not in [0, {len(self._chosen)})")
        number = int(self._chosen[index])
        record = self._number_id(number)
        try:
            row = self._row(self._index.read(number))
        except (ValueError, RecursionError) as error:
            raise RecordError(record, " ".join(str(error).split())) from error
        except OSError as error:
            raise RecordError(record, f"cannot be read ({error.strerror})") from error
        return self._sample(self._id(row) or record, row)

    def length_of(self, record: Any) -> int | None:
        """Bytes of the record, where there are texts: paths beside them are about equally long."""
        if "text" not in self._wanted:
            return None
        number = int(self._chosen[record])
        return int(self._index.offsets[number + 1] - self._index.offsets[number])

    def restrict_to(self, modalities: Collection[str]) -> None:
        """Open no pictures or sounds that nobody looks at.

        Raises:
            DataError: If the table has a column for none of these.
        """
        wanted = self.columns.modalities & set(modalities)
        if not wanted:
            has = " and ".join(name for name in _ALL if name in self.columns.modalities)
            raise DataError(
                f"it brings {has} alone",
                where=str(self.path),
                expected=f"a column of {' or '.join(n for n in _ALL if n in set(modalities))}",
            )
        self._wanted = wanted

    def column_roles(self) -> dict[str, str | None]:
        """Columns of the table, and what is read from them."""
        return {**dict.fromkeys(self._columns()), **self.columns.roles()}

    def notices(self) -> list[str]:
        """Whether records were moved between splits."""
        return list(self._notices)

    def _sample(self, record: str, row: Mapping[str, Any]) -> Sample:
        columns, wanted = self.columns, self._wanted
        texts = self._texts(record, row) if "text" in wanted else ()
        image = row.get(columns.image) if columns.image and "image" in wanted else None
        audio = row.get(columns.audio) if columns.audio and "audio" in wanted else None
        picture = None if image in (None, "") else self._files.picture(record, image)
        sound = None if audio in (None, "") else self._files.sound(record, audio)
        if not texts and picture is None and sound is None:
            brought = " and no ".join(name for name in _ALL if name in wanted)
            raise RecordError(record, f"it has no {brought}")
        return Sample(
            id=record,
            text=self._spoken(record, row, texts) if texts else None,
            image=picture,
            audio=sound,
            references=texts,
        )

    def _texts(self, record: str, row: Mapping[str, Any]) -> tuple[str, ...]:
        """The caption first, then others; empty for one that is null or not there."""
        columns = self.columns
        value = row.get(columns.text) if columns.text else None
        if value is None:
            return ()
        values = value if isinstance(value, list) and value else [value]
        for column in (columns.second_text, columns.alternative):
            if column is not None and row.get(column) not in (None, ""):
                values = [*values, row[column]]
        texts = [columns.clean(text) if isinstance(text, str) else text for text in values]
        return tuple(dict.fromkeys(checked_text(record, text) for text in texts))

    def _spoken(self, record: str, row: Mapping[str, Any], texts: tuple[str, ...]) -> str:
        """The first text, or in half of the records the alternative one."""
        alternative = self.columns.alternative
        if alternative is None or not row.get(alternative):
            return texts[0]
        is_other = text_place(f"caption of {record}", self._seed) < 0.5
        return self.columns.clean(row[alternative]) if is_other else texts[0]

    def _id(self, row: Mapping[str, Any]) -> str | None:
        """What the id column says; None where that is nothing."""
        value = row.get(self.columns.id) if self.columns.id else None
        text = str(value).strip() if isinstance(value, str | int) else ""
        return text if text and text.isprintable() else None

    def _number_id(self, number: int) -> str:
        return f"{self.path.stem}:{self._index.lines[number]}"

    def _drawn(self, numbers: Any, shares: SplitShares, split: str) -> Any:
        """The records whose place lies in the split's stretch."""
        places = self._places(numbers)
        low, high, is_moved = shares.stretch(split, np.unique(places), where=str(self.path))
        if is_moved:
            self._notices.append(
                f"{self.path.name}: only {len(numbers)} records, so some were moved to give "
                "every split at least one"
            )
        return numbers[(low <= places) & (places < high)]

    def _places(self, numbers: Any) -> Any:
        """Where records stand in [0, 1): by their id, or by their line where they have none."""
        by_line = number_places(self._index.lines[numbers], self._seed)
        if self.columns.id is None:
            return by_line
        for place, number in enumerate(numbers):
            try:
                found = self._id(self._row(self._index.read(int(number))))
            except (ValueError, RecursionError):
                continue
            if found is not None:
                by_line[place] = text_place(found, self._seed)
        return by_line

    def _file(self, given: str) -> Path:
        """The file that was meant.

        Raises:
            DataError: If there is none.
        """
        path = Path(given).expanduser()
        expected = f"a {self.suffix} file, or a folder that holds metadata{self.suffix}"
        if path.is_dir():
            inside = path / f"metadata{self.suffix}"
            if inside.is_file():
                return inside
            raise DataError(
                f"there is no metadata{self.suffix} in the folder", where=str(path),
                expected=expected,
                nearest=sorted(str(each) for each in path.glob(f"*{self.suffix}"))[:3],
            )  # fmt: skip
        if not path.is_file():
            beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
            nearest = [str(path.parent / name) for name in closest(path.name, beside)]
            raise DataError(
                "there is no such file", where=str(path), expected=expected, nearest=nearest
            )
        return path
