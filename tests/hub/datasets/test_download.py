"""Data sets brought from a Hub into folders, whole and in part, and what happens on the way."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from zipfile import ZipFile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from omniflow.connection.patience import Patience
from omniflow.datasets.audiocaps import AudioCapsDataset
from omniflow.datasets.coco import CocoDataset
from omniflow.datasets.llava_cc3m import LlavaCc3mDataset
from omniflow.datasets.wikitext import WikitextDataset
from omniflow.downloads.data import DataRequest, download_data
from omniflow.downloads.folder import DownloadFolder
from omniflow.downloads.manifest import Selection
from omniflow.downloads.names import HubData, hub_data
from omniflow.downloads.progress import DownloadReporter
from omniflow.draft import Draft
from omniflow.errors import DataError, OmniFlowError, UnknownNameError, UsageError
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.trainer import train
from omniflow_cli.app import main

TOKEN = "hf_thisIsNobodysTokenAtAll"
COCO = "datasets/lmms-lab/COCO-Caption"
KNOWN = {"coco": CocoDataset, "wikitext": WikitextDataset, "audiocaps": AudioCapsDataset}


class Told(DownloadReporter):
    """Keeps what it is told; stops the download after so many bytes."""

    def __init__(self, stop_after=None):
        self.lines, self.plans, self.count, self.stop_after = [], [], 0, stop_after

    def planned(self, *plan):
        self.plans.append(plan)

    def received(self, count):
        self.count += count
        if self.stop_after is not None and self.count > self.stop_after:
            raise KeyboardInterrupt

    def told(self, line):
        self.lines.append(line)


@pytest.fixture
def request_for(registry, tmp_path):
    def make(name, **options):
        options = {"folder": tmp_path / "got" / name, "workers": 2, **options}
        return DataRequest(hub_data(registry, name), **options)

    return make


def fetch(request, reporter=None, attempts=7):
    reporter = reporter or Told()
    patience = Patience(attempts=attempts, first_wait_s=0.001, tell=reporter.told)
    return download_data(request, reporter, patience=patience)


def parts_sent(hub):
    return {path: count for path, count in hub.sent.items() if path.endswith(".parquet")}


def ids(dataset):
    return [sample.id for sample in dataset]


def part(number):
    return f"data/val-{number:05}-of-00013.parquet"


@pytest.mark.parametrize("name", KNOWN)
def test_a_folder_has_the_samples_of_the_source_and_trains_without_it(
    served, offline, registry, small_backbone, monkeypatch, tmp_path, capsys, name
):
    expected = {split: ids(KNOWN[name](split=split)) for split in ("train", "test")}
    monkeypatch.chdir(tmp_path)
    assert main(["download", "data", name, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)[0]
    assert told["folder"] == f"data/{name}"
    served.close()
    offline()
    options = {"name": name, "path": f"data/{name}"}
    for split, there in expected.items():
        assert ids(KNOWN[name](split=split, path=f"data/{name}")) == there
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    task = {"coco": "i2t", "audiocaps": "a2t"}.get(name, "t2t")
    draft = Draft.from_mapping({
        "backbone": "small", "dataset": options,
        "objective": {"name": "flow", "tasks": [task]},
        "training": {"batch_size": 2, "samples": 0, "max_steps": 2, "eval_batches": 1,
                     "cache": False,
                     "bad_records": 0},
    })  # fmt: skip
    train(resolve(draft, registry), output_dir=tmp_path / "run", registry=registry)
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
    # Once more, without a Hub: it is there.
    assert main(["download", "data", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0] == {**told, "fetched": 0}


def test_the_manifest_says_where_everything_is_from(served, layouts, request_for, tmp_path):
    folder = shutil.copytree(layouts["lmms-lab/COCO-Caption"], tmp_path / "licensed")
    card = folder / "README.md"
    card.write_text(card.read_text().replace("---\nconfigs", "---\nlicense: cc-by-4.0\nconfigs"))
    commit = served.add(COCO, folder)
    report = fetch(request_for("coco"))
    got = report.request.folder
    manifest = json.loads((got / "manifest.json").read_text())
    assert manifest["format"] == "omniflow.data/1"
    assert manifest["complete"] is True
    assert manifest["licence"] == "cc-by-4.0"
    assert manifest["source"]["id"] == "lmms-lab/COCO-Caption"
    assert manifest["source"]["revision"] == commit
    assert manifest["splits"]["val"]["records"] == 52
    assert len(manifest["files"]) == 13
    for file in manifest["files"]:
        content = (got / file["path"]).read_bytes()
        assert content == (folder / file["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
        assert len(content) == file["size"]
    assert "license: cc-by-4.0" in (got / "README.md").read_text()
    # Of the split without captions nothing was fetched.
    assert not any("test" in path for path in parts_sent(served))


def test_other_splits_are_added_and_files_that_are_there_are_not_fetched_again(served, request_for):
    fetch(request_for("audiocaps", splits=("validation",)))
    served.sent.clear()
    reporter = Told()
    report = fetch(request_for("audiocaps", splits=("test",)), reporter)
    assert report.manifest.splits == ("validation", "test")
    assert all("test-" in path for path in parts_sent(served))
    folder = report.request.folder
    for split in ("validation", "test"):
        assert len(AudioCapsDataset(split=split, path=str(folder))) == 2
    served.sent.clear()
    reporter = Told()
    assert fetch(request_for("audiocaps"), reporter).manifest.records("train") == 24
    assert len(reporter.plans[0]) == 5
    assert reporter.plans[0][2] == 4
    (folder / "data" / "train-00001-of-00004.parquet").unlink()
    served.sent.clear()
    assert len(fetch(request_for("audiocaps")).fetched) == 1
    served.sent.clear()
    assert len(fetch(request_for("audiocaps", is_forced=True)).fetched) == 7
    assert len(parts_sent(served)) == 7


def test_what_was_begun_is_gone_on_with_where_it_broke_off(served, request_for, layouts):
    whole = (layouts["lmms-lab/COCO-Caption"] / part(5)).stat().st_size
    served.faults[part(5)] = [("cut", 5000), 500, 503]
    request = request_for("coco", workers=1)
    with pytest.raises(UsageError, match="cannot be fetched"):
        fetch(request, attempts=2)
    assert not request.folder.exists()
    done = set(parts_sent(served))
    served.sent.clear()
    served.faults.clear()
    report = fetch(request)
    assert not done & parts_sent(served).keys()
    assert report.manifest.records("val") == 52
    received = parts_sent(served)[part(5)]
    assert received == whole - 5000


def test_a_process_that_is_killed_loses_the_part_in_work(hub, layouts, served, tmp_path):
    script = """
