"""Records of text files that cannot be read: each is one of the dataset, and says why."""

import json
import tracemalloc
from itertools import islice

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omniflow.datasets.text import TextDataset
from omniflow.datasets.text_stream import REMEMBERED
from omniflow.errors import DataError, RecordError

SPLITS = ("train", "validation", "test")
EVERYTHING = {"validation_share": 0.0, "test_share": 0.0}

#: Content by the ending of the file, and what is read: texts, and reasons of what cannot be.
FILES = {
    "txt": (
        b"one\n\xff\xfe two\n\nthr\xe9\nfo\xc3\xbcr\nfi\0ve\n",
        {"a:1": "one", "a:5": "foür", "a:6": "fi\0ve"},
        {"a:2": "byte 0xff is not UTF-8", "a:4": "byte 0xe9 is not UTF-8"},
    ),
    "jsonl": (
        b'{"text": "one"}\n{"text": \n\n[1]\n{"text": 3}\n{"other": "x"}\n{"text": "\\ud83d"}\n'
        b'{"text": "\xe9"}\n{"text": " "}\n{"text": "two"}\n',
        {"a:1": "one", "a:10": "two"},
        {
            "a:2": "not JSON (Expecting value at column 1)",
            "a:4": "a list where an object was expected",
            "a:5": "a number where text was expected",
            "a:6": "no 'text'",
            "a:7": "half of a surrogate pair, not a whole character",
            "a:8": "byte 0xe9 is not UTF-8",
        },
    ),
    "csv": (
        b'\xef\xbb\xbfn,text\n1,one\n2,a,b\n3,"over\ntwo \xff\nlines"\n4,"no"t\n5,"over\ntwo"\n'
        b'6,"stray\n7,seven\n8,""\n9,"never closed\n',
        {"a:2": "one", "a:8": "over\ntwo", "a:11": "seven"},
        {
            "a:3": "3 fields, the header has 2",
            "a:4": "byte 0xff is not UTF-8",
            "a:7": "not CSV (',' expected after '\"')",
            "a:10": "a quote is never closed",
            "a:13": "a quote is never closed",
        },
    ),
}


def outcome(dataset):
    """Id to text, and id to reason, of every record."""
    texts, reasons, lengths = {}, {}, set()
    for record in dataset.records():
        try:
            sample = dataset.decode(record)
        except RecordError as error:
            lengths.add(dataset.length_of(record))
            reasons[error.record] = error.reason
            continue
        texts[sample.id] = sample.text
    assert lengths <= {0}
    assert len(texts) + len(reasons) == len(list(dataset.records()))
    return texts, reasons


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("kind", FILES)
def test_a_bad_record_says_which_it_is_and_why(tmp_path, kind, streaming):
    content, texts, reasons = FILES[kind]
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content)
    dataset = TextDataset(path=str(path), streaming=streaming, **EVERYTHING)
    assert outcome(dataset) == (texts, reasons)


@pytest.mark.parametrize("streaming", [False, True])
def test_rows_of_parquet_without_text_are_bad(tmp_path, streaming):
    values = pa.array([b"row", None, b"r\xffw", b" ", b"last"])
    broken = pa.Array.from_buffers(pa.string(), len(values), values.buffers())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    assert outcome(TextDataset(path=path, streaming=streaming, **EVERYTHING)) == (
        {"a:1": "row", "a:5": "last"},
        {"a:2": "nothing where text was expected", "a:3": "byte 0xff is not UTF-8"},
    )


