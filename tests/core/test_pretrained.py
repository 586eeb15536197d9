"""Models from the Hub: found, fetched, and every way in which that fails."""

import json
import re
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from huggingface_hub import constants

from omniflow import hub_access
from omniflow.connection.patience import Patience
from omniflow.errors import CheckpointError, UsageError
from omniflow.pretrained import PretrainedSource

COMMIT = "c0ffee" * 6 + "beef"


class Hub(BaseHTTPRequestHandler):
    """One repository, `acme/model`, with two files; or one answer to everything."""

    files: dict[str, bytes]
    answer: tuple[int, dict[str, str]] | None
    asked: list[str]

    def do_GET(self):
        self.asked.append(self.path)
        if self.answer:
            self.reply(*self.answer)
        elif re.match(r"/api/models/acme/model(/revision/[^/?]+)?(\?|$)", self.path):
            siblings = [{"rfilename": name, "size": len(self.files[name])} for name in self.files]
            told = {"id": "acme/model", "sha": COMMIT, "siblings": siblings}
            self.reply(200, {}, json.dumps(told).encode())
        elif self.path.startswith("/api/models/acme/model/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                for name, content in self.files.items()
            ]
            self.reply(200, {}, json.dumps(tree).encode())
        elif self.path.startswith(f"/acme/model/resolve/{COMMIT}/"):
            content = self.files[self.path.rpartition("/")[2]]
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{hash(content):x}"'}
            self.reply(200, headers, content)
        else:
            self.reply(404, {"X-Error-Code": "RepoNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def reply(self, status, headers, content=b"{}"):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args):
        pass


@pytest.fixture
def online(monkeypatch, tmp_path):
    """Lets the Hub's client connect to loopback, with an empty cache."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub_access, "Patience", partial(Patience, first_wait_s=0.001))
    # Nothing listens on the discard port.
    set_endpoint(monkeypatch, "http://127.0.0.1:9")


@pytest.fixture
def hub(online, monkeypatch):
    """A Hub on loopback; set `answer` to make it say one thing only."""
    files = {"config.json": b'{"model_type": "acme"}', "vocab.json": b"{}"}
    fresh = type("FreshHub", (Hub,), {"files": files, "answer": None, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), fresh)
    thread = threading.Thread(target=server.serve_forever, args=[0.01], daemon=True)
    thread.start()
    set_endpoint(monkeypatch, f"http://127.0.0.1:{server.server_port}")
    yield fresh
    server.shutdown()
    server.server_close()
    thread.join()


def set_endpoint(monkeypatch, url):
    """As HF_ENDPOINT does, which is read once, at import."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def refusal(source):
    """What fetching says, told within a few seconds."""
    started = time.monotonic()
    with pytest.raises(UsageError) as caught:
        source.folder("config.json")
    assert time.monotonic() - started < 15
    return caught.value


def test_files_that_fit_are_fetched_and_the_others_left(hub, capfd):
    folder = PretrainedSource("acme/model").folder("config.json")
    assert capfd.readouterr() == ("", "")
    assert json.loads((folder / "config.json").read_text()) == {"model_type": "acme"}
    assert not (folder / "vocab.json").exists()


def test_later_files_come_from_the_commit_of_the_first(hub):
    source = PretrainedSource("acme/model")
    source.folder("config.json")
    hub.asked.clear()
    folder = source.folder("vocab.json")
    assert folder.name == COMMIT
    assert not [path for path in hub.asked if "/revision/" in path]


def test_what_was_fetched_once_is_found_without_the_hub(hub):
    first = PretrainedSource("acme/model").folder("config.json")
    hub.answer = (503, {})
    assert PretrainedSource("acme/model").folder("config.json") == first


def test_file_that_the_hub_does_not_have_is_named(hub):
    with pytest.raises(CheckpointError, match=r"^acme/model: merges.txt is missing$"):
        PretrainedSource("acme/model").require("vocab.json", "merges.txt")


def test_weights_that_the_hub_does_not_have_are_named(hub):
    with pytest.raises(CheckpointError, match=r"^acme/model: model.safetensors is missing$"):
        PretrainedSource("acme/model").read_model(object, None)


def test_unknown_model_may_be_private(hub):
    error = refusal(PretrainedSource("acme/modell"))
    assert error.problem == "there is no model acme/modell, or it is private"
    assert error.where == constants.ENDPOINT
    assert "HF_TOKEN" in error.notes[0]
    assert "local folder" in error.notes[1]


def test_gated_model_wants_its_conditions_accepted(hub):
    hub.answer = (403, {"X-Error-Code": "GatedRepo"})
    error = refusal(PretrainedSource("acme/model"))
    assert error.problem == "acme/model wants its conditions accepted"
    assert "hf auth login" in error.notes[0]


def test_unknown_revision_is_named(hub):
    hub.answer = (404, {"X-Error-Code": "RevisionNotFound"})
    error = refusal(PretrainedSource("acme/model", revision="v9"))
    assert error.problem == "acme/model has no revision 'v9'"


@pytest.mark.parametrize(
    ("status", "way"),
    [(401, "HF_TOKEN"), (429, "HF_TOKEN"), (500, "HF_ENDPOINT"), (503, "HF_ENDPOINT")],
)
def test_hub_in_trouble_is_told_with_what_to_do(hub, status, way):
    hub.answer = (status, {})
    error = refusal(PretrainedSource("acme/model"))
    assert error.problem.startswith("acme/model cannot be fetched (")
    assert str(status) in error.problem
    assert way in error.notes[0]
    assert "local folder" in error.notes[-1]


def test_no_network_is_told_with_what_to_do(online):
    error = refusal(PretrainedSource("acme/model"))
    assert "Connection refused" in error.problem
    assert error.where == "http://127.0.0.1:9"
    assert "HF_ENDPOINT" in error.render()


def test_switched_off_network_is_told(monkeypatch, online):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE" in refusal(PretrainedSource("acme/model")).problem


@pytest.mark.parametrize("path", ["a b", "acme/mo..del", ""])
def test_what_is_neither_folder_nor_id_is_told(path):
    assert refusal(PretrainedSource(path)).problem == f"{path!r} is neither a folder nor a Hub id"


@pytest.mark.parametrize("path", ["./clip", "/no/clip", "~/no_such_clip", "a/b/c", "a\\b"])
def test_path_of_a_folder_that_is_not_there_never_reaches_the_hub(path):
    with pytest.raises(CheckpointError, match="there is no such folder"):
        PretrainedSource(path)


def test_file_is_no_folder(tmp_path, monkeypatch):
    (tmp_path / "clip").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=r"^clip: there is no such folder$"):
        PretrainedSource("clip")