import os, signal, sys
from pathlib import Path
from omniflow.downloads.data import DataRequest, download_data
from omniflow.downloads.names import HubData
from omniflow.downloads.progress import DownloadReporter
class Killer(DownloadReporter):
    count = 0
    def received(self, count):
        self.count += count
        if self.count > 60_000:
            os.kill(os.getpid(), signal.SIGKILL)
data = HubData("coco", "coco", "lmms-lab/COCO-Caption", None, {"train": "val"})
download_data(DataRequest(data, Path(sys.argv[1]), workers=1), Killer())
"""
    folder = tmp_path / "got" / "coco"
    environment = {**os.environ, **hub.environment(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", script, str(folder)], env=environment)
    assert done.returncode == -signal.SIGKILL
    assert not folder.exists()
    before = parts_sent(served)
    assert len(before) >= 4
    served.sent.clear()
    data = HubData("coco", "coco", "lmms-lab/COCO-Caption", None, {"train": "val"})
    report = fetch(DataRequest(data, folder, workers=1))
    assert len(before.keys() & parts_sent(served).keys()) <= 1
    assert report.manifest.records("val") == 52
    assert len(CocoDataset(path=str(folder))) > 40


def test_two_at_one_folder_are_one_too_many(served, request_for):
    request = request_for("coco")
    with (
        DownloadFolder(request.folder).working(),
        pytest.raises(UsageError, match="is being downloaded by another process"),
    ):
        fetch(request)
    assert len(fetch(request).fetched) == 13
    assert [file.name for file in request.folder.parent.iterdir()] == ["coco"]


def test_a_manifest_takes_nothing_from_elsewhere(served, request_for):
    """Whoever made the folder could have its neighbours' files linked into it."""
    request = request_for("coco")
    fetch(request)
    place = request.folder / "manifest.json"
    content = json.loads(place.read_text())
    for path in ("../mine.parquet", str(place)):
        content["files"][0]["path"] = path
        place.write_text(json.dumps(content))
        with pytest.raises(DataError, match="is not the manifest of a download"):
            fetch(request)


def test_bursts_are_waited_out(served, request_for):
    revision = served.commit(COCO)
    api = f"/api/datasets/lmms-lab/COCO-Caption/revision/{revision}"
    served.faults = {
        part(2): [500, 500, 502, 503, 504],
        part(3): [(429, {"Retry-After": "0"})] * 5,
        part(4): [("cut", 700), ("reset", 50), ("cut", 0)],
        api: [500],
    }
    reporter = Told()
    assert fetch(request_for("coco"), reporter).manifest.records("val") == 52
    assert not any(served.faults.values())
    assert any("the Hub answered 500; again in" in line for line in reporter.lines)
    assert "the Hub has had too many requests; again in 0 s (5 of 6)" in reporter.lines


