"""Predictions and media in files: gone on with after a crash, shared by processes."""

import json
import os
import signal
import time

import numpy as np
import pytest
import torch
from PIL import Image

import omniflow
from omniflow.errors import DataError, RecordError, UsageError
from omniflow.evaluation.predictions import read_predictions
from omniflow.generation.generate_file import generate_file
from omniflow.generation.partial import PartialFile, partial_path, read_partials
from omniflow.generation.plan import plan_generation
from omniflow.generation.predict import generate_predictions
from omniflow.generation.slots import in_slots
from omniflow.interfaces import Dataset, Sample, StreamingDataset
from omniflow.tasks import Task
from omniflow.training.processes import Processes

T2T = Task.parse("t2t")
SHORT = {"noise_level": 0.7, "steps": 2, "max_new_tokens": 5}


class Lines(Dataset):
    """Numbered texts, of which number 3 cannot be read."""

    def __init__(self, count=10, stop=None):
        self.count = count
        self.stop = stop
        self.read = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.stop:
            raise KeyboardInterrupt
        self.read.append(index)
        if index == 3:
            raise RecordError("3", "it is damaged")
        return Sample(id=str(index), text=f"line {index}", image=Image.new("RGB", (64, 64)))


class Streamed(Lines, StreamingDataset):
    """The same, and nobody knows how many there are."""

    def records(self, start=0):
        yield from range(start, self.count)

    def decode(self, record):
        return Lines.__getitem__(self, record)

    __len__ = StreamingDataset.__len__


class Share(Processes):
    """One of two processes, whose agreement is not waited for."""

    def gather(self, value):
        return [value] * self.count


@pytest.fixture(scope="module")
def model(random_backbone):
    backbone = {"name": "folder", "path": str(random_backbone)}
    return omniflow.build(backbone=backbone, head="linear", refiner="none")


@pytest.fixture
def generate(model, tmp_path):
    """Generate into `tmp_path`, by default the predictions of ten lines."""

    def run(dataset=None, name="p.json", task=T2T, work=None, **options):
        settings = dict(SHORT)
        decoding = omniflow_decoding(settings.pop("max_new_tokens"))
        plan = plan_generation(model.backbone, task, decoding=decoding, **settings)
        dataset = Lines() if dataset is None else dataset
        return generate_file(
            model, dataset, plan, tmp_path / name, about={"model": "m"},
            work=work or {"seed": 1}, **{"batch_size": 2, **options},
        )  # fmt: skip

    return run


def omniflow_decoding(length):
    from omniflow.interfaces.text_decoding import TextDecoding

    return TextDecoding(max_new_tokens=length)


@pytest.fixture
def whole(generate, tmp_path):
    generate(name="whole.json")
    return (tmp_path / "whole.json").read_bytes()


def test_the_file_holds_what_is_predicted_and_what_is_left_out(generate, model, tmp_path):
    made = generate()
    expected = generate_predictions(model, Lines(), task=T2T, **SHORT)
    assert read_predictions(tmp_path / "p.json").records == tuple(expected)
    content = json.loads((tmp_path / "p.json").read_text())
    assert content["skipped"] == made.skipped == [{"id": "3", "reason": "it is damaged"}]
    assert (content["model"], content["task"], made.resumed) == ("m", "t2t", 0)
    assert os.listdir(tmp_path) == ["p.json"]


@pytest.mark.parametrize("size", [1, 4, 16])
def test_the_file_does_not_depend_on_the_batch_size(generate, whole, tmp_path, size):
    generate(batch_size=size)
    assert (tmp_path / "p.json").read_bytes() == whole


