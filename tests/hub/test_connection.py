"""A Hub that is slow, busy or breaks off: what is tried again, and what is told."""

import logging
import resource
import threading
import time
from types import SimpleNamespace

import pytest

from omniflow.connection.fetch import PARTIAL, fetch_file
from omniflow.connection.listing import HubFile, HubListing, list_repository
from omniflow.connection.patience import Patience, StoppedError, passing_answer, persistently
from omniflow.connection.ranges import RangeFile
from omniflow.downloads.models import MODELS, HubModel, download_model, hub_model, wanted_files
from omniflow.errors import OmniFlowError, UsageError
from omniflow.hub_access import fetch_files
from omniflow_cli.app import main

WEIGHTS = "model.safetensors"
CONTENT = bytes(range(256)) * 400


@pytest.fixture
def hasty(monkeypatch):
    """Waits are told and not waited for; those of the Hub's client are not either."""
    waits = []
    monkeypatch.setattr(Patience, "wait", lambda self, n, why, asked_s=None: waits.append(why))
    from huggingface_hub.utils import _http

    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=waits.append))
    return waits


@pytest.fixture
def tiny(online, tmp_path):
    """A model with weights, its settings, and what nobody reads."""
    folder = tmp_path / "model"
    (folder / "sub").mkdir(parents=True)
    for name in (WEIGHTS, "pytorch_model.bin", "model.fp16.safetensors", "sub/" + WEIGHTS):
        (folder / name).write_bytes(name.encode() + CONTENT)
    (folder / "config.json").write_text("{}")
    online.add("acme/tiny", folder)
    return online


def test_waits_grow_and_what_the_hub_asks_for_counts_for_more():
    lines = []
    patience = Patience(attempts=9, first_wait_s=1e-4, longest_wait_s=4e-4, tell=lines.append)
    for failures in range(1, 6):
        patience.wait(failures, "no")
    patience.wait(6, "busy", asked_s=0.001)
    assert lines[-1] == "busy; again in 0 s (6 of 8)"
    assert not patience.is_over(8)
    assert patience.is_over(9)
    assert patience.is_over(1, asked_s=601.0)
    patience.stopped.set()
    with pytest.raises(StoppedError):
        patience.wait(1, "no", asked_s=1e6)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (429, "7", 7.0),
        (503, "Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (500, "soon", None),
        (500, "²", None),
        (504, "", None),
    ],
)
def test_what_the_hub_asks_for_is_read(status, said, expected):
    found = passing_answer(status, {"retry-after": said})
    assert found is not None
    assert found.asked_s == expected


def test_answers_that_stay_are_not_asked_for_again():
    assert [code for code in (200, 206, 400, 401, 403, 404, 410) if passing_answer(code, {})] == []

    def broken():
        raise FileNotFoundError("here")

    with pytest.raises(FileNotFoundError):
        persistently(broken, Patience())


def test_a_model_is_fetched_through_bursts_and_found_offline(tiny, hasty, tmp_path, monkeypatch):
    tiny.faults = {
        WEIGHTS: [500, ("reset", 900), (429, {"Retry-After": "1"}), ("cut", 2000)],
        "/api/models/acme/tiny": [503, 500],
        "config.json": [500, 502],
    }
    folder = fetch_files("acme/tiny", None, [WEIGHTS, "*.json"])
    assert (folder / WEIGHTS).read_bytes() == WEIGHTS.encode() + CONTENT
    assert (folder / "config.json").read_text() == "{}"
    assert not any(tiny.faults.values())
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    tiny.asked.clear()
    assert fetch_files("acme/tiny", None, [WEIGHTS, "*.json"]) == folder
    assert tiny.asked == []