def test_a_file_that_arrives_damaged_is_fetched_again_and_then_refused(served, request_for):
    served.faults[part(1)] = ["flip"]
    reporter = Told()
    assert fetch(request_for("coco"), reporter).manifest.records("val") == 52
    assert f"{part(1)} arrived damaged; it is fetched again" in reporter.lines
    served.faults[part(1)] = ["flip", "flip"]
    with pytest.raises(OmniFlowError, match="arrived damaged twice"):
        fetch(request_for("coco", folder=request_for("coco").folder.with_name("other")))


def test_a_changed_source_has_only_what_is_other_fetched(served, layouts, request_for, tmp_path):
    folder = shutil.copytree(layouts["lmms-lab/COCO-Caption"], tmp_path / "changing")
    first = served.add(COCO, folder)
    fetch(request_for("coco"))
    table = pq.read_table(folder / part(7))
    pq.write_table(table.slice(0, 1), folder / part(7))
    second = served.commit(COCO)
    served.sent.clear()
    reporter = Told()
    report = fetch(request_for("coco"), reporter)
    assert parts_sent(served).keys() == {part(7)}
    assert report.manifest.revision == second
    assert report.manifest.records("val") == 49
    assert f"from {first[:12]} to {second[:12]}" in reporter.lines[0]


@pytest.fixture
def large(served, layouts, tmp_path):
    """COCO's layout with 3 files of 4 row groups of 200 records each."""
    folder = tmp_path / "large"
    schema = pq.read_schema(layouts["lmms-lab/COCO-Caption"] / part(0))
    row = pq.read_table(layouts["lmms-lab/COCO-Caption"] / part(0)).slice(0, 1).to_pylist()[0]
    noise = np.random.default_rng(0)
    (folder / "data").mkdir(parents=True)
    for number in range(3):
        rows = [
            {**row, "question_id": f"{number}/{each}",
             "image": {"bytes": row["image"]["bytes"] + noise.bytes(600), "path": f"{each}.jpg"}}
            for each in range(800)
        ]  # fmt: skip
        file = folder / "data" / f"val-{number:05}-of-00003.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file, row_group_size=200)
    served.add(COCO, folder)
    return folder


