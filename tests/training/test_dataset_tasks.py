"""Every dataset trains two steps of every task that its modalities allow."""

import csv
import json
import math
import tarfile

import pytest

from omniflow.datasets.scenes import ScenesDataset
from omniflow.draft import Draft
from omniflow.media.audio import write_wav
from omniflow.resolve import resolve
from omniflow.tasks import COMMON_TASKS, Task
from omniflow.training.trainer import train

COUNT = 12

#: Tasks of a dataset, which may name a layout of the original: there, the two that it is for.
TASKS = {
    **dict.fromkeys(("scenes", "csv any2any", "jsonl", "folder", "webdataset"), COMMON_TASKS),
    "text": ("t2t",),
    "csv text2img": ("t2i", "i2t"),
    "csv img2aud": ("i2a", "a2i"),
    "csv text2aud": ("t2a", "a2t"),
}


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Scenes as files, side by side."""
    folder = tmp_path_factory.mktemp("media")
    for sample in ScenesDataset(size=COUNT, image_size=16):
        sample.image.save(folder / f"{sample.id}.png")
        write_wav(folder / f"{sample.id}.wav", sample.audio)
        (folder / f"{sample.id}.txt").write_text(sample.text)
    return folder


@pytest.fixture(scope="module")
def source(media, tmp_path_factory):
    """The options of a dataset."""
    folder = tmp_path_factory.mktemp("tables")
    rows = [
        {
            "caption": (media / f"train-{n}.txt").read_text(),
            "caption2": "seen",
            "img_path": str(media / f"train-{n}.png"),
            "audio_path": str(media / f"train-{n}.wav"),
        }
        for n in range(COUNT)
    ]
    with (folder / "table.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with tarfile.open(folder / "shard.tar", "w") as shard:
        for path in sorted(media.iterdir()):
            shard.add(path, path.name)
    (folder / "lines.txt").write_text("".join(row["caption"] + "\n" for row in rows))

    def options(name):
        kind, _, layout = name.partition(" ")
        paths = {
            "csv": folder / "table.csv", "jsonl": folder / "table.jsonl", "folder": media,
            "text": folder / "lines.txt", "webdataset": folder / "shard.tar",
        }  # fmt: skip
        said = {"size": COUNT, "image_size": 16} if kind == "scenes" else {"path": str(paths[kind])}
        return {"name": kind, **said, **({"layout": layout} if layout else {})}

    return options


@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name, tasks in TASKS.items() for task in tasks]
)
def test_two_steps(name, task, source, small_registry, tmp_path):
    objective = {"name": "flow", "tasks": [task]}
    training = {"batch_size": 2, "samples": 0, "max_steps": 2, "log_interval": 1, "eval_batches": 1}
    draft = Draft.from_mapping({
        "backbone": "small", "objective": objective, "dataset": source(name),
        "training": {**training, "cache": False, "bad_records": 0, "lr": 1e-3},
    })  # fmt: skip
    result = train(resolve(draft, small_registry), output_dir=tmp_path, registry=small_registry)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["split"] == "train"]
    assert len(losses) == result.steps == 2
    assert all(math.isfinite(loss) and loss > 0 for loss in losses)
    assert set(Task.parse(task).made) <= result.last.keys()
