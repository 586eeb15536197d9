"""What datasets tell of the columns of their source."""

import importlib

import pytest

from omniflow.datasets.csv_table import CsvDataset
from omniflow.datasets.huggingface import HuggingFaceDataset
from omniflow.datasets.scenes import ScenesDataset
from omniflow.datasets.text import TextDataset

WHOLE = {"validation_share": 0, "test_share": 0}
TABLE = "key,caption,image,year\n" + "".join(f"k{n},a pet {n},{n}.png,1999\n" for n in range(9))


@pytest.mark.parametrize("streaming", [False, True])
def test_files_of_texts_tell_which_column_is_read(tmp_path, streaming):
    def roles(name, content):
        path = tmp_path / name
        path.write_bytes(content)
        return TextDataset(path=str(path), streaming=streaming, **WHOLE).column_roles()

    assert roles("a.txt", b"one\ntwo\n") == {}
    assert roles("a.csv", TABLE.encode()) == {
        "key": None, "caption": "text", "image": None, "year": None,
    }  # fmt: skip
    assert roles("a.jsonl", b'{"caption": "one", "year": 3}\n') == {"caption": "text"}
    arrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
    parquet.write_table(arrow.table({"year": [1], "text": ["one"]}), tmp_path / "b.parquet")
    content = (tmp_path / "b.parquet").read_bytes()
    assert roles("c.parquet", content) == {"year": None, "text": "text"}


def test_tables_tell_all_columns(tmp_path):
    (tmp_path / "pets.csv").write_text(TABLE)
    path = str(tmp_path / "pets.csv")
    assert CsvDataset(path=path, id_column="key", **WHOLE).column_roles() == {
        "key": "id", "caption": "text", "image": "image", "year": None,
    }  # fmt: skip
    (tmp_path / "any.csv").write_text(
        "img_path,audio_path,caption,caption2,caption_alt\na,b,c,d,e\n"
    )
    any2any = CsvDataset(path=str(tmp_path / "any.csv"), layout="any2any", **WHOLE)
    assert any2any.column_roles() == {
        "img_path": "image", "audio_path": "audio", "caption": "text",
        "caption2": "references", "caption_alt": "text",
    }  # fmt: skip


@pytest.mark.parametrize("streaming", [False, True])
def test_data_sets_of_the_hub_tell_all_columns(tmp_path, streaming):
    arrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
    table = arrow.table(
        {"caption": ["one", "two"], "key": [1, 2], "answer": ["a", "b"], "x": [1, 2]}
    )
    parquet.write_table(table, tmp_path / "train.parquet")
    dataset = HuggingFaceDataset(
        path=str(tmp_path), validation_split=None, test_split=None, id_column="key",
        references_column="answer", streaming=streaming, **WHOLE,
    )  # fmt: skip
    assert dataset.column_roles() == {
        "caption": "text", "key": "id", "answer": "references", "x": None,
    }  # fmt: skip


def test_what_is_drawn_has_no_columns():
    assert ScenesDataset().column_roles() == {}
