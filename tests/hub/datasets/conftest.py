"""Data sets as their repositories on the Hub are laid out, with a few made-up records."""

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

WIKITEXT = "Salesforce/wikitext"
COCO = "lmms-lab/COCO-Caption"
AUDIOCAPS = "OpenSound/AudioCaps"
LLAVA = "liuhaotian/LLaVA-CC3M-Pretrain-595K"


def _jpeg(number):
    file = io.BytesIO()
    Image.new("RGB", (24 + number % 5, 20), (number * 5 % 256, 60, 90)).save(file, "JPEG")
    return file.getvalue()


def _sound(number, end):
    file = io.BytesIO()
    wave = np.sin(np.arange(1600) * (number + 1) / 30) / 2
    soundfile.write(file, wave, 16_000, format=end)
    return file.getvalue()


def _write(folder, files, rows, schema, *, group):
    """Rows in order over several files, so many to a row group."""
    folder.mkdir(parents=True, exist_ok=True)
    edges = np.linspace(0, len(rows), len(files) + 1).astype(int)
    for name, start, end in zip(files, edges, edges[1:], strict=False):
        table = pa.Table.from_pylist(rows[start:end], schema=schema)
        pq.write_table(table, folder / name, row_group_size=group)


def _features(said):
    """The schema that `datasets` writes: types of pictures and sounds stand in its metadata."""
    from datasets import Audio, Features, Image, Sequence, Value

    kinds = {"image": Image(), "audio": Audio(sampling_rate=16_000)}
    return Features(
        {
            name: kinds.get(kind)
            or (Sequence(Value(kind[:-1])) if kind.endswith("*") else Value(kind))
            for name, kind in said.items()
        }
    ).arrow_schema


def _readme(folder, config, splits):
    lines = ["---", "configs:", f"- config_name: {config}", "  data_files:"]
    for split, path in splits.items():
        lines += [f"  - split: {split}", f"    path: {path}"]
    (folder / "README.md").write_text("\n".join([*lines, "---", "# Made up"]))


def _wikitext(folder):
    """Lines of articles: empty ones, headings and paragraphs."""
    config = "wikitext-103-raw-v1"
    names = {"test": 1, "train": 2, "validation": 1}
    for split, count in names.items():
        lines = []
        for number in range(10 if split == "train" else 3):
            lines += ["", f" = Article {number} = \n", ""]
            lines += [f" {split} paragraph {number} @-@ {part} is here . \n" for part in range(3)]
            lines += ["", f" = = Section {number} = = \n", "", f" {split} end of {number} \n"]
        files = [f"{split}-{n:05}-of-{count:05}.parquet" for n in range(count)]
        rows = [{"text": line} for line in lines]
        _write(folder / config, files, rows, _features({"text": "string"}), group=16)
    _readme(folder, config, {split: f"{config}/{split}-*" for split in names})


def _coco(folder):
    """Pictures with five captions each, without any in the test split."""
    schema = _features(
        {"question_id": "string", "image": "image", "question": "string", "answer": "string*",
         "id": "int64", "license": "int8", "file_name": "string", "coco_url": "string",
         "height": "int32", "width": "int32", "date_captured": "string"}
    )  # fmt: skip
    for split, files in (("val", 13), ("test", 14)):
        rows = []
        for number in range(52 if split == "val" else 14):
            name = f"COCO_{split}2014_{number:012}.jpg"
            captions = [f"caption {part} of picture {number}" for part in range(5)]
            rows.append(
                {"question_id": name, "image": {"bytes": _jpeg(number), "path": name},
                 "question": "Please carefully observe the image and describe it.",
                 "answer": captions if split == "val" else None, "id": number, "license": 3,
                 "file_name": name, "coco_url": f"http://images.cocodataset.org/{name}",
                 "height": 20, "width": 24, "date_captured": "2013-11-18 02:53:27"}
            )  # fmt: skip
        names = [f"{split}-{n:05}-of-{files:05}.parquet" for n in range(files)]
        _write(folder / "data", names, rows, schema, group=2)
    _readme(folder, "default", {"val": "data/val-*", "test": "data/test-*"})


