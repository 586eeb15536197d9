"""What of a run is published: nothing of the machine it was made on, and no secret."""

import json
import re
import shutil

import pytest
import yaml

from omniflow.assembly import build
from omniflow.hub.publishable import publishable, publishable_text
from omniflow.hub.push import push
from omniflow.hub.staging import Inclusions
from omniflow_cli.app import main

SECRET = "hf_aSecretThatIsLongEnough1234"
EVERYTHING = ["--include-training-state", "--include-report", "--include-samples"]

#: Where a path from the root begins; addresses and fractions are none.
ABSOLUTE = re.compile(rb"(?<![\w.:/<~)-])/(?:[\w.+@-]+/)+[\w.+@-]+|~/\w|[A-Z]:\\\\?\w")


@pytest.fixture(scope="module")
def run(random_backbone, tmp_path_factory):
    """A run of two steps on folders, in a folder whose name is somebody's business."""
    place = tmp_path_factory.mktemp("of Somebody")
    backbone = place / "private" / "backbone"
    shutil.copytree(random_backbone, backbone)
    (place / "lines.txt").write_text("".join(f"line number {number}\n" for number in range(40)))
    arguments = [
        "train", "--backbone", str(backbone), "--head", "vq", "--refiner", "mlp",
        "--set", "head.hidden_dim=8", "--set", "head.codebook_size=8",
        "--dataset", "text", "--set", f"dataset.path={place / 'lines.txt'}",
        "--set", f"training.cache_dir={place / 'cache'}", "--batch-size", "4", "--max-steps", "2",
        "--max-length", "16", "--set", "training.eval_batches=1", "--device", "cpu",
        "--save-interval", "1", "--output-dir", str(place / "run"),
    ]  # fmt: skip
    assert main(arguments) == 0
    (place / "run" / "samples").mkdir(exist_ok=True)
    (place / "run" / "samples" / "notes.json").write_text(json.dumps({"by": f"Bearer {SECRET}"}))
    (place / "run" / "samples" / "raw.pt").write_bytes(b"a pickle")
    model = f"{place}/run/best"
    (place / "run" / "eval_results.json").write_text(json.dumps(results(model=model, place=place)))
    return place / "run"


def results(*, model, place):
    interval = {"low": 0.31, "high": 0.42, "level": 0.95, "method": "bootstrap", "resamples": 9,
                "seed": 0}  # fmt: skip
    figure = {
        "value": 0.3671, "samples": 40, "higher_is_better": True, "interval": interval,
        "component": "bleu", "options": {"token": SECRET}, "signature": {"implementation": "own"},
        "details": {}, "notes": [],
    }  # fmt: skip
    return {
        "format": "omniflow.evaluation/1", "model": model, "task": "t2t", "samples": 40,
        "dataset": "text", "split": "test",
        "predictions": {"path": f"{place}/predictions.json", "sha256": "0" * 64},
        "metrics": {"bleu": figure, "meteor": {**figure, "interval": None}},
        "records": {"ids": ["secret-record"], "values": {}, "statistics": {}},
    }  # fmt: skip


def published(uploads):
    folder = uploads.hub.folder("acme/mine")
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file() and file.name != ".gitattributes"
    }


def test_no_secret_and_no_place_of_this_machine_goes_up(uploads, run, monkeypatch, capsys):
    monkeypatch.setenv("ACME_API_KEY", "anotherSecretOfTheEnvironment")
    recipe = run / "recipe.yaml"
    before = recipe.read_text()
    content = yaml.safe_load(before)
    content["training"]["trackers"] = ["https://me:password@wandb.example", SECRET]
    recipe.write_text(yaml.safe_dump(content))
    try:
        assert main(["push", str(run), "acme/mine", *EVERYTHING]) == 0
    finally:
        recipe.write_text(before)
    assert "hf_" not in capsys.readouterr().out
    files = published(uploads)
    assert files.keys() == {
        "config.json", "model.safetensors", "README.md", "recipe.yaml", "eval_results.json",
        "report.html", "samples/notes.json", *(name for name in files if "/step-" in name),
        "latest/config.json", "latest/model.safetensors", "latest/training_state/state.json",
        "latest/training_state/tensors.safetensors",
    }  # fmt: skip
    for path, content in files.items():
        text = content
        if path.endswith(".safetensors"):
            text = content[8 : 8 + int.from_bytes(content[:8], "little")]
        for secret in (b"hf_a", b"password", b"anotherSecret", b"Somebody", b"secret-record"):
            assert secret not in text, path
        assert ABSOLUTE.findall(text) == [], path
    recipe = yaml.safe_load(files["recipe.yaml"])
    assert recipe["backbone"]["path"] == "./backbone"
    assert recipe["dataset"][0]["path"] == "./lines.txt"
    assert json.loads(files["config.json"])["backbone_identity"]["id"] == "./backbone"