def test_streaming_fetches_the_row_groups_that_it_needs(
    served, large, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    line = ["download", "data", "--coco", "--streaming", "--max-samples", "1000"]
    assert main([*line, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)[0]
    assert told["records"] == {"val": 1000}
    files = [large / "data" / f"val-{number:05}-of-00003.parquet" for number in range(3)]
    sizes = [file.stat().st_size for file in files]
    sent = parts_sent(served)
    end = 1 << 16  # The end of a file, where its row groups are told of.
    assert sizes[0] - 1000 < sent[f"data/{files[0].name}"] < sizes[0] + end + 1000
    assert sent[f"data/{files[1].name}"] < sizes[1] / 4 + end + 1000
    assert f"data/{files[2].name}" not in sent
    found = CocoDataset(path="data/coco", validation_share=0.0, test_share=0.0)
    assert ids(found) == [f"{n // 800}/{n % 800}" for n in range(1000)]
    assert found[0].image.size == (24, 20)
    # Less of it than that is there: other records, which need a word.
    assert main(["download", "data", "coco", "--max-samples", "10"]) == 2
    assert "--force replaces it" in capsys.readouterr().err
    assert main(["download", "data", "coco", "--max-samples", "10", "--force"]) == 0
    assert len(CocoDataset(path="data/coco", validation_share=0.0, test_share=0.0)) == 10


def test_streamed_parts_are_gone_on_with_and_survive_bursts(
    served, large, request_for, monkeypatch
):
    monkeypatch.setattr("omniflow.downloads.parts.PART_BYTES", 1000)
    selection = Selection(is_streaming=True, subset_fraction=0.5)
    request = request_for("coco", selection=selection, workers=1)
    with pytest.raises(KeyboardInterrupt):
        fetch(request, Told(stop_after=400_000))
    begun = parts_sent(served)
    served.sent.clear()
    last = "data/val-00002-of-00003.parquet"
    served.faults[last] = [500, ("cut", 10), (429, {"Retry-After": "0"}), ("reset", 100)]
    report = fetch(request)
    assert report.manifest.records("val") == 3 * 400
    assert len(report.manifest.files) == 6
    assert (
        parts_sent(served)["data/val-00000-of-00003.parquet"]
        < begun["data/val-00000-of-00003.parquet"]
    )
    found = CocoDataset(path=str(request.folder), validation_share=0.0, test_share=0.0)
    assert ids(found) == [f"{number}/{each}" for number in range(3) for each in range(400)]


def test_a_token_goes_to_the_hub_and_nowhere_else(
    served, monkeypatch, capsys, tmp_path, request_for
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    served.private[COCO] = TOKEN
    assert main(["download", "data", "coco", "--json", "--verbose"]) == 0
    shown = capsys.readouterr()
    served.private[COCO] = "another"
    assert main(["download", "data", "coco", "--force", "--verbose"]) == 2
    refused = capsys.readouterr()
    assert "or it is private" in refused.err
    assert TOKEN not in shown.out + shown.err + refused.out + refused.err
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or TOKEN.encode() not in file.read_bytes(), file
    # What is there stays, though the Hub has refused.
    assert len(CocoDataset(path="data/coco")) > 40


def test_mistakes_are_told_before_anything_is_fetched(served, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "wikitext").mkdir(parents=True)
    (tmp_path / "data" / "wikitext" / "mine.txt").write_text("mine")
    for line, expected in {
        "": "no name says what to fetch",
        "cocoo": "did you mean: coco",
        "coco --split training": "did you mean: train",
        "coco --max-samples 0": "--max-samples: max_samples is 0",
        "coco --subset-fraction 2": "--subset-fraction: subset_fraction is 2.0",
        "coco --workers 0": "--workers: workers is 0",
        "coco --workers many": "--workers",
        "acme/nothing": "there is no dataset acme/nothing, or it is private",
        "wikitext": "has files that no download has put there",
        "coco --output-dir data/wikitext/mine.txt": "mine.txt/coco cannot be written (Not a",
    }.items():
        assert main(["download", "data", *line.split()]) == 2, line
        assert expected in capsys.readouterr().err, line
    assert not parts_sent(served)


def test_a_full_disk_is_told_before(served, request_for, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(OmniFlowError, match="room on the disk, or less, by --max-samples"):
        fetch(request_for("coco"))
    assert not parts_sent(served)


def test_files_that_are_no_parquet_are_fetched_whole_alone(served, request_for, tmp_path):
    folder = tmp_path / "lines"
    folder.mkdir()
    (folder / "train.csv").write_text("text\none\ntwo\nthree\n")
    served.add("datasets/acme/lines", folder)
    with pytest.raises(UsageError, match="no parquet file"):
        fetch(request_for("acme/lines", selection=Selection(True, 2)))
    report = fetch(request_for("acme/lines"))
    assert (report.request.folder / "train.csv").read_text() == "text\none\ntwo\nthree\n"
    with pytest.raises(UnknownNameError, match="known: train"):
        fetch(request_for("acme/lines", splits=("dev",)))


def test_a_file_that_is_no_parquet_though_it_is_called_so_is_told(
    served, layouts, request_for, tmp_path
):
    folder = shutil.copytree(layouts["lmms-lab/COCO-Caption"], tmp_path / "damaged")
    (folder / part(3)).write_bytes(b"nothing of the kind")
    served.add(COCO, folder)
    for selection in (Selection(), Selection(True)):
        with pytest.raises(DataError, match="cannot be read"):
            fetch(request_for("coco", selection=selection))


def test_conversations_and_the_pictures_that_they_are_about(served, request_for, tmp_path):
    whole = fetch(request_for("llava-cc3m"))
    expected = [(sample.id, sample.text) for sample in LlavaCc3mDataset()]
    found = list(LlavaCc3mDataset(path=str(whole.request.folder)))
    assert [(sample.id, sample.text) for sample in found] == expected
    assert all(sample.image is not None for sample in found)
    options = {"selection": Selection(True, 5), "folder": tmp_path / "few"}
    few = fetch(request_for("llava-cc3m", **options))
    shares = {"validation_share": 0.0, "test_share": 0.0}
    found = list(LlavaCc3mDataset(path=str(few.request.folder), **shares))
    first = [sample.id for sample in LlavaCc3mDataset(**shares)][:5]
    assert [sample.id for sample in found] == first
    assert all(sample.image is not None for sample in found)
    names = ZipFile(few.request.folder / "images.zip").namelist()
    assert len(names) == len(set(names)) <= 5
    assert fetch(request_for("llava-cc3m", **options)).fetched == frozenset()
    with pytest.raises(UsageError, match="has no splits at its source"):
        fetch(request_for("llava-cc3m", splits=("train",)))