def test_how_many_are_bad_is_told_when_the_file_is_opened(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(FILES["jsonl"][0])
    assert TextDataset(path=str(path), **EVERYTHING).notices() == [
        "a.jsonl: 6 of 8 records cannot be read, the first one in "
        "line 2: not JSON (Expecting value at column 1)"
    ]


def split_of_each(path, streaming):
    """Bad content to its split, and every text to its own."""
    found = {}
    for split in SPLITS:
        dataset = TextDataset(path=str(path), split=split, streaming=streaming)
        contents = path.read_bytes().split(b"\n")
        texts, reasons = outcome(dataset)
        for name in [*texts, *reasons]:
            content = contents[int(name.removeprefix("a:")) - 1]
            assert content not in found
            found[content] = split
    return found


@pytest.mark.parametrize("streaming", [False, True])
def test_each_is_in_one_split_and_other_lines_move_none(tmp_path, streaming):
    path = tmp_path / "a.txt"
    lines = [b"line %d" % n + b"\xff" * (n % 3 == 0) for n in range(900)]
    path.write_bytes(b"\n".join(lines))
    before = split_of_each(path, streaming)
    assert before.keys() == set(lines)
    counts = [list(map(before.get, lines[::3])).count(split) for split in SPLITS]
    assert counts[0] > 240
    assert min(counts[1:]) > 4
    path.write_bytes(b"\n".join([b"first \xfe", b"second", *lines, b"last \xfe"]))
    after = split_of_each(path, streaming)
    assert {line: after[line] for line in lines} == before


def test_bad_records_are_no_help_to_an_empty_split(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": f"row {n}"}) for n in range(3)] + [f"bad {n}" for n in range(60)]
    path.write_text("\n".join(rows))
    found = [outcome(TextDataset(path=str(path), split=split)) for split in SPLITS]
    assert [len(texts) for texts, _ in found] == [1, 1, 1]
    reasons = [name for _, reasons in found for name in reasons]
    assert sorted(reasons) == sorted({f"a:{line}" for line in range(4, 64)})


def test_a_stream_with_bad_records_is_read_from_any_of_them_on(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [json.dumps({"text": f"row {n}"}) if n % 7 else f"bad {n}" for n in range(2300)]
    path.write_text("\n\n".join(rows))
    dataset = TextDataset(path=str(path), streaming=True, **EVERYTHING)
    whole = list(dataset.records())
    assert len(whole) == 2300 > 2 * REMEMBERED
    for start in (0, 7, 999, 1000, 1001, 2000, 2299):
        assert list(islice(dataset.records(start), 9)) == whole[start : start + 9]


def test_many_bad_lines_are_not_held(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "good"}\n' + b"\xff bad \x01 and long enough to be seen \n" * 6_000)
    tracemalloc.start()
    dataset = TextDataset(path=str(path), **EVERYTHING)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(dataset) == 6_001
    # 24 bytes a record, and an array that grows.
    assert most < 60 * 6_000
    with pytest.raises(RecordError, match="record a:6001: byte 0xff is not UTF-8"):
        dataset[6_000]


@pytest.mark.parametrize(
    ("kind", "line"), [("txt", "{}\n"), ("jsonl", '{{"text": "{}"}}\n'), ("csv", "{}\n")]
)
@pytest.mark.parametrize("streaming", [False, True])
def test_a_line_without_end_is_one_bad_record_and_not_held(tmp_path, kind, line, streaming):
    path = tmp_path / f"a.{kind}"
    texts = ["text", "one", "two", "three", "ä" * (4 << 20), "four", "five"]
    path.write_text("".join(map(line.format, texts)), encoding="utf-8")
    tracemalloc.start()
    texts, reasons = outcome(TextDataset(path=str(path), streaming=streaming, **EVERYTHING))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    size = len(line.format("").encode()) + (8 << 20)
    assert reasons == {"a:5": f"{size} bytes, expected at most 1048576"}
    assert [text for text in texts.values() if text != "text"] == [
        "one", "two", "three", "four", "five",
    ]  # fmt: skip
    assert most < 6 << 20


def test_a_file_that_has_changed_is_not_misread(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "first"}\nbad\n')
    dataset = TextDataset(path=str(path), **EVERYTHING)
    path.write_text('{"text": "first"}\n\n\n\n\nbad\n')
    with pytest.raises(DataError, match="has changed since it was opened"):
        dataset[1]


def test_as_many_lines_in_utf8_speak_for_it(tmp_path):
    path = tmp_path / "a.txt"
    lines = ["schön", "süß"] * 20
    path.write_bytes(
        b"\n".join(
            line.encode(code) for line, code in zip(lines, ["utf-8", "latin-1"] * 20, strict=True)
        )
    )
    texts, reasons = outcome(TextDataset(path=str(path), **EVERYTHING))
    assert set(texts.values()) == {"schön"}
    assert len(texts) == len(reasons) == 20


def test_empty_rows_of_parquet_are_spread_over_the_splits(tmp_path):
    texts = [f"row {number}" if number % 2 else None for number in range(600)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet")
    path = str(tmp_path / "a.parquet")
    counts = [len(outcome(TextDataset(path=path, split=split))[1]) for split in SPLITS]
    assert sum(counts) == 300
    assert counts[0] > 240
    assert min(counts) > 4