def test_weights_that_were_begun_are_gone_on_with(tiny, hasty):
    tiny.faults[WEIGHTS] = [("cut", 20_000), *[500] * 7]
    with pytest.raises(UsageError, match="the Hub is in trouble"):
        fetch_files("acme/tiny", None, [WEIGHTS])
    tiny.faults.clear()
    tiny.sent.clear()
    folder = fetch_files("acme/tiny", None, [WEIGHTS])
    content = (folder / WEIGHTS).read_bytes()
    assert content == WEIGHTS.encode() + CONTENT
    assert tiny.sent[WEIGHTS] == len(content) - 20_000


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, "or it is private"),
        (403, "your token may not read it"),
        (404, "the Hub does not have it, or this mirror has not"),
        (429, "with HF_TOKEN set more are allowed"),
        (503, "the Hub is in trouble: try again later"),
    ],
)
def test_refusals_say_what_to_do(tiny, hasty, status, expected):
    headers = {"X-Error-Code": "RepoNotFound"} if status == 401 else {}
    tiny.faults["/api/models/acme/tiny"] = [(status, headers)] * 20
    with pytest.raises(UsageError) as caught:
        fetch_files("acme/tiny", None, [WEIGHTS])
    assert expected in str(caught.value)


def test_nobody_there(tiny, hasty):
    tiny.close()
    with pytest.raises(UsageError, match="HF_ENDPOINT=URL asks a mirror"):
        fetch_files("acme/tiny", None, [WEIGHTS])
    assert hasty


def test_a_file_is_read_where_it_is_asked_for(tiny, hasty):
    listing = list_repository("acme/tiny", None, kind="model", patience=Patience())
    file = next(file for file in listing.files if file.path == WEIGHTS)
    content = WEIGHTS.encode() + CONTENT
    remote = RangeFile(listing.url(file), file.size, Patience())
    remote.seek(-100, 2)
    assert remote.read() == content[-100:]
    remote.seek(5000)
    assert remote.read(10) == content[5000:5010]
    assert remote.tell() == 5010
    assert tiny.sent[WEIGHTS] == 110
    short = RangeFile(listing.url(file), file.size + 10, Patience())
    short.seek(file.size - 5)
    with pytest.raises(OmniFlowError, match="the file ended at byte"):
        short.read()


def test_models_are_downloaded_into_a_folder(tiny, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["download", "models", "acme/tiny", "--output-dir", "models"]) == 0
    shown = capsys.readouterr()
    assert "acme--tiny: 3 files, 204.8 KB, of acme/tiny at" in shown.err
    assert "3 new" in shown.out
    folder = tmp_path / "models" / "acme--tiny"
    assert (folder / "sub" / WEIGHTS).read_bytes() == b"sub/" + WEIGHTS.encode() + CONTENT
    # Twins in another precision or form are left where they are.
    assert not (folder / "pytorch_model.bin").exists()
    assert not (folder / "model.fp16.safetensors").exists()
    tiny.sent.clear()
    assert main(["download", "models", "acme/tiny", "--output-dir", "models"]) == 0
    assert "were there" in capsys.readouterr().out
    assert not tiny.sent
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    tiny.asked.clear()
    assert main(["download", "models", "acme/tiny", "--output-dir", "models"]) == 0
    assert tiny.asked == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert main(["download", "models", "acme/tiny", "--output-dir", "models", "--force"]) == 0
    assert tiny.sent[WEIGHTS] == len(WEIGHTS.encode() + CONTENT)


def test_models_are_downloaded_into_the_cache_where_they_are_found(tiny, monkeypatch):
    report = download_model(HubModel("tiny", "acme/tiny", is_whole=False))
    assert report.files == ("config.json", WEIGHTS)
    assert report.fetched == 1  # Small files are left to the client.
    assert download_model(HubModel("tiny", "acme/tiny", is_whole=False)).fetched == 0
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    tiny.asked.clear()
    assert fetch_files("acme/tiny", None, [WEIGHTS]) == report.folder
    assert download_model(HubModel("tiny", "acme/tiny", is_whole=False)).files == report.files
    assert tiny.asked == []


