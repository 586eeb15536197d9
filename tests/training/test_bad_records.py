"""Records that cannot be read: others in their place, a list of them, and an end of too many."""

import csv
import json

import pytest

from omniflow.datasets.scenes import ScenesDataset
from omniflow.draft import Draft
from omniflow.errors import ConfigError, DataError, RecordError
from omniflow.interfaces import Dataset, Sample
from omniflow.recipe import TrainingOptions
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.joined import JoinedDataset
from omniflow.training.order import SampleOrder
from omniflow.training.processes import Processes
from omniflow.training.skipped import LEAST_READ, SkippedRecords
from omniflow.training.trainer import train

BAD = {f"table:{line}" for line in range(2, 42) if line % 5 == 0}


class Gaps(Dataset):
    """Numbers, of which some cannot be read."""

    def __init__(self, length, bad):
        self.length = length
        self.bad = bad

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.bad:
            raise RecordError(str(index), "it is bad")
        return Sample(id=str(index))


def ids(order, positions):
    return [sample.id for sample in order.samples(positions)]


def test_the_next_readable_record_of_the_order_takes_the_place():
    whole, gaps = (SampleOrder(Gaps(20, bad), seed=5) for bad in ((), (3, 4, 11)))
    expected = ids(whole, range(45))
    for position in reversed(range(44)):
        if expected[position] in ("3", "4", "11"):
            expected[position] = expected[position + 1]
    assert ids(gaps, range(40)) == expected[:40]
    assert [ids(gaps, [position])[0] for position in range(40)] == expected[:40]
    assert [*ids(gaps, range(7)), *ids(gaps, range(7, 40))] == expected[:40]


def test_a_dataset_of_nothing_readable_ends_the_search():
    with pytest.raises(DataError, match="1000 records in a row cannot be read, or serve no task"):
        SampleOrder(Gaps(4, range(4)), seed=0).samples([1])


def test_joined_datasets_say_which_of_them_it_was():
    joined = JoinedDataset([Gaps(2, ()), Gaps(3, (1,))], ["first", "second"])
    with pytest.raises(RecordError) as caught:
        joined[3]
    assert (caught.value.record, caught.value.dataset) == ("1/1", "second")


@pytest.fixture
def recipe(small_registry, tmp_path):
    with (tmp_path / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["caption", "id"])
        scenes = ScenesDataset(size=40, image=False, audio=False)
        for number in range(40):
            is_bad = f"table:{number + 2}" in BAD
            rows.writerow(["" if is_bad else scenes[number].text, number])

    def make(**training):
        options = {
            "batch_size": 4, "samples": 0, "max_steps": 12, "log_interval": 2, "eval_interval": 4,
            "save_interval": 4, "eval_batches": 3, "lr": 1e-2, "bad_records": 0.3, **training,
        }  # fmt: skip
        said = {
            "backbone": "small",
            "head": {"name": "mlp", "hidden_dim": 8},
            "refiner": "none",
            "dataset": {"name": "csv", "path": str(tmp_path / "table.csv"),
                        "validation_share": 0.2, "test_share": 0.0, "seed": 1},
            "training": options,
        }  # fmt: skip
        return resolve(Draft.from_mapping(said), small_registry)

    return make


def listed(folder):
    return [json.loads(line) for line in (folder / "skipped.jsonl").read_text().splitlines()]


def test_a_run_goes_on_and_lists_each_once_also_resumed_and_with_workers(
    recipe, runs, small_registry, tmp_path
):
    result = train(recipe(), output_dir=tmp_path / "run", registry=small_registry)
    lines = listed(tmp_path / "run")
    assert {line["id"] for line in lines} == BAD
    assert len(lines) == len(BAD)
    assert {line["split"] for line in lines} == {"train", "validation"}
    assert {(line["dataset"], line["reason"]) for line in lines} == {("csv", "the text is empty")}
    logged = [m for m in runs.metrics(tmp_path / "run") if m["split"] == "train"]
    counts = [figures["records_skipped"] for figures in logged]
    assert counts == sorted(counts)
    # Of 48 positions and four evaluations of 11 records, every fifth or so.
    assert 10 <= counts[-1] <= result.records_skipped <= 25
    stopper = runs.StopAt(6)
    with pytest.raises(InterruptedRunError):
        train(recipe(workers=1), output_dir=tmp_path / "again", registry=small_registry,
              reporter=stopper)  # fmt: skip
    train(recipe(), output_dir=tmp_path / "again", registry=small_registry, resume=True)
    runs.assert_same(tmp_path / "run", tmp_path / "again")
    assert listed(tmp_path / "again") == lines


