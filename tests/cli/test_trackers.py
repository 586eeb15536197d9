"""`omniflow train --tracker`."""

import json
import sys

import pytest

from omniflow.draft import Draft, plain


@pytest.fixture
def no_wandb(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)


def test_a_tracker_of_the_command_line_follows_the_run_and_is_kept_in_the_recipe(
    omniflow, small_head, random_backbone, tmp_path
):
    done = omniflow(
        "train", *small_head, "--backbone", random_backbone, "--max-steps", "1",
        "--tracker", "tensorboard", "--output-dir", "run", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert json.loads(done.out)["steps"] == 1
    assert [path.name[:9] for path in (tmp_path / "run/tensorboard").iterdir()] == ["events.ou"]
    recipe = Draft.from_file(str(tmp_path / "run")).sections["training"]
    assert plain(recipe["trackers"]) == ["tensorboard"]


def test_a_tracker_that_is_not_installed_is_refused_with_what_to_install(
    omniflow, no_wandb, tmp_path
):
    refused = omniflow("train", "--tracker", "wandb", "--output-dir", "run")
    assert refused.code == 2
    assert refused.err == (
        "error: --tracker: training.trackers is 'wandb', expected a tracker that is installed\n"
        '  install it with: pip install "omniflow-zoo[wandb]"\n'
    )
    assert not any((tmp_path / "run").glob("*"))


def test_a_dry_run_finds_it_too(omniflow, no_wandb, small_head, random_backbone):
    refused = omniflow(
        "train", *small_head, "--backbone", random_backbone, "--tracker", "wandb", "--dry-run"
    )
    assert refused.code == 2
    assert "--tracker: training.trackers is 'wandb'" in refused.err


def test_a_misspelt_tracker_is_refused_with_the_nearest(omniflow, tmp_path):
    refused = omniflow("train", "--tracker", "tensorboard", "--tracker", "wanbd")
    assert refused.code == 2
    assert "--tracker: training.trackers is 'wanbd'" in refused.err
    assert "did you mean: wandb" in refused.err
    assert list(tmp_path.iterdir()) == []
