import pytest

from omniflow.errors import UsageError
from omniflow_cli.run_place import Place, choose_place


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def a_run(path, *, is_resumable):
    path.mkdir(parents=True)
    (path / "recipe.yaml").write_text("format: omniflow.recipe/1\n")
    if is_resumable:
        state = path / "checkpoints" / "step-1" / "training_state"
        state.mkdir(parents=True)
        (state / "state.json").write_text("{}")
        (path / "latest").symlink_to("checkpoints/step-1")


def place(output_dir=None, resume=None, stem="vq-mlp"):
    chosen = choose_place(output_dir, resume, lambda: stem)
    return str(chosen.folder), chosen.is_resumed


def test_a_run_is_called_after_head_and_refiner(folder):
    assert place() == ("runs/vq-mlp", False)
    assert place(stem="acme:odd-mlp") == ("runs/acme-odd-mlp", False)


def test_the_next_free_name_is_taken(folder):
    a_run(folder / "runs/vq-mlp", is_resumable=True)
    assert place() == ("runs/vq-mlp-2", False)
    a_run(folder / "runs/vq-mlp-2", is_resumable=True)
    (folder / "runs/vq-mlp-3").mkdir()
    assert place() == ("runs/vq-mlp-3", False)


def test_auto_continues_the_newest_of_the_series(folder):
    assert place(resume="auto") == ("runs/vq-mlp", False)
    a_run(folder / "runs/vq-mlp", is_resumable=True)
    assert place(resume="auto") == ("runs/vq-mlp", True)
    a_run(folder / "runs/vq-mlp-2", is_resumable=False)
    assert place(resume="auto") == ("runs/vq-mlp-3", False)


def test_auto_continues_the_named_folder_or_starts_in_it(folder):
    assert place("here", "auto") == ("here", False)
    a_run(folder / "here", is_resumable=True)
    assert place("here", "auto") == ("here", True)
    assert place("here") == ("here", False)


def test_a_run_without_checkpoint_is_moved_aside_and_not_lost(folder, capsys):
    a_run(folder / "here", is_resumable=False)
    chosen = choose_place("here", "auto", lambda: "")
    assert chosen.is_unfinished
    assert (folder / "here").exists()
    chosen.make_room()
    assert not (folder / "here").exists()
    assert (folder / "here.unfinished-1" / "recipe.yaml").exists()
    assert "moved to here.unfinished-1" in capsys.readouterr().err


def test_a_named_run_is_resumed_in_its_own_folder(folder):
    a_run(folder / "runs/a", is_resumable=True)
    assert place(resume="runs/a") == ("runs/a", True)
    assert place("./runs/a", "runs/a") == ("runs/a", True)


@pytest.mark.parametrize("output_dir", ["elsewhere", "runs"])
def test_resuming_elsewhere_is_refused(folder, output_dir):
    a_run(folder / "runs/a", is_resumable=True)
    with pytest.raises(UsageError, match=f"{output_dir} is not the run to resume"):
        place(output_dir, "runs/a")


def test_making_room_where_there_is_room_does_nothing(folder):
    Place(folder / "new").make_room()
    assert not (folder / "new").exists()