@pytest.mark.parametrize("streaming", [False, True])
def test_lines_of_a_text_file_are_such_records(small_registry, runs, tmp_path, streaming):
    lines = [b"line %d" % number + b"\xff" * (number % 5 == 0) for number in range(1, 41)]
    (tmp_path / "book.txt").write_bytes(b"\n".join(lines))
    said = {
        "backbone": "small", "head": {"name": "mlp", "hidden_dim": 8}, "refiner": "none",
        "dataset": {"name": "text", "path": str(tmp_path / "book.txt"), "test_share": 0.0,
                    "validation_share": 0.3, "streaming": streaming},
        "training": {"batch_size": 4, "samples": 0, "max_steps": 12, "log_interval": 2, "lr": 1e-2,
                     "eval_interval": 4, "save_interval": 4, "bad_records": 0.3},
    }  # fmt: skip
    recipe = resolve(Draft.from_mapping(said), small_registry)
    result = train(recipe, output_dir=tmp_path / "run", registry=small_registry)
    found = {line["id"]: line["reason"] for line in listed(tmp_path / "run")}
    assert found == {f"book:{number}": "byte 0xff is not UTF-8" for number in range(5, 41, 5)}
    assert result.records_skipped >= len(found)
    with pytest.raises(InterruptedRunError):
        train(recipe, output_dir=tmp_path / "again", registry=small_registry,
              reporter=runs.StopAt(6))  # fmt: skip
    train(recipe, output_dir=tmp_path / "again", registry=small_registry, resume=True)
    runs.assert_same(tmp_path / "run", tmp_path / "again")
    assert listed(tmp_path / "again") == listed(tmp_path / "run")


def test_too_many_end_the_run_with_the_first_of_the_list(recipe, small_registry, tmp_path):
    with pytest.raises(DataError, match="records of the .* split cannot be read") as caught:
        train(recipe(bad_records=0.0), output_dir=tmp_path / "run", registry=small_registry)
    told = caught.value.render()
    assert caught.value.exit_code == 2
    assert "expected none of them (training.bad_records)" in told
    first = listed(tmp_path / "run")[0]
    assert f"csv, record {first['id']}: the text is empty" in told
    assert str(tmp_path / "run" / "skipped.jsonl") in told
    assert not (tmp_path / "run" / "latest").exists()


def test_the_share_is_of_what_was_read_a_thousand_at_least(tmp_path):
    def skipped(limit, reads):
        records = SkippedRecords(tmp_path / "skipped.jsonl", "gaps", limit, Processes())
        for good, bad in reads:
            found = [RecordError(str(n), "bad") for n in range(bad)]
            records.note("train", [*[Sample(id="a")] * good, *found])
            records.settle("nothing kept")
        return records

    least = LEAST_READ // 100
    assert skipped(0.01, [(0, least)]).total == least
    with pytest.raises(DataError, match=f"{least + 1} of {least + 1} records of the train split"):
        skipped(0.01, [(0, least), (0, 1)])
    assert skipped(0.01, [(4000, 0), (950, 50)]).total == 50
    with pytest.raises(DataError, match="51 of 5001 .* expected at most 0.01 of them"):
        skipped(0.01, [(4000, 0), (950, 51)])
    assert skipped(1.0, [(0, 5000)]).total == 5000


def test_a_list_goes_on_where_a_killed_run_left_it(tmp_path):
    path = tmp_path / "skipped.jsonl"

    def note(*numbers):
        records = SkippedRecords(path, "gaps", 1.0, Processes())
        records.note("train", [RecordError(str(number), "bad") for number in numbers])
        records.settle("")
        return records

    state = note(1, 2).state()
    with path.open("a") as file:
        file.write('{"dataset": "ga')
    note(2, 3)
    assert [line["id"] for line in listed(tmp_path)] == ["1", "2", "3"]
    resumed = SkippedRecords(path, "gaps", 1.0, Processes())
    resumed.restore(json.loads(json.dumps(state)))
    assert resumed.total == 2
    assert resumed.state() == state


def test_a_share_beyond_one_is_refused():
    with pytest.raises(ConfigError, match=r"bad_records is 2, expected a number in \[0, 1\]"):
        TrainingOptions(bad_records=2)