def test_of_audioldm2_two_parts_are_wanted_and_of_others_one_form():
    def of(name, *paths):
        files = tuple(HubFile(path, 1, "0" * 64, None) for path in paths)
        listing = HubListing(MODELS[name].hub_id, "model", "0" * 40, files)
        return [file.path for file in wanted_files(MODELS[name], listing)]

    assert of("audioldm2", "vae/config.json", "unet/x.bin", "vocoder/model.safetensors") == [
        "vae/config.json", "vocoder/model.safetensors",
    ]  # fmt: skip
    assert of(
        "languagebind_audio", "config.json", "pytorch_model.bin", "vocab.json", "a/config.json"
    ) == ["config.json", "vocab.json", "pytorch_model.bin"]
    assert of(
        "t5_large", "model.safetensors", "pytorch_model.bin", "tf_model.h5", "spiece.model"
    ) == ["spiece.model", "model.safetensors"]
    weights = "transformer/diffusion_pytorch_model.bin"
    assert of("omniflow-v0.5", weights, "ema_transformer.pt", ".gitattributes") == [weights]


def test_an_unknown_model_is_told(tiny, capsys):
    assert main(["download", "models", "omniflow-v0.6"]) == 2
    assert "did you mean: omniflow-v0." in capsys.readouterr().err
    assert main(["download", "models"]) == 2
    assert "clip_vit_l, t5_large, languagebind_audio" in capsys.readouterr().err


def test_waits_are_logged_where_nobody_else_is_told(caplog):
    with caplog.at_level(logging.WARNING, logger="omniflow"):
        Patience(first_wait_s=0.0).wait(1, "the Hub answered 500")
    assert "the Hub answered 500; again in 0 s (1 of 6)" in caplog.text


def fetch(tiny, target, patience):
    """One file of the model, through a connection of its own."""
    listing = list_repository("acme/tiny", None, kind="model", patience=patience)
    [file] = listing.matching([WEIGHTS])
    return fetch_file(listing.url(file), target, file, patience=patience)


def test_two_that_fetch_one_file_leave_one_whole_file(tiny, tmp_path):
    """Each appending what it received would leave a file twice as long, its checksum unseen."""
    target = tmp_path / "got" / WEIGHTS
    second = []

    def tell(line):
        # The first one has a part of the file now, and is waiting.
        if not second:
            told = second.append
            other = threading.Thread(target=fetch, args=(tiny, target, Patience(tell=told)))
            second.append(other)
            other.start()
            deadline = time.monotonic() + 20
            while len(second) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)

    tiny.faults[WEIGHTS] = [("cut", 5000)]
    fetch(tiny, target, Patience(first_wait_s=0.01, tell=tell))
    second[0].join(20)
    assert second[1:] == [f"another process is fetching {WEIGHTS}; it is waited for"]
    assert target.read_bytes() == WEIGHTS.encode() + CONTENT
    assert [each.name for each in target.parent.iterdir()] == [WEIGHTS]
    assert tiny.sent[WEIGHTS] == len(WEIGHTS) + len(CONTENT) - 5000


def test_a_full_disk_is_no_trouble_of_the_hub(tiny, tmp_path):
    """The system refuses to let a file grow, as it does where the disk is full."""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
    try:
        with pytest.raises(OmniFlowError, match="cannot be written") as caught:
            download_model(hub_model("acme/tiny"), tmp_path / "got")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "HF_ENDPOINT" not in caught.value.render()
    # Files come side by side: the first that does not fit ends them all.
    begun = [each.stat().st_size for each in (tmp_path / "got").rglob("*" + PARTIAL)]
    assert max(begun) == 50_000
    download_model(hub_model("acme/tiny"), tmp_path / "got")
    assert (tmp_path / "got" / WEIGHTS).read_bytes() == WEIGHTS.encode() + CONTENT


@pytest.mark.parametrize("path", ["/tmp/x.json", "../../x.json", "a\\..\\x.json"])
def test_a_mirror_writes_nowhere_else(tiny, tmp_path, path):
    def route(handler, method, asked, body):
        content = {"id": "acme/evil", "sha": "a" * 40, "siblings": [{"rfilename": path, "size": 2}]}
        if asked.startswith("/api/models/acme/evil"):
            handler.as_json(content)
        return asked.startswith("/api/models/acme/evil")

    tiny.routes.append(route)
    with pytest.raises(UsageError, match="a file is called"):
        download_model(hub_model("acme/evil"), tmp_path / "got")
    assert not any("/resolve/" in each for each in tiny.asked)
