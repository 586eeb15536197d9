"""What a person calls a model: folders, runs, patterns and Hub ids."""

from pathlib import Path

import pytest

from omniflow.errors import CheckpointError, UsageError
from omniflow.generation.find_models import find_models, outputs_of


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run with three checkpoints, of which the last is the best, and a report."""
    monkeypatch.chdir(tmp_path)
    for name in ("best", "checkpoints/step-9", "checkpoints/step-10", "checkpoints/step-100"):
        folder = tmp_path / "run" / name
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    (tmp_path / "run" / "latest").symlink_to("checkpoints/step-100")
    (tmp_path / "run" / "best.png").write_bytes(b"")
    return Path("run")


def folders(said):
    return [str(model.folder) for model in find_models(said)]


def test_a_run_stands_for_its_best_and_a_folder_for_itself(run):
    assert folders("run") == ["run/best"]
    assert folders("run/checkpoints/step-9") == ["run/checkpoints/step-9"]


def test_a_pattern_stands_for_every_model_that_fits_once(run):
    assert folders("run/best*") == ["run/best"]
    assert folders("run/checkpoints/step-*") == [
        f"run/checkpoints/step-{number}" for number in (9, 10, 100)
    ]
    assert len(folders("run/*")) == 2
    assert folders("run/**/step-1?") == ["run/checkpoints/step-10"]


def test_several_models_get_outputs_of_their_own():
    models = [Path("a/best"), Path("b/best")]
    assert outputs_of(Path("p.json"), models[:1]) == [Path("p.json")]
    assert outputs_of(Path("out/p.json"), models) == [
        Path("out/p-a-best.json"), Path("out/p-b-best.json"),
    ]  # fmt: skip
    steps = [Path("a/step-9"), Path("a/step-10")]
    assert outputs_of(Path("m"), steps) == [Path("m-step-9"), Path("m-step-10")]


def test_what_is_no_model_is_told(run):
    with pytest.raises(CheckpointError, match="there is no such folder") as raised:
        find_models("runn", where="--checkpoint")
    assert raised.value.nearest == ("run",)
    assert "Hub id OWNER/NAME" in raised.value.render()
    with pytest.raises(CheckpointError, match="no model fits the pattern; 1 other"):
        find_models("run/*.png")
    with pytest.raises(CheckpointError, match="no model in this folder"):
        find_models("run/checkpoints")


def test_a_hub_id_that_cannot_be_had_is_told(run):
    with pytest.raises(UsageError, match="nobody/nothing"):
        find_models("nobody/nothing")
