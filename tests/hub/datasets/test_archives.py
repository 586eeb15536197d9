"""Data sets in archives on a Hub: what is fetched of them, and what happens on the way."""

import io
import json
import tarfile
from itertools import islice

import numpy as np
import pytest

import omniflow.datasets.byte_files as byte_files
from omniflow.datasets.llava_cc3m import LlavaCc3mDataset
from omniflow.datasets.webdataset import WebDataset
from omniflow.datasets.zip_members import ZipMembers
from omniflow.errors import DataError, UsageError

LLAVA = "datasets/liuhaotian/LLaVA-CC3M-Pretrain-595K"
SPLITS = ("train", "validation", "test")
WHOLE = {"validation_share": 0.0, "test_share": 0.0}


def content(sample):
    picture = None if sample.image is None else sample.image.tobytes()
    return sample.id, sample.text, picture, sample.references


def size(hub, name, path):
    return (hub.repositories[name] / path).stat().st_size


@pytest.fixture
def shards(reached, tmp_path):
    """Three shards of four texts on the Hub, with members beside that take room."""
    folder = tmp_path / "shards" / "data"
    folder.mkdir(parents=True)
    for shard in range(3):
        with tarfile.open(folder / f"part-{shard:02}.tar", "w") as archive:
            for number in range(4 * shard, 4 * shard + 4):
                for end, data in (("txt", b"text %d" % number), ("bin", b"x" * 40_000)):
                    info = tarfile.TarInfo(f"{number:03}.{end}")
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    reached.add("datasets/acme/shards", folder.parent)
    return reached


def test_llava_is_fetched_and_read_in_place(served):
    splits = {split: list(LlavaCc3mDataset(split=split)) for split in SPLITS}
    ids = [sample.id for samples in splits.values() for sample in samples]
    assert sorted(ids) == [f"GCC_train_{number:09}" for number in range(300)]
    assert all(0 < len(splits[split]) < 12 for split in ("validation", "test"))
    for sample in splits["train"][::40] + splits["test"]:
        number = int(sample.id[-9:])
        assert sample.text == f"a thing called {number}"
        assert sample.references == (sample.text,)
        assert sample.image.size == (64, 64)
        assert np.mean(sample.image) == pytest.approx(39.5 + number % 50 * 3, abs=2)
    assert {path for path in served.sent if path != "README.md"} == {"chat.json", "images.zip"}
    assert served.sent["images.zip"] == size(served, LLAVA, "images.zip")


@pytest.mark.parametrize("split", SPLITS)
def test_a_stream_of_llava_has_the_samples_that_are_read_by_position(served, split):
    options = {"split": split, "validation_share": 0.02, "test_share": 0.04}
    mapped = [content(sample) for sample in islice(LlavaCc3mDataset(**options), 12)]
    assert len(mapped) > 2
    stream = LlavaCc3mDataset(**options, streaming=True)
    for start in (0, len(mapped) - 2, 1):
        records = islice(stream.records(start), len(mapped) - start)
        assert [content(stream.decode(record)) for record in records] == mapped[start:]


def test_a_stream_fetches_the_directory_and_what_it_comes_to(served, monkeypatch):
    monkeypatch.setattr(byte_files, "BLOCK", 4096)
    stream = LlavaCc3mDataset(streaming=True)
    stream.restrict_to({"text", "image"})
    directory = served.sent["images.zip"]
    whole = size(served, LLAVA, "images.zip")
    assert directory < 300 * 80  # A name, and where it lies, for each.
    records = stream.records()
    samples = [stream.decode(next(records)) for _ in range(5)]
    assert all(sample.image is not None for sample in samples)
    assert served.sent["images.zip"] - directory < 5 * 9_000
    assert served.sent["images.zip"] < whole / 20
    assert served.sent["chat.json"] <= 4096 + 1 < size(served, LLAVA, "chat.json") / 10
    assert "metadata.json" not in served.sent
    # Another split shares the directory; texts alone need none of it.
    before = served.sent["images.zip"]
    LlavaCc3mDataset(split="validation", streaming=True).restrict_to({"image"})
    assert served.sent["images.zip"] == before + 1  # Whether stretches are sent.
    texts = LlavaCc3mDataset(split="test", streaming=True)
    texts.restrict_to({"text"})
    assert next(iter(texts)).image is None
    assert served.sent["images.zip"] == before + 1


def test_a_server_without_ranges_sends_all_of_it_once(served):
    expected = [content(sample) for sample in LlavaCc3mDataset(split="test")]
    served.has_ranges = False
    served.sent.clear()
    stream = LlavaCc3mDataset(split="test", streaming=True)
    assert [content(sample) for sample in stream] == expected
    assert "sends no parts of files, so images.zip was fetched whole" in stream.notices()[0]