def _audiocaps(folder):
    """Sounds with a caption each; held-out ones come five times, with a caption each time."""
    schema = _features(
        {"audiocap_id": "int64", "youtube_id": "string", "start_time": "int64",
         "caption": "string", "audio": "audio"}
    )  # fmt: skip
    for split, files in (("train", 4), ("validation", 1), ("test", 2)):
        rows = []
        for number in range(24 if split == "train" else 10):
            clip = number if split == "train" else number % 2
            end = "WAV" if clip % 2 else "FLAC"
            sound = {"bytes": _sound(clip, end), "path": f"{split}{clip}.{end.lower()}"}
            rows.append(
                {"audiocap_id": 1000 + number, "youtube_id": f"{split}{clip}", "start_time": 30,
                 "caption": f"{split} sound {clip} told {number}", "audio": sound}
            )  # fmt: skip
        names = [f"{split}-{n:05}-of-{files:05}.parquet" for n in range(files)]
        _write(folder / "data", names, rows, schema, group=4)
    splits = ("train", "validation", "test")
    _readme(folder, "default", {split: f"data/{split}-*" for split in splits})


def _noise(number):
    """A picture of about 7 KB, as noise does not compress; its mean tells its number."""
    file = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 80, (64, 64, 3)) + number % 50 * 3
    Image.fromarray(pixels.astype(np.uint8)).save(file, "JPEG", quality=95)
    return file.getvalue()


def _llava(folder):
    """Pictures in an archive, in another order than the conversations about them."""
    chat, metadata = [], []
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number in sorted(range(300), key=lambda number: number * 7 % 300):
            archive.writestr(f"GCC_train_{number:09}.jpg", _noise(number))
    for number in range(300):
        name, caption = f"GCC_train_{number:09}.jpg", f"a thing called {number}"
        asked = ["Describe the image concisely.\n<image>", "<image>\nWhat is this?"][number % 2]
        turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": caption}]
        chat.append({"id": f"GCC_train_{number:09}", "image": name, "conversations": turns})
        metadata.append({"id": f"{number:09}", "image": name, "caption": caption,
                         "blip_caption": "a thing", "url": "http://example.org"})  # fmt: skip
    (folder / "chat.json").write_text(json.dumps(chat))
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "README.md").write_text("---\nlicense: other\nlanguage:\n- en\n---\n# Made up")


@pytest.fixture(scope="session")
def layouts(tmp_path_factory):
    """Folder by Hub id."""
    root = tmp_path_factory.mktemp("layouts")
    written = {WIKITEXT: _wikitext, COCO: _coco, AUDIOCAPS: _audiocaps, LLAVA: _llava}
    folders = {name: root / name.replace("/", "--") for name in written}
    for name, write in written.items():
        folders[name].mkdir()
        write(folders[name])
    return folders


@pytest.fixture
def reached(online, monkeypatch, tmp_path):
    """Lets the data set library of this process, which is awake already, come to the Hub."""
    import datasets.config as config
    from huggingface_hub import HfFileSystem

    cache = tmp_path / "datasets"
    monkeypatch.setattr(config, "HF_ENDPOINT", online.url)
    template = online.url + "/datasets/{repo_id}/resolve/{revision}/{path}"
    monkeypatch.setattr(config, "HUB_DATASETS_URL", template)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(config, "HF_UPDATE_DOWNLOAD_COUNTS", False)
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", Path(cache))
    monkeypatch.setattr(config, "DOWNLOADED_DATASETS_PATH", cache / "downloads")
    monkeypatch.setattr(config, "EXTRACTED_DATASETS_PATH", cache / "downloads" / "extracted")
    HfFileSystem.clear_instance_cache()
    return online


@pytest.fixture
def served(reached, layouts):
    """The Hub, with the four data sets on it."""
    for name, folder in layouts.items():
        reached.add(f"datasets/{name}", folder)
    return reached


@pytest.fixture
def offline(monkeypatch):
    """Sets what `HF_HUB_OFFLINE=1` sets, from a moment on."""
    import datasets.config as config
    from huggingface_hub import constants

    def set_offline():
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(config, "HF_HUB_OFFLINE", True)

    return set_offline
