"""Texts that are read as they come, against the same file read by position."""

import json
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omniflow.datasets.text import TextDataset
from omniflow.datasets.text_stream import REMEMBERED
from omniflow.errors import DataError, UnknownLengthError

#: More than two remembered places of the training split.
COUNT = 2500
TEXTS = [f"line {number} says {'x' * (number % 7)}" for number in range(COUNT)]
SPLITS = ("train", "validation", "test")


def write(path, kind):
    path = path / f"lines.{kind}"
    if kind == "txt":
        path.write_text("\n\n".join(TEXTS))
    elif kind == "jsonl":
        rows = [json.dumps({"n": n, "text": text}) + "\n" for n, text in enumerate(TEXTS)]
        path.write_text("".join(rows))
    elif kind == "csv":
        # Every third text reaches over two lines.
        broken = [text + "\n!" if n % 3 == 0 else text for n, text in enumerate(TEXTS)]
        rows = [f'{n},"{text}"\n' for n, text in enumerate(broken)]
        path.write_bytes(b"\xef\xbb\xbfn,text\n" + "".join(rows).encode())
    else:
        pq.write_table(pa.table({"text": TEXTS}), path, row_group_size=700)
    return str(path)


@pytest.fixture(scope="module", params=["txt", "jsonl", "csv", "parquet"])
def path(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("texts"), request.param)


@pytest.mark.parametrize("split", SPLITS)
def test_a_stream_has_the_samples_of_the_file_in_its_order(path, split):
    mapped = list(TextDataset(path=path, split=split))
    assert list(TextDataset(path=path, split=split, streaming=True)) == mapped


def test_a_stream_is_read_from_any_record_on(path):
    dataset = TextDataset(path=path, streaming=True)
    mapped = list(TextDataset(path=path))
    starts = [0, 1, 1700, 999, 1000, 1001, 2000, len(mapped) - 1, len(mapped), len(mapped) + 9]
    assert len(mapped) > 2 * REMEMBERED
    # The first jump finds no remembered place; later ones do.
    for start in starts:
        found = [dataset.decode(record) for record in islice(dataset.records(start), 5)]
        assert found == mapped[start : start + 5], start
    assert dataset[1234] == mapped[1234]


def test_the_length_of_a_stream_is_not_known(path):
    dataset = TextDataset(path=path, streaming=True)
    with pytest.raises(UnknownLengthError, match="only known at its end, expected streaming: fals"):
        len(dataset)


def test_lengths_are_told_without_reading(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("three\nseventeen letters\n" + "x" * 90)
    options = {"validation_share": 0.0, "test_share": 0.0, "max_chars": 50}
    for streaming in (True, False):
        dataset = TextDataset(path=str(path), streaming=streaming, **options)
        first, second, third = (dataset.length_of(record) for record in dataset.records())
        assert first < second < third == 50


def test_a_file_that_has_changed_is_not_misread(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("first\nsecond\n")
    dataset = TextDataset(path=str(path), validation_share=0.0, test_share=0.0)
    assert dataset[1].text == "second"
    path.write_text("a first\nsecond\n")
    with pytest.raises(DataError, match="has changed since it was opened"):
        dataset[1]