def test_a_hub_in_trouble_is_asked_again(served, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    expected = [content(sample) for sample in LlavaCc3mDataset(split="test")]
    stream = LlavaCc3mDataset(split="test", streaming=True)
    served.faults["images.zip"] = [429, 500, 503, ("reset", 20)]
    served.faults["chat.json"] = [503]
    assert [content(sample) for sample in stream] == expected
    assert served.faults == {"images.zip": [], "chat.json": []}


def test_what_was_fetched_is_read_without_a_request(served, offline):
    before = [content(sample) for sample in LlavaCc3mDataset(split="validation")]
    offline()
    served.asked.clear()
    for streaming in (False, True):
        dataset = LlavaCc3mDataset(split="validation", streaming=streaming)
        assert [content(sample) for sample in dataset] == before
    assert served.asked == []


def test_what_was_not_fetched_is_told_offline(served, offline):
    served.add(LLAVA, served.repositories[LLAVA])
    LlavaCc3mDataset()
    offline()
    texts = LlavaCc3mDataset()
    with pytest.raises(DataError, match="images.zip is not here\n  HF_HUB_OFFLINE is set"):
        texts.restrict_to({"image"})


def test_a_revision_and_where_there_is_none(served):
    commit = served.commit(LLAVA)
    for streaming in (False, True):
        assert LlavaCc3mDataset(revision=commit, streaming=streaming)[0].image is not None
        with pytest.raises(UsageError, match="has no revision 'v9'"):
            LlavaCc3mDataset(revision="v9", streaming=streaming)


def test_a_connection_lost_while_streaming_is_told(served):
    stream = LlavaCc3mDataset(streaming=True)
    stream.restrict_to({"image"})
    served.broken.add(f"/{LLAVA}/resolve/{served.commit(LLAVA)}/images.zip")
    with pytest.raises(UsageError, match="LLaVA-CC3M-Pretrain-595K cannot be fetched"):
        stream.decode(next(stream.records()))
    assert isinstance(stream._images, ZipMembers)


@pytest.mark.parametrize("streaming", [False, True])
def test_shards_on_the_hub(shards, streaming):
    pattern = "hf://datasets/acme/shards/data/part-{00..02}.tar"
    dataset = WebDataset(path=pattern, streaming=streaming, **WHOLE)
    expected = [(f"part-{n // 4:02}/{n:03}", f"text {n}") for n in range(12)]
    assert [(sample.id, sample.text) for sample in dataset] == expected
    records = list(dataset.records(6))
    assert [dataset.decode(record).text for record in records] == [text for _, text in expected[6:]]
    globbed = WebDataset(path=pattern.replace("{00..02}", "*"), streaming=streaming, **WHOLE)
    assert [sample.id for sample in globbed] == [name for name, _ in expected]
    pinned = pattern.replace("shards/", f"shards@{shards.commit('datasets/acme/shards')}/")
    assert WebDataset(path=pinned, streaming=streaming, **WHOLE)[3].text == "text 3"
    with pytest.raises(DataError, match="there is no file data/other-"):
        WebDataset(path="hf://datasets/acme/shards/data/other-*.tar", streaming=streaming)


@pytest.mark.parametrize("has_ranges", [True, False])
def test_shards_on_the_web_are_streamed(shards, has_ranges, monkeypatch):
    monkeypatch.setattr(byte_files, "BLOCK", 16_384)
    monkeypatch.setenv("HF_TOKEN", "hf_nobody")
    shards.has_ranges = has_ranges
    web = f"{shards.url}/datasets/acme/shards/resolve/main/data/"
    stream = WebDataset(path=f"{web}part-{{00..02}}.tar", streaming=True, **WHOLE)
    records = stream.records()
    assert stream.decode(next(records)).text == "text 0"
    assert "data/part-01.tar" not in shards.sent
    if has_ranges:
        assert shards.sent["data/part-00.tar"] < 40_000
    assert [stream.decode(record).text for record in records] == [f"text {n}" for n in range(1, 12)]
    assert [stream.decode(record).text for record in stream.records(9)] == ["text 9", "text 10",
                                                                           "text 11"]  # fmt: skip
    assert not any("hf_nobody" in json.dumps(headers) for headers in shards.headers)
    with pytest.raises(UsageError, match=r"part-07.tar: cannot be fetched \(.*404"):
        list(WebDataset(path=f"{web}part-07.tar", streaming=True, **WHOLE))
