"""Data sets in folders, as `datasets` reads them: columns, splits, bad records; no Hub."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from omniflow.datasets.huggingface import HuggingFaceDataset
from omniflow.errors import (
    ConfigError,
    DataError,
    RecordError,
    UnknownLengthError,
    UnknownNameError,
)

ALONE = {"validation_split": None, "test_split": None, "validation_share": 0.0, "test_share": 0.0}


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def png(number):
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def write(tmp_path):
    """Rows to a split's parquet file."""

    def make(rows, split="train", schema=None):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, folder / f"{split}.parquet", row_group_size=8)
        return str(folder)

    return make


def both(**options):
    return [HuggingFaceDataset(**options, streaming=streaming) for streaming in (False, True)]


def problems(dataset):
    found = {}
    for number, record in enumerate(dataset.records()):
        try:
            dataset.decode(record)
        except RecordError as error:
            found[number] = error.reason
    return found


def test_splits_of_their_own_and_shares_are_kept_apart(write):
    for split, count in (("train", 60), ("validation", 5)):
        path = write([{"text": f"{split} {n}"} for n in range(count)], split)
    options = {"path": path, "test_split": None, "test_share": 0.3}
    for streaming in (False, True):
        texts = {
            split: [s.text for s in HuggingFaceDataset(**options, split=split, streaming=streaming)]
            for split in ("train", "validation", "test")
        }
        assert texts["validation"] == [f"validation {n}" for n in range(5)]
        assert sorted(texts["train"] + texts["test"]) == sorted(f"train {n}" for n in range(60))
        assert 8 <= len(texts["test"]) <= 30
    other = HuggingFaceDataset(**options, split="test", seed=1)
    assert [sample.text for sample in other] != texts["test"]


def test_columns_are_mapped(write):
    rows = [
        {"said": f"said {n}", "others": [f"one {n}", f"two {n}", f"one {n}"], "pixels": png(n),
         "number": 100 + n}
        for n in range(3)
    ]  # fmt: skip
    options = {"path": write(rows), **ALONE, "text_column": "said", "references_column": "others",
               "image_column": "pixels", "id_column": "number"}  # fmt: skip
    for dataset in both(**options):
        sample = list(dataset)[2]
        assert (sample.id, sample.text) == ("102", "said 2")
        assert sample.references == ("one 2", "two 2")
        assert sample.image.getpixel((0, 0)) == (2, 0, 0)
        assert dataset[1].text == "said 1"
        assert [dataset.length_of(record) for record in dataset.records()] == [6, 6, 6]
        dataset.restrict_to({"image"})
        assert next(iter(dataset)).text is None
        with pytest.raises(DataError, match="it brings text and image alone, expected a column of"):
            dataset.restrict_to({"audio"})


def test_columns_that_do_not_fit_are_told(write):
    path = write([{"text": "a", "label": 3, "image": "a.png"}])
    options = {"path": path, **ALONE}
    with pytest.raises(
        UnknownNameError, match="called 'txt'\n.*did you mean: text\n.*known: image"
    ):
        HuggingFaceDataset(**options, text_column="txt")
    with pytest.raises(DataError, match="column 'label' is int64, expected text"):
        HuggingFaceDataset(**options, text_column="label")
    with pytest.raises(DataError, match="column 'image' is string, expected pictures"):
        HuggingFaceDataset(**options, image_column="image")
    with pytest.raises(UnknownNameError, match="no column is called 'nobody'"):
        HuggingFaceDataset(**options, group_columns=["nobody"])
    path = write([{"label": 3, "words": "a"}])
    with pytest.raises(DataError, match=r"(.|\n)*columns: label \(int64\), words \(string\)"):
        HuggingFaceDataset(path=path, **ALONE)


def test_splits_that_are_missing_are_told(write):
    path = write([{"text": "a"}])
    with pytest.raises(
        UnknownNameError, match="no split is called 'validation'(.|\n)*known: train"
    ):
        HuggingFaceDataset(path=path, split="validation")
    with pytest.raises(DataError, match="there is no split 'valid'"):
        HuggingFaceDataset(path=path, split="valid")
    with pytest.raises(UnknownNameError, match="no configuration is called 'large'"):
        HuggingFaceDataset(path=path, config="large")