def test_an_interrupted_run_goes_on_where_it_was(generate, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        generate(Lines(stop=7))
    assert not (tmp_path / "p.json").exists()
    partial = partial_path(tmp_path / "p.json")
    # The crash came in the middle of a line.
    with partial.open("ab") as file:
        file.write(b'{"number": 6, "record": {"id": "6", "pre')
    rest = Lines()
    # Another batch size may go on as well.
    made = generate(rest, batch_size=3)
    assert made.resumed == 6
    assert set(rest.read) == {6, 7, 8, 9}
    assert (tmp_path / "p.json").read_bytes() == whole
    assert not partial.exists()


def test_a_damaged_partial_file_is_good_up_to_the_damage(generate, whole, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        generate(Lines(stop=7))
    partial = partial_path(tmp_path / "p.json")
    lines = partial.read_bytes().splitlines(keepends=True)
    partial.write_bytes(b"".join([*lines[:3], b"\0\0\0\0\n", *lines[4:]]))
    assert generate().resumed == 2
    assert (tmp_path / "p.json").read_bytes() == whole
    partial.write_bytes(b"")
    assert generate().resumed == 0


def test_other_work_does_not_go_on_from_it(generate, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        generate(Lines(stop=7))
    before = partial_path(tmp_path / "p.json").read_bytes()
    with pytest.raises(UsageError, match="begun by another command, with other seed") as raised:
        generate(work={"seed": 2})
    assert "remove" in raised.value.notes[0]
    assert partial_path(tmp_path / "p.json").read_bytes() == before


def test_a_limit_may_be_raised(generate, whole, tmp_path):
    assert len(generate(limit=5).records) == 4
    with pytest.raises(KeyboardInterrupt):
        generate(Lines(stop=8))
    assert len(generate(limit=6, name="p.json").records) == 5
    generate(limit=100)
    assert (tmp_path / "p.json").read_bytes() == whole


def test_processes_make_their_shares_of_the_same_file(generate, whole, tmp_path):
    first, second = Lines(), Lines()
    with pytest.raises(KeyboardInterrupt):
        generate(Lines(stop=8), processes=Share(0, 2))
    generate(second, processes=Share(1, 2))
    assert set(second.read) == {2, 3, 6, 7}
    assert generate(first, processes=Share(0, 2)).resumed == 8
    assert set(first.read) == {8, 9}
    assert (tmp_path / "p.json").read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ["p.json", "whole.json"]


def test_a_stream_is_read_to_its_end(generate, whole, tmp_path):
    seen = []
    generate(Streamed(), progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "p.json").read_bytes() == whole
    assert seen[-1] == (10, None)
    assert len(generate(Streamed(), limit=5).records) == 4


def test_nothing_to_make_is_told(generate, tmp_path):
    with pytest.raises(DataError, match="no records in this split"):
        generate(Lines(0))
    assert os.listdir(tmp_path) == []


def test_one_process_at_a_time_writes(tmp_path):
    path = partial_path(tmp_path / "p.json")
    with PartialFile(path, {}) as partial:
        with pytest.raises(UsageError, match="another process is writing it"):
            PartialFile(path, {}).__enter__()
        partial.add({3: {"record": {"id": "\u2028\ud800"}}})
    assert read_partials(tmp_path / "p.json", {})[3]["record"] == {"id": "\u2028\ud800"}


def test_a_record_keeps_its_place_in_a_computation():
    shapes = []

    def compute(positions):
        shapes.append(list(positions))
        return [f"{row}:{position}" for row, position in enumerate(positions)]

    assert in_slots([2, 3, 4], compute, slots=4) == ["2:0", "3:1", "0:2"]
    assert shapes == [[0, 0, 0, 1], [2, 2, 2, 2]]
    assert in_slots([2, 3], compute, slots=None) == ["0:0", "1:1"]


def test_media_are_files_with_a_manifest(random_backbone, parity_data, tmp_path):
    external = parity_data / "pipeline_tiny" / "external"
    model = omniflow.build(
        backbone={
            "name": "folder", "path": str(random_backbone), "clip": str(external / "clip_vit_l"),
        },
        head="linear", refiner="none",
    )  # fmt: skip
    plan = plan_generation(model.backbone, Task.parse("t2i"), steps=1)

    def generate(name, dataset, **options):
        return generate_file(
            model, dataset, plan, tmp_path / name, about={"model": "m"}, work={}, **options
        )

    made = generate("whole", Lines(5), batch_size=4)
    assert made.path == tmp_path / "whole" / "manifest.json"
    manifest = json.loads(made.path.read_text())
    assert manifest["format"] == "omniflow.media/1"
    assert [record["image"] for record in manifest["records"]] == [
        f"00000{number}.png" for number in (0, 1, 2, 4)
    ]
    assert manifest["records"][1]["references"] == ["line 1"]
    pictures = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.png")}
    assert np.asarray(Image.open(tmp_path / "whole" / "000000.png")).std() > 0
    with pytest.raises(KeyboardInterrupt):
        generate("again", Lines(5, stop=4), batch_size=1)
    # A picture that has gone missing is made again.
    (tmp_path / "again" / "000001.png").unlink()
    assert generate("again", Lines(5), batch_size=1).resumed == 3
    again = {path.name: path.read_bytes() for path in (tmp_path / "again").glob("*.png")}
    assert again == pictures


def in_a_child(work):
    """Do something in a copy of this process; gives its id."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    return child


def killed_at(partial, size, child):
    """Kill a process once its partial file is so long; whether it was still running."""
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if partial.exists() and partial.stat().st_size >= size:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            return os.WIFSIGNALED(status)
        time.sleep(0.001)
    return False


def test_a_run_that_is_killed_at_random_comes_to_the_same_file(generate, tmp_path):
    threads = torch.get_num_threads()
    # A copy of a process has no other threads to compute with.
    torch.set_num_threads(1)
    try:
        whole = generate(Lines(60), name="whole.json").path.read_bytes()
        partial = partial_path(tmp_path / "p.json")
        random = np.random.default_rng()
        kills = 0
        for _ in range(4):
            before = partial.stat().st_size if partial.exists() else 0
            child = in_a_child(lambda: generate(Lines(60)))
            kills += killed_at(partial, before + random.integers(1, 2000), child)
        assert kills
        assert generate(Lines(60)).resumed > 0
    finally:
        torch.set_num_threads(threads)
    assert (tmp_path / "p.json").read_bytes() == whole
    assert sorted(os.listdir(tmp_path)) == ["p.json", "whole.json"]
