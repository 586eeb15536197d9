"""Runs on data sets that come from the Hub, fetched first or as they come."""

import json
import math
import os
import pickle
import subprocess
import sys
from itertools import islice
from types import SimpleNamespace

import pytest

from omniflow.datasets.audiocaps import AudioCapsDataset
from omniflow.datasets.coco import CocoDataset
from omniflow.draft import Draft
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.trainer import train

TASKS = {"wikitext": ("t2t",), "coco": ("t2t", "t2i", "i2t"), "audiocaps": ("t2a", "a2t"),
         "llava-cc3m": ("t2t", "t2i", "i2t")}  # fmt: skip


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", TASKS)
def test_two_steps(served, registry, small_backbone, name, streaming, tmp_path):
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    for task in TASKS[name]:
        draft = Draft.from_mapping({
            "backbone": "small", "objective": {"name": "flow", "tasks": [task]},
            "dataset": {"name": name, "streaming": streaming},
            "training": {
                "batch_size": 2, "samples": 0, "max_steps": 2, "log_interval": 1, "eval_batches": 1,
                "cache": False, "bad_records": 0, "lr": 1e-3, "shuffle_block": 8,
            },
        })  # fmt: skip
        run = tmp_path / task
        train(resolve(draft, registry), output_dir=run, registry=registry)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if line["split"] == "train"]
        assert len(losses) == 2
        assert all(math.isfinite(loss) and loss > 0 for loss in losses)
        assert not (run / "skipped.jsonl").exists()


@pytest.mark.parametrize("streaming", [False, True])
def test_other_processes_decode_records(served, streaming):
    for dataset in (CocoDataset(streaming=streaming), AudioCapsDataset(streaming=streaming)):
        records = list(islice(dataset.records(), 3))
        expected = [dataset.decode(record) for record in records]
        twin = pickle.loads(pickle.dumps(dataset))
        found = [twin.decode(record) for record in pickle.loads(pickle.dumps(records))]
        for left, right in zip(found, expected, strict=True):
            assert (left.id, left.text, left.references) == (right.id, right.text, right.references)
            assert (left.image is None) == (right.image is None)


def test_the_command_line_streams_from_the_mirror_of_the_environment(hub, layouts, tmp_path):
    hub.add("datasets/Salesforce/wikitext", layouts["Salesforce/wikitext"])
    line = [
        "train", "--dataset", "wikitext", "--set", "dataset.streaming=true", "--max-steps", "1",
        "--batch-size", "2", "--output-dir", str(tmp_path / "run"), "--json",
        "--set", "training.eval_batches=1", "--max-length", "16",
    ]  # fmt: skip
    environment = {**os.environ, **hub.environment(tmp_path / "home"), "HF_TOKEN": "hf_nobody"}
    done = subprocess.run(
        [sys.executable, "-m", "omniflow_cli", *line],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
    assert "hf_nobody" not in done.stdout + done.stderr
    assert "train-00000-of-00002.parquet" in " ".join(hub.sent)


def test_training_from_a_stream_survives_a_burst_and_asks_nobody_else(
    served, registry, small_backbone, tmp_path, monkeypatch
):
    import datasets.config
    import datasets.load
    from huggingface_hub.utils import _http

    waits, counted = [], []
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=waits.append))
    # As it is for everybody who has not switched it off.
    monkeypatch.delenv("HF_UPDATE_DOWNLOAD_COUNTS", raising=False)
    monkeypatch.setattr(datasets.config, "HF_UPDATE_DOWNLOAD_COUNTS", True)
    monkeypatch.setattr(datasets.load, "get_session", lambda: counted.append(1))
    first = "data/val-00000-of-00013.parquet"
    served.faults[first] = [500, 503, (429, {"Retry-After": "0"}), 502]
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    draft = Draft.from_mapping({
        "backbone": "small", "objective": {"name": "flow", "tasks": ["i2t"]},
        "dataset": {"name": "coco", "streaming": True},
        "training": {"batch_size": 2, "samples": 0, "max_steps": 2, "eval_batches": 1,
                     "cache": False,
                     "bad_records": 0, "shuffle_block": 4},
    })  # fmt: skip
    train(resolve(draft, registry), output_dir=tmp_path / "run", registry=registry)
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()
    assert served.faults[first] == []
    assert len(waits) == 4
    assert counted == []