def test_options_that_cannot_be(write, tmp_path):
    path = write([{"text": "a"}])
    with pytest.raises(ConfigError, match="leave_out is '\\(', expected a regular expression"):
        HuggingFaceDataset(path=path, leave_out="(", **ALONE)
    with pytest.raises(ConfigError, match="revision is 'main', expected null"):
        HuggingFaceDataset(path=path, revision="main", **ALONE)
    with pytest.raises(
        DataError, match="there is no such folder, expected a folder, or OWNER/NAME"
    ):
        HuggingFaceDataset(path=str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there are no files to read"):
        HuggingFaceDataset(path=str(tmp_path / "empty"))
    with pytest.raises(UnknownLengthError):
        len(HuggingFaceDataset(path=path, streaming=True, **ALONE))


def test_records_that_cannot_be_read_say_why(write, tmp_path):
    outside = tmp_path / "outside.png"
    outside.write_bytes(png(1))
    pictures = [
        {"bytes": png(0), "path": None},
        {"bytes": png(1)[:40], "path": None},
        {"bytes": b"no picture", "path": "a.png"},
        {"bytes": None, "path": str(outside)},
        {"bytes": None, "path": "../outside.png"},
        {"bytes": None, "path": "http://127.0.0.1:1/a.png"},
        {"bytes": None, "path": None},
        None,
        {"bytes": png(8), "path": None},
    ]
    texts = ["good", *["text"] * 7, "  "]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [{"text": t, "image": p} for t, p in zip(texts, pictures, strict=True)]
    path = write(rows, schema=pa.schema({"text": pa.string(), "image": kind}))
    mapped, stream = both(path=path, image_column="image", **ALONE)
    found = problems(mapped)
    assert found == problems(stream)
    assert sorted(found) == [1, 2, 3, 4, 5, 6, 8]
    assert "cannot be read as a picture" in found[1]
    assert "its format is not known" in found[2]
    assert f"{str(outside)!r} is no file of {path}" in found[3]
    assert "is no file of" in found[4]
    assert "cannot be read" in found[5]
    assert found[6] == "image has neither bytes nor a path"
    assert found[8] == "the text is empty"
    assert mapped[7].image is None


def test_what_matches_is_left_out(write):
    rows = [{"text": ["keep", "drop", None, "drop it"][n % 4]} for n in range(8)]
    mapped, stream = both(path=write(rows), leave_out="^drop", **ALONE)
    assert len(mapped) == sum(1 for _ in stream.records()) == 4
    assert mapped.notices()[0].endswith("4 records left out, as they match leave_out")
    assert problems(mapped) == problems(stream) == {1: "it has no text", 3: "it has no text"}


def test_records_of_one_thing_are_one_sample(write):
    rows = [{"text": f"{n % 2} told {n}", "key": n % 2, "more": "same"} for n in range(6)]
    mapped, stream = both(path=write(rows), group_columns=["key", "more"], **ALONE)
    assert [sample.references for sample in mapped] == [
        ("0 told 0", "0 told 2", "0 told 4"), ("1 told 1", "1 told 3", "1 told 5"),
    ]  # fmt: skip
    assert [sample.references for sample in stream] == [(row["text"],) for row in rows]
    assert "does not bring records together" in stream.notices()[0]


def test_a_part_that_is_missing_is_told(write, tmp_path):
    path = write([{"text": "a"}], split="train-00001-of-00002")
    with pytest.raises(
        DataError, match="1 of 2 parts are here, expected all of train-\\*-of-00002"
    ):
        HuggingFaceDataset(path=path, **ALONE)


def test_a_stream_goes_back_to_any_record(write):
    from omniflow.datasets.hub_stream import REMEMBERED

    rows = [{"text": f"line {n}"} for n in range(2 * REMEMBERED + 60)]
    mapped, stream = both(path=write(rows), **{**ALONE, "test_share": 0.1})
    expected = [sample.text for sample in mapped]
    assert len(expected) > REMEMBERED + 200
    for start in (REMEMBERED + 100, 0, REMEMBERED - 1, REMEMBERED, REMEMBERED + 1, 700, 9999):
        reading = stream.records(start)
        other = stream.records(3)
        found = [next(reading, (0, {"text": None}))[1]["text"] for _ in range(20)]
        assert next(other)[1]["text"] == expected[3]
        assert found == (expected[start : start + 20] + [None] * 20)[:20], start


def test_other_files_and_saved_data_sets_are_read(tmp_path):
    import datasets

    folder = tmp_path / "lines"
    folder.mkdir()
    lines = [json.dumps({"text": f"line {n}", "more": {"a": n}}) for n in range(4)]
    (folder / "train.jsonl").write_text("\n".join(lines))
    saved = tmp_path / "saved"
    rows = datasets.Dataset.from_list([{"text": f"line {n}"} for n in range(4)])
    datasets.DatasetDict({"train": rows}).save_to_disk(str(saved))
    rows.save_to_disk(str(tmp_path / "one"))
    for path in (folder, saved, tmp_path / "one"):
        for dataset in both(path=str(path), **ALONE):
            assert [sample.text for sample in dataset] == [f"line {n}" for n in range(4)]
    with pytest.raises(UnknownNameError, match="no split is called 'test'(.|\n)*known: train"):
        HuggingFaceDataset(path=str(saved), split="test")


def test_nothing_is_held_for_what_is_not_read(write):
    rows = [{"text": "a" * (n % 5 + 1), "noise": np.random.default_rng(n).bytes(999)}
            for n in range(40)]  # fmt: skip
    mapped, stream = both(path=write(rows), **ALONE)
    assert all(record[1].keys() == {"text"} for record in stream.records())
    assert list(mapped.records()) == list(range(40))
