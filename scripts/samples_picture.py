"""Draw the docs' picture of what `tiny` makes: a column a test scene, a row a task.

    python scripts/samples_picture.py docs/images/samples.png

The three rows on top are what is given: the scene as a picture, as a sound and in words. Sounds are
drawn as log-mels, time to the right and pitch upwards.
"""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

import omniflow
from omniflow.datasets.scenes import ScenesDataset
from omniflow.interfaces import Audio
from omniflow.models.log_mel import LogMelConfig, log_mel
from omniflow.tasks import Task

TASKS = ("t2i", "a2i", "at2i", "t2a", "i2a", "it2a", "i2t", "a2t", "ia2t")
WIDTH, MARGIN, LABEL = 132, 8, 44
PICTURE, SOUND, TEXT = 96, 64, 78
LOG_MEL = LogMelConfig(frames=128, hop_length=128)


def picture_cell(picture: Image.Image) -> Image.Image:
    """A picture, enlarged."""
    return picture.resize((PICTURE, PICTURE), Image.Resampling.BICUBIC)


def sound_cell(sound: Audio) -> Image.Image:
    """A sound as a log-mel: [128 wide, 64 high]."""
    wave = torch.from_numpy(np.asarray(sound.waveform[:1], dtype=np.float32))
    wave = torch.nn.functional.pad(wave, (0, max(0, LOG_MEL.samples - wave.shape[1])))
    levels = log_mel(wave[:, : LOG_MEL.samples], LOG_MEL)[0].numpy().T[::-1]
    shades = np.clip((levels + 9.0) / 11.0, 0.0, 1.0) * 255
    return Image.fromarray(255 - shades.astype(np.uint8)).convert("RGB")


def text_cell(text: str) -> Image.Image:
    """A text in small letters."""
    cell = Image.new("RGB", (WIDTH, TEXT), "white")
    lines = textwrap.wrap(text, 25)[:6]
    ImageDraw.Draw(cell).multiline_text(
        (0, 2), "\n".join(lines), "black", font=ImageFont.load_default(10), spacing=2
    )
    return cell


def row_of(made: Any) -> list[Image.Image]:
    """A cell for each sample of what a task made."""
    if made.images:
        return [picture_cell(picture) for picture in made.images]
    if made.sounds:
        return [sound_cell(sound) for sound in made.sounds]
    return [text_cell(text) for text in made.texts]


def drawn(rows: dict[str, list[Image.Image]]) -> Image.Image:
    """All rows under one another, each with its name."""
    count = max(len(row) for row in rows.values())
    heights = [max(cell.height for cell in row) + MARGIN for row in rows.values()]
    sheet = Image.new("RGB", (LABEL + count * (WIDTH + MARGIN), sum(heights)), "white")
    pen, top = ImageDraw.Draw(sheet), 0
    for (name, row), height in zip(rows.items(), heights, strict=True):
        pen.text((4, top + 4), name, "black", font=ImageFont.load_default(12))
        for column, cell in enumerate(row):
            sheet.paste(cell, (LABEL + column * (WIDTH + MARGIN), top))
        top += height
    return sheet


def main() -> None:
    """Generate every task for some scenes and write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--samples", type=int, default=6)
    parser.add_argument("--steps", type=int, help="of sampling; by default the model's own number")
    parser.add_argument("--folder", help="a model in the published layout instead of tiny")
    options = parser.parse_args()
    backbone = {"name": "folder", "path": options.folder} if options.folder else "tiny"
    model = omniflow.build(backbone=backbone, head="linear", refiner="none")
    scenes = ScenesDataset(split="test", size=options.samples)
    samples = [scenes[index] for index in range(options.samples)]
    given = {
        "text": ("prompt", [sample.text for sample in samples]),
        "image": ("image", [sample.image for sample in samples]),
        "audio": ("audio", [sample.audio for sample in samples]),
    }
    rows = {
        "image": [picture_cell(picture) for picture in given["image"][1] if picture],
        "audio": [sound_cell(sound) for sound in given["audio"][1] if sound],
        "text": [text_cell(text) for text in given["text"][1] if text],
    }
    steps = {} if options.steps is None else {"steps": options.steps}
    for name in TASKS:
        inputs: dict[str, Any] = dict(given[modality] for modality in Task.parse(name).given)
        rows[name] = row_of(model.generate(name, seed=0, **steps, **inputs))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    drawn(rows).quantize(128).save(options.output, optimize=True)


if __name__ == "__main__":
    main()
