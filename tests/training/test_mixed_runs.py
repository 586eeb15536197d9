"""Runs on several datasets of files: what they are told, and samples that serve no task."""

import json
import re

import pytest

from omniflow.datasets.scenes import ScenesDataset
from omniflow.draft import Draft
from omniflow.errors import ConfigError, DataError
from omniflow.objectives.flow import FlowObjective
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.preflight_data import check_data
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train


class Listener(Reporter):
    def started(self, plan, step, notices):
        self.plan, self.notices = plan, notices


@pytest.fixture
def source(tmp_path):
    """Forty lines, of which three in four have a picture."""
    folder = tmp_path / "source"
    folder.mkdir()
    lines = []
    for number, sample in enumerate(ScenesDataset(size=40, image_size=16, audio=False)):
        sample.image.save(folder / f"{number}.png")
        line = {"text": sample.text, "image": f"{number}.png", "id": number}
        lines.append(json.dumps(line if number % 4 else {"text": sample.text, "id": number}))
    (folder / "lines.jsonl").write_text("\n".join(lines))
    return {"name": "jsonl", "path": str(folder / "lines.jsonl"), "id_column": "id",
            "validation_share": 0.2, "test_share": 0.0}  # fmt: skip


@pytest.fixture
def recipe(small_registry):
    def make(datasets, tasks=("t2i",), **training):
        return resolve(Draft.from_mapping({
            "backbone": "small", "objective": {"name": "flow", "tasks": list(tasks)},
            "dataset": datasets,
            "training": {
                "batch_size": 4, "samples": 0, "max_steps": 8, "epochs": 9, "log_interval": 2,
                "lr": 1e-3,
                "eval_interval": 4, "eval_batches": 2, "save_interval": 2, "cache": False,
                "bad_records": 0, **training,
            },
        }), small_registry)  # fmt: skip

    return make


SCENES = {"name": "scenes", "size": 12, "image_size": 16, "audio": False}


def test_samples_that_serve_no_task_are_left_out_and_counted_also_when_resumed(
    recipe, source, runs, small_registry, tmp_path
):
    said = recipe([{**source, "weight": 3}, SCENES])
    listener = Listener()
    result = train(said, output_dir=tmp_path / "run", registry=small_registry, reporter=listener)
    assert listener.notices[0].startswith("mixing jsonl 75 % (")
    sizes = re.findall(r"\((\d+) samples\)", listener.notices[0])
    assert listener.plan.samples == sum(map(int, sizes))
    logged = [line for line in runs.metrics(tmp_path / "run") if line["split"] == "train"]
    counts = [line["records_unserved"] for line in logged]
    assert counts == sorted(counts)
    # A quarter of the 24 lines that were drawn, and of those that were evaluated three times.
    assert 3 <= counts[-1] <= result.records_unserved <= 16
    assert result.records_skipped == 0
    assert not (tmp_path / "run" / "skipped.jsonl").exists()
    assert logged[-1]["samples_jsonl"] + logged[-1]["samples_scenes"] == 32
    with pytest.raises(InterruptedRunError):
        train(said, output_dir=tmp_path / "again", registry=small_registry,
              reporter=runs.StopAt(3))  # fmt: skip
    train(said, output_dir=tmp_path / "again", registry=small_registry, resume=True)
    runs.assert_same(tmp_path / "run", tmp_path / "again")


def test_a_dataset_that_serves_no_task_ends_the_run_before_it_begins(
    recipe, source, small_registry, tmp_path
):
    said = recipe([{**source, "weight": 1, "label": "lines"}, SCENES], tasks=["t2a"])
    with pytest.raises(
        DataError, match="dataset lines: it serves no task of the run: .* bring tex"
    ):
        train(said, output_dir=tmp_path / "run", registry=small_registry)
    report = check_data(said, FlowObjective(tasks=["t2a"]), small_registry)
    assert any("serves no task of the run" in str(finding) for finding in report.findings)
    assert not (tmp_path / "run").exists()


def test_tasks_of_a_dataset_have_to_be_tasks_of_the_run(recipe, source, small_registry, tmp_path):
    said = recipe([{**source, "tasks": ["t2i", "i2t"]}, SCENES])
    with pytest.raises(ConfigError, match=r"dataset\.jsonl\.tasks is 'i2t', expected tasks of the"):
        train(said, output_dir=tmp_path / "run", registry=small_registry)


def test_shares_are_told_before_a_run(recipe, source, small_registry):
    said = recipe([{**source, "weight": 3, "validation_weight": 0}, SCENES])
    checks = {
        (c.dataset, c.split): c
        for c in check_data(said, FlowObjective(tasks=["t2i"]), small_registry).checks
    }
    assert checks["jsonl", "train"].share == 0.75
    assert checks["scenes", "train"].share == 0.25
    assert ("jsonl", "validation") not in checks
    assert checks["scenes", "validation"].share == 1.0
    by_size = check_data(recipe([source, SCENES]), FlowObjective(tasks=["t2i"]), small_registry)
    train_checks = [check for check in by_size.checks if check.split == "train"]
    sizes = [check.size for check in train_checks]
    assert [check.share for check in train_checks] == [size / sum(sizes) for size in sizes]
