"""Whole commands that push and pull, and what they say."""

import json
import shutil
from pathlib import Path

import pytest

from omniflow.assembly import load
from omniflow_cli.app import main

TRAIN = [
    "train", "--head", "linear", "--max-steps", "1", "--batch-size", "2", "--max-length", "16",
    "--set", "training.eval_batches=1", "--set", "training.samples=0", "--device", "cpu",
]  # fmt: skip


@pytest.fixture
def small(random_backbone, tmp_path, monkeypatch):
    """The command that trains on a small backbone, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return [*TRAIN, "--backbone", str(random_backbone), "--output-dir", "run"]


@pytest.fixture(scope="module")
def trained(random_backbone, tmp_path_factory):
    """A run of one step."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    said = ["--backbone", str(random_backbone), "--output-dir", str(folder)]
    assert main([*TRAIN, *said]) == 0
    return folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """The same, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained, "run", symlinks=True)


def told(capsys):
    return json.loads(capsys.readouterr().out)


def test_a_run_is_pushed_at_its_end(uploads, small, capsys):
    assert main([*small, "--push-to-hub", "acme/mine", "--private", "--json"]) == 0
    hub = told(capsys)["hub"]
    assert uploads.hub.commit("acme/mine") == hub["commit"]
    assert "acme/mine" in uploads.hub.private
    [entry] = json.loads(Path("run/hub.json").read_text())["pushes"]
    assert (entry["commit"], entry["model"]) == (hub["commit"], "best")


@pytest.mark.parametrize(
    ("repo", "token", "expected"),
    [
        ("other/mine", None, "your token may not write to other/mine"),
        ("acme/mine", "hf_somethingThatNobodyKnows", "the Hub does not know your token"),
        ("acme/mine", "", "there is no token to push to acme/mine with"),
        ("no name", None, "is no name of a repository"),
    ],
)
def test_rights_are_looked_at_before_the_first_step(
    uploads, small, capsys, monkeypatch, repo, token, expected
):
    if token is not None:
        monkeypatch.setenv("HF_TOKEN", token)
    assert main([*small, "--push-to-hub", repo]) == 2
    assert expected in capsys.readouterr().err
    assert not Path("run").exists()


def test_a_dry_run_looks_at_rights_and_makes_nothing(uploads, small, capsys):
    assert main([*small, "--push-to-hub", "acme/mine", "--dry-run"]) == 0
    assert main([*small, "--push-to-hub", "other/mine", "--dry-run"]) == 2
    assert "your token may not write to other/mine" in capsys.readouterr().err
    assert uploads.hub.repositories == {}


def test_a_run_whose_push_fails_is_whole_and_can_be_pushed(uploads, small, hasty, capsys):
    commit = "/api/models/acme/mine/commit/main"
    uploads.hub.faults[commit] = [500] * 99
    assert main([*small, "--push-to-hub", "acme/mine"]) == 1
    shown = capsys.readouterr()
    assert "steps" in shown.out
    assert "run is whole and can be pushed again: omniflow push run acme/mine" in shown.err
    assert not Path("run/hub.json").exists()
    assert load("run").parts.head.name == "omniflow-zoo:linear"
    uploads.hub.faults.clear()
    assert main(["push", "run", "acme/mine", "--json"]) == 0
    assert told(capsys)["commit"] == uploads.hub.commit("acme/mine")


def test_what_is_pulled_is_kept_up_to_date(uploads, run, capsys, random_backbone):
    random = {"backbone.path": str(random_backbone)}
    assert main(["push", "run", "acme/mine"]) == 0
    capsys.readouterr()
    assert main(["pull", "acme/mine", "here", "--json"]) == 0
    first = told(capsys)
    assert first["fetched"] == len(first["files"]) == 4
    assert main(["pull", "acme/mine", "here", "--json"]) == 0
    assert told(capsys)["fetched"] == 0
    assert main(["push", "run/final", "acme/mine", "--license", "mit"]) == 0
    # Of the same size, and other weights.
    Path("here/model.safetensors").write_bytes(Path("here/model.safetensors").read_bytes()[::-1])
    manifest = json.loads(Path("here/manifest.json").read_text())
    manifest["source"]["revision"] = "0" * 40
    Path("here/manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(["pull", "acme/mine", "here", "--json"]) == 0
    assert told(capsys)["fetched"] >= 2
    assert load("here", options=random).parts.head.name == "omniflow-zoo:linear"
    where = ["--checkpoint", "here", "--set", f"backbone.path={random_backbone}"]
    assert main(["generate", *where, "--limit", "1", "--max-new-tokens", "2"]) == 0
    assert main(["sample", *where, "--task", "t2t", "--prompt", "a", "--steps", "1"]) == 0
    assert main(["pull", f"acme/mine@{first['commit']}", "here"]) == 0
    assert (
        json.loads(Path("here/manifest.json").read_text())["source"]["revision"] == first["commit"]
    )


def test_a_folder_with_other_things_is_left_alone(uploads, run, capsys, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.bin").write_bytes(b"x")
    uploads.hub.add("acme/other", tmp_path / "other")
    assert main(["pull", "acme/other", "here"]) == 2
    assert "acme/other on the Hub holds no model of ours" in capsys.readouterr().err
    assert main(["push", "run", "acme/mine"]) == 0
    assert main(["pull", "acme/mine", "other"]) == 2
    assert "the folder holds other things than a model that was pulled" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["weights.bin"]
