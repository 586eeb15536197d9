"""One run at a time in a folder."""

import os
from pathlib import Path

import pytest

from omniflow.errors import OmniFlowError, UsageError
from omniflow.training.claim import CLAIM, claimed
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train
from omniflow_cli.run_place import Place, choose_place


class Doing(Reporter):
    """Does something after the third step."""

    def __init__(self, action):
        self.action = action

    def stepped(self, step):
        if step == 3:
            self.action()


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_in_the_folder_is_refused_and_the_first_goes_on(
    short_recipe, small_registry, runs, tmp_path, resume
):
    recipe = short_recipe(samples=0)

    def intrude():
        problem = "another run is at work" if resume else "the folder is not empty"
        with pytest.raises(UsageError, match=problem) as caught:
            train(recipe, output_dir=tmp_path / "run", registry=small_registry, resume=resume)
        assert str(tmp_path / "run") in str(caught.value)
        assert not resume or f"(process {os.getpid()} on " in str(caught.value)
        assert caught.value.exit_code == 2

    train(recipe, output_dir=tmp_path / "alone", registry=small_registry)
    train(recipe, output_dir=tmp_path / "run", registry=small_registry, reporter=Doing(intrude))
    runs.assert_same(tmp_path / "alone", tmp_path / "run")
    assert not (tmp_path / "run" / CLAIM).exists()


def test_what_a_killed_run_leaves_of_its_claim_is_in_nobodys_way(
    short_recipe, small_registry, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    place = choose_place(None, None, lambda: "vq-mlp").folder
    place.mkdir(parents=True)
    (place / CLAIM).touch()
    assert choose_place(None, None, lambda: "vq-mlp").folder == place
    result = train(short_recipe(max_steps=1, samples=0), output_dir=place, registry=small_registry)
    assert result.steps == 1


def test_a_run_at_work_is_not_moved_aside(tmp_path):
    folder = tmp_path / "run"
    with claimed(folder):
        (folder / "recipe.yaml").touch()
        with pytest.raises(UsageError, match="another run is at work"):
            Place(folder, is_unfinished=True).make_room()
    assert [path.name for path in folder.iterdir()] == ["recipe.yaml"]
    Place(folder, is_unfinished=True).make_room()
    assert not folder.exists()


def test_a_claim_leaves_no_folder_that_was_not_there(tmp_path):
    with claimed(tmp_path / "runs" / "a"):
        assert (tmp_path / "runs" / "a").is_dir()
    assert not (tmp_path / "runs" / "a").exists()
    (tmp_path / "mine").mkdir()
    with claimed(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_link_in_the_place_of_a_claim_is_refused_and_not_followed(tmp_path, is_there):
    (tmp_path / "run").mkdir()
    target = tmp_path / "elsewhere" / "diary"
    if is_there:
        target.parent.mkdir()
        target.write_text("mine")
    (tmp_path / "run" / CLAIM).symlink_to(target)
    with (
        pytest.raises(UsageError, match=r"\.claim: is a link, expected no file of this name"),
        claimed(tmp_path / "run"),
    ):
        pass
    assert (tmp_path / "run" / CLAIM).is_symlink()
    assert not is_there or target.read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="a folder in which none can be made")
def test_a_folder_that_cannot_be_made_is_not_tried_for_ever():
    with (
        pytest.raises(OmniFlowError, match="/proc/run: cannot be written"),
        claimed(Path("/proc/run")),
    ):
        pass
