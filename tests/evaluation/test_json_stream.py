"""Reading in pieces of any size is reading at once, and takes less memory."""

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omniflow.errors import DataError
from omniflow.evaluation import json_stream
from omniflow.evaluation.json_stream import JsonStream
from omniflow.evaluation.predictions import read_predictions

RECORDS = [
    {"id": str(number), "prediction": '紅 🐶 \n"x" \\', "references": ["é", "b"], "other": [1.5e3]}
    for number in range(7)
]
TEXT = json.dumps(
    {"format": "omniflow.predictions/1", "skipped": [1, {"a": []}], "records": RECORDS,
     "task": "i2t"},
    indent=1, ensure_ascii=False,
)  # fmt: skip


@pytest.mark.parametrize("chunk", [1, 2, 7, 64, 1000])
def test_pieces_of_any_size_give_the_same(chunk, tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    path.write_text(TEXT, encoding="utf-8-sig")
    whole = read_predictions(path)
    assert [record.id for record in whole.records] == [record["id"] for record in RECORDS]
    # A task that stands behind the records is theirs as well.
    assert {record.task for record in whole.records} == {"i2t"}
    monkeypatch.setattr(json_stream, "CHUNK", chunk)
    assert read_predictions(path) == whole


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60,
          deadline=None)  # fmt: skip
@given(cut=st.integers(1, len(TEXT) - 1), chunk=st.sampled_from([3, 50, 10_000]))
def test_an_error_is_told_at_the_same_place(cut, chunk, tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    path.write_text(TEXT[:cut] + "@" + TEXT[cut:], encoding="utf-8")

    def told(size):
        monkeypatch.setattr(json_stream, "CHUNK", size)
        try:
            read_predictions(path)
        except DataError as error:
            return error.render()
        return None  # the @ stands within a text

    expected = None
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        expected = f"{path}:{error.lineno}: not valid JSON: "
    found = told(10_000)
    assert told(chunk) == found
    assert expected is None or found.startswith(expected)


def test_a_wrong_byte_is_told_by_its_place(tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    path.write_bytes(b'["' + "é".encode() * 20 + b'\xff"]')
    for chunk in (1, 3, 1000):
        monkeypatch.setattr(json_stream, "CHUNK", chunk)
        with pytest.raises(DataError, match="byte 42 is not UTF-8 text"):
            read_predictions(path)


def test_what_follows_the_end_is_refused(tmp_path):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(RECORDS) + "\n[]")
    with pytest.raises(DataError, match="p.json:2: not valid JSON: Extra data in column 1"):
        read_predictions(path)


def test_a_value_as_long_as_many_pieces_is_scanned_few_times(tmp_path, monkeypatch):
    path = tmp_path / "p.json"
    path.write_text(json.dumps(["x" * 100_000]))
    monkeypatch.setattr(json_stream, "CHUNK", 100)
    with JsonStream(path) as stream:
        scans = []
        scan = stream._scan
        stream._scan = lambda *place: scans.append(place) or scan(*place)
        assert len(next(iter(stream.items()))) == 100_000
    assert len(scans) < 20


MEASURED = """
import resource, sys
from omniflow.evaluation.predictions import read_predictions
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
records = read_predictions(sys.argv[1]).records
print(len(records), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000)
"""


def test_a_hundred_megabytes_are_never_in_memory_twice(tmp_path):
    path = tmp_path / "p.json"
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        for number in range(10_000):
            text = f"{number} " + "a red circle " * 380
            record = {"id": str(number), "prediction": text, "references": [text]}
            file.write(("," if number else "") + json.dumps(record))
        file.write("]")
    assert path.stat().st_size > 95e6
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(path)], capture_output=True, text=True, check=True
    )
    count, megabytes = map(int, done.stdout.split())
    assert count == 10_000
    # The texts themselves take 100.
    assert megabytes < 160
