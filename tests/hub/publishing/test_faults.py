"""A Hub that fails while something is pushed: one message, a run as it was, and another try."""

import hashlib
import shutil

import pytest

from omniflow.assembly import build
from omniflow.downloads.saved_model import pull_model
from omniflow.errors import OmniFlowError, UsageError
from omniflow.hub.push import push

CREATE, PREUPLOAD = "/api/repos/create", "/api/models/acme/mine/preupload/main"
BATCH, COMMIT = "/acme/mine.git/info/lfs/objects/batch", "/api/models/acme/mine/commit/main"
FULL = {"X-Error-Message": "Private repository storage limit reached, please upgrade your plan"}


@pytest.fixture(scope="module")
def saved(registry, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "first"
    build(head="linear", backbone="small", registry=registry).save_pretrained(run)
    return run


def contents(folder):
    return {
        file.relative_to(folder): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def blob(run):
    return "/lfs/" + hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


UNKNOWN = (401, {"X-Error-Message": "Invalid credentials in Authorization header"})
GONE = (404, {"X-Error-Code": "RepoNotFound"})

TROUBLE = "the Hub is in trouble and did not take acme/mine (it answered 500)"
NO_TOKEN = "the Hub does not know your token, so that acme/mine cannot be written"
NO_ROOM = "the Hub has no room for acme/mine (Private repository storage limit"


@pytest.mark.parametrize(
    ("fault", "place", "expected", "code"),
    [
        (500, CREATE, TROUBLE, 1),
        (500, "PUT", TROUBLE, 1),
        (500, COMMIT, TROUBLE, 1),
        (UNKNOWN, CREATE, NO_TOKEN, 2),
        (UNKNOWN, BATCH, NO_TOKEN, 2),
        (403, CREATE, "your token may not write to acme/mine", 2),
        (403, "PUT", "your token may not write to acme/mine", 2),
        ("dropped", PREUPLOAD, "acme/mine cannot be reached", 1),
        ("dropped", "PUT", "acme/mine cannot be reached", 1),
        ("dropped", COMMIT, "acme/mine cannot be reached", 1),
        (GONE, PREUPLOAD, "there is no repository acme/mine", 2),
        (GONE, COMMIT, "there is no repository acme/mine", 2),
        ((403, FULL), BATCH, NO_ROOM, 2),
        ((403, FULL), COMMIT, NO_ROOM, 2),
        (413, "PUT", "the Hub has no room for acme/mine (it answered 413)", 2),
    ],
)
def test_every_fault_is_one_message_and_the_run_can_be_pushed_again(
    uploads, saved, hasty, fault, place, expected, code
):
    before = contents(saved)
    uploads.hub.faults[blob(saved) if place == "PUT" else place] = [fault] * 99
    with pytest.raises(OmniFlowError) as caught:
        push(saved, "acme/mine")
    told = str(caught.value)
    assert told.startswith(f"{uploads.hub.url}: {expected}")
    assert told.count("\n") <= 2
    assert f"first is whole and can be pushed again: omniflow push {saved} acme/mine" in told
    assert "hf_" not in told
    assert caught.value.exit_code == code
    assert contents(saved) == before
    uploads.hub.faults.clear()
    pushed = push(saved, "acme/mine")
    there = contents(uploads.hub.folder("acme/mine"))
    assert {str(path) for path in there} == {*pushed.files, ".gitattributes"}
    weights = {str(path): digest for path, digest in there.items()}["model.safetensors"]
    assert weights == pushed.weights_hash
    assert len(uploads.commits) == 1


def test_what_passes_is_waited_for(uploads, saved, hasty):
    uploads.hub.faults = {
        CREATE: [503],
        PREUPLOAD: ["dropped", 500],
        blob(saved): [502],
        COMMIT: [500, "dropped", (429, {"Retry-After": "1"})],
    }
    push(saved, "acme/mine")
    assert not any(uploads.hub.faults.values())
    assert len(uploads.commits) == 1
    assert list(uploads.sent.values()) == [1]


def test_a_commit_whose_answer_is_lost_is_made_once(uploads, saved, hasty):
    uploads.hub.faults[COMMIT] = ["unheard"]
    pushed = push(saved, "acme/mine")
    assert uploads.commits == [pushed.commit]


def test_weights_that_are_replaced_meanwhile_are_not_published(uploads, saved, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(saved, run)
    batch = "/acme/mine.git/info/lfs/objects/batch"

    def replace(handler, method, path, body):
        if path.endswith("/preupload/main"):
            weights = (run / "model.safetensors").read_bytes()
            (run / "model.safetensors").write_bytes(weights[:-1] + b"?")
        return False

    uploads.hub.routes.insert(0, replace)
    with pytest.raises(OmniFlowError, match="model.safetensors was replaced while it was sent"):
        push(run, "acme/mine")
    assert batch in uploads.hub.asked
    assert uploads.commits == []


def test_what_somebody_else_pushes_meanwhile_is_not_mixed_with_it(uploads, saved, hasty):
    push(saved, "acme/mine", message="The first")
    others = []

    def push_another(handler, method, path, body):
        if path == COMMIT and not others:
            others.append(path)
            folder = uploads.store / "another"
            shutil.copytree(uploads.hub.folder("acme/mine"), folder)
            (folder / "report.html").write_text("of another")
            uploads.settle("acme/mine", "main", folder)
        return False

    uploads.hub.routes.insert(0, push_another)
    with pytest.raises(UsageError, match="somebody else has pushed to acme/mine meanwhile"):
        push(saved, "acme/mine", licence="mit")
    assert "report.html" not in push(saved, "acme/mine", licence="mit").files
    assert "report.html" not in uploads.hub.files("acme/mine")


def test_what_was_sent_before_a_failure_is_not_sent_again(uploads, saved, hasty):
    uploads.hub.faults[COMMIT] = [500] * 99
    with pytest.raises(OmniFlowError):
        push(saved, "acme/mine")
    uploads.hub.faults.clear()
    push(saved, "acme/mine")
    assert list(uploads.sent.values()) == [1]


def test_no_token_and_an_unknown_one(uploads, saved, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="there is no token to push to acme/mine with"):
        push(saved, "acme/mine")
    assert uploads.hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_aTokenThatNobodyKnowsAtAll")
    with pytest.raises(UsageError, match="the Hub does not know your token"):
        push(saved, "acme/mine")


def test_nobody_there_and_somebody_else(uploads, saved, hasty):
    uploads.hub.faults[CREATE] = [(200, {}, b"<html>A page</html>")]
    with pytest.raises(OmniFlowError, match="what answers for acme/mine is no Hub") as caught:
        push(saved, "acme/mine")
    assert caught.value.exit_code == 1
    from huggingface_hub import constants

    constants.ENDPOINT = "http://127.0.0.1:9"
    with pytest.raises(OmniFlowError, match="HF_ENDPOINT=URL pushes to a mirror") as caught:
        push(saved, "acme/mine")
    assert caught.value.exit_code == 1


@pytest.mark.parametrize("repo", ["no spaces/here", "a/b/c", "../up", ""])
def test_what_is_no_name_is_refused(uploads, saved, repo):
    with pytest.raises(UsageError, match="is no name of a repository"):
        push(saved, repo)
    assert uploads.hub.asked == []


def test_a_reader_may_not_write(uploads, saved, monkeypatch):
    push(saved, "acme/mine")
    monkeypatch.setenv("HF_TOKEN", "hf_thisTokenMayOnlyReadThings")
    with pytest.raises(UsageError, match="your token may not write to acme/mine"):
        push(saved, "acme/mine")


def test_what_is_no_model_is_refused(uploads, saved, tmp_path):
    with pytest.raises(UsageError, match="no model in this folder"):
        push(tmp_path, "acme/mine")
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in saved.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    (copy / "model.safetensors").write_bytes((copy / "model.safetensors").read_bytes() + b"0")
    with pytest.raises(UsageError, match="not those that config.json was written with"):
        push(copy, "acme/mine")
    assert uploads.hub.asked == []


def test_nothing_is_pulled_to_outside_of_its_folder(uploads, saved, tmp_path, monkeypatch):
    push(saved, "acme/mine")
    outside = uploads.hub.folder("acme/mine").parent / "evil"
    outside.write_bytes(b"x")
    files = uploads.hub.files
    monkeypatch.setattr(uploads.hub, "files", lambda *of: [*files(*of), "../evil"])
    with pytest.raises(UsageError, match=r"a file is called '\.\./evil'"):
        pull_model("acme/mine", tmp_path / "here")
    assert [file.name for file in tmp_path.rglob("evil")] == [outside.name]
