"""A folder of pets: two tables of captions, pictures and sounds, and recipes that read them."""

import csv

import numpy as np
import pytest
from PIL import Image

from omniflow.draft import Draft
from omniflow.interfaces.dataset import Audio
from omniflow.media.audio import write_wav
from omniflow.resolve import resolve

#: Records for training and for validation.
TRAIN, VALIDATION = 20, 5


def write_table(path, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["caption", "image", "audio", "licence"])
        writer.writerows(rows)


@pytest.fixture
def pets(tmp_path):
    """`train.csv` and `validation.csv`, whole: texts differ, pictures are one of two."""
    wave = np.sin(np.arange(4_000, dtype=np.float32) / 9)[None] / 2
    write_wav(tmp_path / "dog.wav", Audio(wave, 8_000))
    for number in range(TRAIN + VALIDATION):
        Image.new("RGB", (32, 24), (number, 99, 20)).save(tmp_path / f"{number}.png")
    rows = [
        (f"pet number {number}", f"{number}.png", "dog.wav" if number == 3 else "", "none")
        for number in range(TRAIN + VALIDATION)
    ]
    write_table(tmp_path / "train.csv", rows[:TRAIN])
    write_table(tmp_path / "validation.csv", rows[TRAIN:])
    return tmp_path


@pytest.fixture
def recipe_of(registry, random_backbone):
    """A recipe of a dataset; its objective reads texts and pictures."""

    def make(dataset, objective=None, **training):
        said = {
            "backbone": {"name": "folder", "path": str(random_backbone)},
            "objective": objective or {"name": "flow", "tasks": ["i2t", "t2i"], "max_length": 4},
            "dataset": dataset,
            "training": training,
        }
        return resolve(Draft.from_mapping(said), registry)

    return make


@pytest.fixture
def table_of(pets):
    """The dataset of both tables, with no test split."""
    return {
        "name": "csv",
        "path": str(pets / "train.csv"),
        "validation_path": str(pets / "validation.csv"),
        "validation_share": 0,
        "test_share": 0,
    }
