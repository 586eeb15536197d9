"""Data configurations of the original scripts, as recipes."""

import json

import pytest

from omniflow.data_config import read_data_config
from omniflow.draft import Draft, plain
from omniflow.errors import UsageError
from omniflow.mixing import labels_of, weights_of
from omniflow.resolve import resolve

#: As the authors' example.
TABLES = """\
datasets:
  laion: {instance_data_root: laion.csv, dataset: text2img, name: laion, task_weight: [0.2, 0.8]}
  soundnet:
    instance_data_root: soundnet.csv
    dataset: img2aud
    name: soundnet
    task_weight: [1.0, 0.0]
  audioset_v3: {instance_data_root: audioset.csv, dataset: text2aud, task_weight: [0.6, 0.4]}
  any2anyflux: {instance_data_root: flux, dataset: any2any, name: any2anyflux}
  unused: {instance_data_root: nowhere.csv, dataset: text2img, name: unused}
weights: {laion: 800, soundnet: 100, audioset_v3: 1000, any2anyflux: 1250}
"""

#: As in the fork's repository.
SPLITS = {
    "train": {
        "datasets": [
            {"type": "hf_dataset", "path": "../../dataset/wikitext103/subset",
             "text_field": "text", "modality": "text", "weight": 0.3},
            {"type": "hf_dataset", "path": "../../dataset/coco/subset",
             "text_field": "caption", "modality": "image+text", "weight": 0.3},
            {"type": "coco", "path": "captions.parquet"},
        ],
        "min_length": 3,
    },
    "val": {
        "datasets": [
            {"type": "hf_dataset", "path": "../../dataset/wikitext103/subset",
             "text_field": "text", "modality": "text", "weight": 0.4},
        ],
        "min_length": 3,
    },
}  # fmt: skip


@pytest.fixture
def read(tmp_path):
    def of(content, name="data.yml"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent="\t"))
        return read_data_config(str(path), where="--data-config")

    return of


def entries(draft):
    return [plain(entry) for entry in draft.sections["dataset"]]


def test_tables_become_csv_with_layout_tasks_and_weight(read, registry):
    drafted = read(TABLES)
    assert entries(drafted) == [
        {"name": "csv", "label": "laion", "weight": 800, "path": "laion.csv",
         "layout": "text2img", "tasks": {"t2i": 0.2, "i2t": 0.8}},
        {"name": "csv", "label": "soundnet", "weight": 100, "path": "soundnet.csv",
         "layout": "img2aud", "tasks": {"i2a": 1.0, "a2i": 0.0}},
        {"name": "csv", "label": "audioset_v3", "weight": 1000, "path": "audioset.csv",
         "layout": "text2aud", "tasks": {"t2a": 0.6, "a2t": 0.4}},
        {"name": "csv", "label": "any2anyflux", "weight": 1250, "path": "flux",
         "layout": "any2any", "tasks": {"2iat": 1.0}},
    ]  # fmt: skip
    recipe = resolve(drafted.over(Draft.from_mapping({"objective": "flow"})), registry)
    assert labels_of(recipe.dataset) == ["laion", "soundnet", "audioset_v3", "any2anyflux"]
    assert weights_of(recipe.dataset, "train") == [800, 100, 1000, 1250]


def test_splits_become_saved_data_sets_with_weights_of_both(read, registry):
    drafted = read(SPLITS, "data_config.json")
    leave_out = r"^\s*(?:\S+\s+){0,1}\S*\s*$"
    saved = {"name": "huggingface", "validation_split": None, "test_split": None,
             "leave_out": leave_out}  # fmt: skip
    assert entries(drafted) == [
        {**saved, "label": "wikitext103", "path": "../../dataset/wikitext103/subset",
         "text_column": "text", "weight": 0.3, "validation_weight": 0.4},
        {**saved, "label": "coco", "path": "../../dataset/coco/subset",
         "text_column": "caption", "weight": 0.3, "validation_weight": 0.0},
        {"name": "text", "label": "captions", "path": "captions.parquet", "weight": 1.0,
         "validation_weight": 0.0},
    ]  # fmt: skip
    recipe = resolve(drafted, registry)
    assert weights_of(recipe.dataset, "validation") == [0.4, 0.0, 0.0]


def test_texts_of_fewer_words_are_left_out(read):
    import re

    pattern = entries(read(SPLITS, "data_config.json"))[0]["leave_out"]
    short = [text for text in ("", "a", " a b ", "a b c", "a b c d") if re.search(pattern, text)]
    assert short == ["", "a", " a b "]


def changed(old, new):
    assert old in TABLES
    return TABLES.replace(old, new)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- a\n", r"no data configuration, expected datasets and weights \(data.yml\), or train"),
        ("datasets: {}\n", "no data configuration"),
        (changed("weights: {laion: 800", "weights: {laiom: 800"),
         r":11: no dataset is called 'laiom'\n  did you mean: laion"),
        (changed("dataset: img2aud", "dataset: img2sound"), r":5: no layout is called 'img2sound'"),
        (changed("[0.6, 0.4]", "[0.6, 0.6]"), r":8: task_weight is \[0.6, 0.6\]"),
        (changed("[0.6, 0.4]", "[1.0]"), r"task_weight is \[1.0\]"),
        (changed("instance_data_root: soundnet.csv", "instance_root: a"), "no key of dataset"),
        (changed("audioset_v3: {", "audioset: {").replace("audioset_v3: 1000", "audioset: 1000"),
         "called audioset is trained on with empty captions"),
        (TABLES.split("weights:")[0] + "weights: {}\n", "weights name no dataset"),
        ({"train": {"datasets": []}}, "train names no dataset"),
        ({"train": {"datasets": [{"type": "parquet", "path": "a"}]}}, "no type of dataset"),
        ({"train": {"datasets": [{"type": "coco"}]}}, "a dataset has no path"),
        ({"train": {"datasets": [{"type": "coco", "path": "a", "wait": 1}]}}, "mean: weight"),
        ({**SPLITS, "val": {"datasets": [{"type": "coco", "path": "b.parquet"}]}},
         "'b.parquet' is evaluated on and not trained on"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(content, told, read):
    with pytest.raises(UsageError, match=told):
        read(content, "data.yml" if isinstance(content, str) else "data_config.json")


def test_a_file_that_is_not_there_is_told_with_the_flag():
    with pytest.raises(UsageError, match=r"--data-config: there is no file 'none\.yml'"):
        read_data_config("none.yml", where="--data-config")


def test_a_weight_of_zero_is_told_with_its_line(read, registry):
    with pytest.raises(UsageError, match=r"data\.yml:11: dataset\.laion\.weight is 0\.0"):
        resolve(read(changed("laion: 800", "laion: 0")), registry)
