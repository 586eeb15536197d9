"""A folder of real pictures, sounds and texts, and writers of tables."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from omniflow.interfaces.dataset import Audio
from omniflow.media.audio import write_wav


@pytest.fixture
def media(tmp_path):
    """`media/0.png`, `0.wav` and `0.txt` to `5...`; each picture has a colour of its own."""
    folder = tmp_path / "media"
    folder.mkdir()
    for number in range(6):
        Image.new("RGB", (20, 20), (number * 40, 10, 20)).save(folder / f"{number}.png")
        wave = np.sin(np.arange(800, dtype=np.float32) * (number + 1) / 20)[None] / 2
        write_wav(folder / f"{number}.wav", Audio(wave, 16_000))
        (folder / f"{number}.txt").write_text(f"caption {number}\n", encoding="utf-8")
    return folder


@pytest.fixture
def write_csv(tmp_path):
    def write(rows, name="table.csv", **format):
        path = tmp_path / name
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, **format).writerows(rows)
        return path

    return write


@pytest.fixture
def write_jsonl(tmp_path):
    def write(rows, name="table.jsonl"):
        path = tmp_path / name
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write