def test_only_the_model_its_recipe_and_its_figures_go_up_unless_more_is_asked_for(uploads, run):
    push(run, "acme/mine", include=Inclusions(training_state=True))
    pushed = push(run, "acme/mine")
    assert published(uploads).keys() == {
        "config.json", "model.safetensors", "README.md", "recipe.yaml", "eval_results.json",
    }  # fmt: skip
    assert (pushed.model, pushed.notes) == ("best", ())


def test_a_run_goes_on_from_where_it_was_pulled_to(uploads, run, tmp_path, monkeypatch, capsys):
    push(run, "acme/mine", include=Inclusions(training_state=True))
    monkeypatch.chdir(tmp_path)
    assert main(["pull", "acme/mine", "again"]) == 0
    there = [f"backbone.path={run.parent / 'private' / 'backbone'}",
             f"dataset.path={run.parent / 'lines.txt'}"]  # fmt: skip
    settings = [word for setting in there for word in ("--set", setting)]
    assert main(["train", "--resume", "again", "--max-steps", "3", *settings]) == 0
    assert "2 of them done before" in capsys.readouterr().err


def test_figures_of_another_model_are_left_out_and_said(uploads, run):
    path = run / "eval_results.json"
    before = path.read_text()
    path.write_text(json.dumps(results(model="run/final", place=run)))
    try:
        pushed = push(run, "acme/mine")
        said = push(run, "acme/mine", results=path)
    finally:
        path.write_text(before)
    assert pushed.notes == (
        "eval_results.json is of final, left out; --results eval_results.json takes them",
    )
    assert "eval_results.json" not in pushed.files
    assert "eval_results.json" in said.files


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("/home/me/run", "./run"),
        ("/data", "./data"),
        ("~/x y/z", "./z"),
        ("../models/omniflow/", "./omniflow"),
        (r"C:\Users\me\model", "./model"),
        (r"\\server\share\model", "./model"),
        ("file:///home/me/x", "./x"),
        ("owner/name", "owner/name"),
        ("https://huggingface.co/owner/name", "https://huggingface.co/owner/name"),
        ("hf://datasets/owner/name/a.tar", "hf://datasets/owner/name/a.tar"),
        ("i2t/a2t", "i2t/a2t"),
        ("a and/or b", "a and/or b"),
        ("see file:///home/me/x.png", "see ./x.png"),
        ("FileNotFoundError:/home/me/x", "FileNotFoundError:./x"),
        ("PATH=/usr/bin:/home/me/bin", "PATH=./bin:./bin"),
        ("read C:/Users/me/model", "read ./model"),
        ("me@host:/home/me/x", "me@host:./x"),
    ],
)
def test_places_become_names(said, expected):
    assert publishable({"x": [said]}) == {"x": [expected]}


def test_places_that_are_known_may_have_spaces_and_leave_html_alone():
    told = publishable_text("<a>/a/b c/d, /a/b cd, /a</a>", ["/a", "/a/b c"])
    assert told == "<a>./b c/d, ./a/b cd, ./a</a>"


def test_what_is_encoded_in_a_page_stays_as_it_is():
    picture = "data:image/jpeg;base64,/9j/4AAQSkZJRg/abc+/ab/cd=="
    page = f"<meta content=\"script-src 'sha256-x+/ab/cd='\"><img src={picture}>/home/me/x"
    assert publishable_text(page) == page.replace("/home/me/x", "./x")


def test_places_and_secrets_in_texts_are_taken_out(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "thisIsTheTokenOfToday")
    told = publishable_text(
        "read /home/me/a b/x.txt, 'C:\\Users\\me\\y' and ~/z/w with thisIsTheTokenOfToday; "
        "see https://example.org/a/b, 1/2 of i2t/a2t"
    )
    for gone in ("/home", "Users", "~", "thisIs"):
        assert gone not in told
    assert "https://example.org/a/b, 1/2 of i2t/a2t" in told


def test_a_downloaded_backbone_is_told_by_its_hub_id(uploads, random_backbone, tmp_path):
    commit = uploads.hub.add("acme/omniflow", random_backbone)
    folder = tmp_path / "models" / "omniflow"
    shutil.copytree(random_backbone, folder)
    source = {"id": "acme/omniflow", "revision": commit}
    (folder / "manifest.json").write_text(json.dumps({"source": source}))
    model = build(head="linear", backbone={"name": "folder", "path": str(folder)})
    model.push_to_hub("acme/mine")
    config = json.loads((uploads.hub.folder("acme/mine") / "config.json").read_text())
    assert (config["backbone"]["path"], config["backbone"]["revision"]) == ("acme/omniflow", commit)
    assert "base_model: acme/omniflow" in published(uploads)["README.md"].decode()
