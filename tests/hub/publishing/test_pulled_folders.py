"""Folders that are pulled to again: nothing outside, and nothing of one's own, is touched."""

import json
from pathlib import Path

import pytest

from omniflow.assembly import build, load
from omniflow.connection import listing
from omniflow.connection.patience import Patience
from omniflow.downloads.saved_model import pull_model
from omniflow.errors import UsageError
from omniflow.hub.push import push
from omniflow_cli.app import main


@pytest.fixture(scope="module")
def saved(registry, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "first"
    build(head="linear", backbone="small", registry=registry).save_pretrained(folder)
    return folder


@pytest.fixture
def pulled(uploads, saved, tmp_path, monkeypatch):
    """A folder that `acme/mine` was pulled to, `here` in the working directory."""
    monkeypatch.chdir(tmp_path)
    push(saved, "acme/mine", again="-")
    pull_model("acme/mine", Path("here"))
    return Path("here")


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refused(folder):
    with pytest.raises(UsageError) as caught:
        pull_model("acme/mine", folder)
    return str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../mine.txt": 4}},
        {"files": {"/elsewhere/mine.txt": 4}},
        {"files": [{}]},
        {"source": 5},
        {"source": {"id": "acme/mine", "revision": 5}},
    ],
)
def test_a_record_that_was_edited_removes_nothing(pulled, changes, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    edit(pulled, **changes)
    assert "manifest.json: is not the manifest of a download" in refused(pulled)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_repository_does_not_bring_the_record_of_a_folder(pulled, uploads):
    before = (pulled / "manifest.json").read_text()
    (uploads.hub.folder("acme/mine") / "manifest.json").write_text('{"files": {"../mine.txt": 1}}')
    report = pull_model("acme/mine", pulled)
    assert "manifest.json" not in report.files
    assert (
        json.loads((pulled / "manifest.json").read_text())["files"] == json.loads(before)["files"]
    )


def test_files_of_ones_own_are_not_replaced(pulled, uploads):
    (pulled / "eval_results.json").write_text("mine")
    (uploads.hub.folder("acme/mine") / "eval_results.json").write_text("theirs")
    assert "eval_results.json: acme/mine has a file eval_results.json as well" in refused(pulled)
    assert (pulled / "eval_results.json").read_text() == "mine"
    (pulled / "eval_results.json").unlink()
    assert "eval_results.json" in pull_model("acme/mine", pulled).files


def test_a_folder_in_the_place_of_a_file_is_told_as_such(pulled):
    (pulled / "config.json").unlink()
    (pulled / "config.json").mkdir()
    with pytest.raises(Exception, match=r"here/config.json: cannot be written \(Is a directory\)"):
        pull_model("acme/mine", pulled)


@pytest.mark.parametrize("name", ["a\0b", "a\nb", "../a", "/a", ".", "a\\b"])
def test_names_that_no_file_should_have_are_refused(name):
    with pytest.raises(UsageError, match="a file is called"):
        listing._inside(name, "acme/mine")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["pull", "https://huggingface.co/acme/mine", "x"], "did you mean: acme/mine"),
        (["push", "here", "https://huggingface.co/acme/mine/tree/main"], "did you mean: acme/mine"),
        (["pull", "acme/mine", "x", "--revision="], "'' is no revision, expected a branch"),
        (["push", "here", "acme/my model"], "did you mean: acme/my-model"),
        (["push", "here", "acme/mine@v1"], "a branch is said by --revision"),
        (["push", "here", "acme/mine", "--revision="], "--revision: '' is no name of a branch"),
        (["push", "here", "acme/mine", "--revision=a b"], "'a b' is no name of a branch"),
        (["push", "~/here", "acme/mine"], "/here: there is no such folder"),
    ],
)
def test_the_nearest_that_could_be_meant_is_told(pulled, command, expected, capsys):
    assert main(command) == 2
    assert expected in capsys.readouterr().err


def test_what_is_loaded_may_be_an_address_or_in_ones_home(pulled, tmp_path, monkeypatch, registry):
    with pytest.raises(UsageError, match="did you mean: acme/mine"):
        load("https://huggingface.co/acme/mine")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/here", registry=registry).parts.head.name == "omniflow-zoo:linear"


def test_an_empty_token_is_none(pulled):
    with pytest.raises(UsageError, match="there is no token to push to acme/mine with"):
        push("here", "acme/mine", token="")


@pytest.mark.parametrize(("fault", "code"), [(500, 1), (429, 1), (("reset", 0), 1), (403, 2)])
def test_trouble_of_the_hub_is_no_mistake_of_whoever_pulls(pulled, uploads, hasty, fault, code):
    uploads.hub.faults["model.safetensors"] = [fault] * 99
    with pytest.raises(UsageError, match="acme/mine cannot be fetched") as caught:
        pull_model("acme/mine", Path("there"), patience=Patience(attempts=2))
    assert caught.value.exit_code == code
