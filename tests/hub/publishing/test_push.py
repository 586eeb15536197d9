"""Models pushed to a Hub and read back: the same to the last bit, with all that belongs to them."""

import itertools
import json

import pytest
import torch

from omniflow.assembly import build, load
from omniflow.downloads.saved_model import pull_model
from omniflow.errors import UsageError
from omniflow.hub.push import push
from omniflow.hub.record import pushes
from omniflow.plugins import load_plugins


def everything(model):
    return {
        **{f"trained {name}": tensor for name, tensor in model.trained_state().items()},
        **{f"frozen {name}": tensor for name, tensor in model.backbone.state_dict().items()},
    }


def assert_same(one, other):
    expected, found = everything(one), everything(other)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, found[name]), name
    latents, timesteps = torch.randn(1, 3, one.backbone.latent_dim), torch.tensor([300.0])
    with torch.no_grad():
        assert torch.equal(one(latents, timesteps).latents, other(latents, timesteps).latents)


def combinations():
    """Every head with every refiner, and every encoder with one of them."""
    registry = load_plugins().registry
    names = {
        kind: [component.name for component in registry.components(kind)]
        for kind in ("head", "refiner", "encoder")
    }
    pairs = [
        (head, refiner, None)
        for head, refiner in itertools.product(names["head"], names["refiner"])
    ]
    return [*pairs, *(("linear", "none", encoder) for encoder in names["encoder"])]


@pytest.fixture
def published(uploads, random_backbone):
    """The Hub, with a backbone in the published layout on it."""
    uploads.hub.add("acme/omniflow", random_backbone)
    return uploads


@pytest.fixture
def encoders(published, parity_data):
    """The options of every encoder, whose models are on the Hub."""
    external = parity_data / "pipeline_tiny" / "external"
    folders = {"clip": "clip_vit_l", "t5": "flan_t5", "languagebind": "languagebind_audio"}
    for name, folder in folders.items():
        published.hub.add(f"acme/{name}", external / folder)
    return {name: {"name": name, "path": f"acme/{name}"} for name in folders}


@pytest.mark.parametrize(("head", "refiner", "encoder"), combinations())
def test_every_combination_is_the_same_to_the_last_bit(
    published, encoders, tmp_path, head, refiner, encoder
):
    model = build(
        head=head,
        refiner=refiner,
        encoder=[] if encoder is None else [encoders[encoder]],
        backbone={"name": "folder", "path": "acme/omniflow"},
    )
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.normal_()
    pushed = model.push_to_hub("acme/mine")
    report = pull_model(pushed.pin, tmp_path / "pulled")
    assert report.revision == pushed.commit
    assert_same(model, load(tmp_path / "pulled"))


def test_a_plugins_model_names_what_to_install(published, tmp_path):
    from types import SimpleNamespace

    from omniflow.heads.mlp import MLPHead
    from omniflow.plugins import PluginSource, hookimpl
    from omniflow.registry import Origin

    @hookimpl
    def omniflow_register(register):
        register(kind="head", name="own", target=MLPHead, summary="Somebody's own")

    plugin = SimpleNamespace(omniflow_register=omniflow_register)
    source = PluginSource("acme", Origin("omniflow-acme", "0.3"), lambda: plugin)
    registry = load_plugins([source]).registry
    backbone = {"name": "folder", "path": "acme/omniflow"}
    model = build(head="own", backbone=backbone, registry=registry)
    pushed = model.push_to_hub("acme/own")
    assert_same(model, load(pushed.pin, registry=registry))
    card = (published.hub.folder("acme/own") / "README.md").read_text()
    assert "pip install omniflow-zoo omniflow-acme==0.3" in card
    with pytest.raises(UsageError, match=r"pip install omniflow-acme==0\.3"):
        load("acme/own")


@pytest.fixture
def saved(random_backbone, tmp_path):
    """A run with one model, its backbone in a folder."""
    model = build(head="linear", backbone={"name": "folder", "path": str(random_backbone)})
    model.save_pretrained(tmp_path / "run" / "best")
    return tmp_path / "run"


def changed(folder):
    """Train the model of a run a little further."""
    model = load(folder)
    with torch.no_grad():
        next(model.trainable_parameters()).add_(1)
    model.save_pretrained(folder / "best")


def test_a_commit_stands_for_the_same_files_whatever_is_pushed_later(uploads, saved):
    first = push(saved / "best", "acme/mine")
    before = load(first.pin, options=where(saved))
    changed(saved)
    second = push(saved / "best", "acme/mine", message="Better")
    assert first.commit != second.commit
    assert_same(load(first.pin, options=where(saved)), before)
    again = load("acme/mine", revision=first.commit, options=where(saved))
    assert_same(again, before)
    assert_same(load("acme/mine", options=where(saved)), load(saved))
    with pytest.raises(UsageError, match="two revisions are said"):
        load(first.pin, revision=second.commit)
    third = push(saved / "best", "acme/mine", revision="third", licence="mit")
    commits = [(entry["commit"], entry["revision"]) for entry in pushes(saved / "best")]
    assert commits == [(second.commit, "main"), (third.commit, "third")]


def where(run):
    """Where the backbone is that the model of a run was made with."""
    config = json.loads((run / "best" / "config.json").read_text())
    return {"backbone.path": config["backbone"]["path"]}


def test_the_same_again_makes_no_commit_and_a_change_sends_only_itself(uploads, saved):
    first = push(saved / "best", "acme/mine")
    assert push(saved / "best", "acme/mine").commit == first.commit
    assert uploads.commits == [first.commit]
    push(saved / "best", "acme/mine", licence="mit")
    assert list(uploads.sent.values()) == [1]


def test_a_branch_is_pushed_to_and_read_from(uploads, saved):
    push(saved / "best", "acme/mine")
    changed(saved)
    pushed = push(saved / "best", "acme/mine", revision="next")
    assert pushed.revision == "next"
    assert_same(load("acme/mine@next", options=where(saved)), load(saved))
    with pytest.raises(UsageError, match="is a commit, which never changes"):
        push(saved / "best", "acme/mine", revision=pushed.commit)


def test_a_private_model_is_private_and_never_put_where_all_can_see_it(uploads, saved):
    push(saved / "best", "acme/secret", private=True)
    assert "acme/secret" in uploads.hub.private
    push(saved / "best", "acme/secret", private=True)
    push(saved / "best", "acme/open")
    before = uploads.hub.commit("acme/open")
    with pytest.raises(UsageError, match="acme/open is there and public"):
        push(saved / "best", "acme/open", private=True)
    assert uploads.hub.commit("acme/open") == before


def test_a_name_alone_is_one_of_ones_own(uploads, saved):
    assert push(saved / "best", "mine").repo == "acme/mine"


def test_a_folder_of_the_backbone_is_asked_for(uploads, saved):
    push(saved / "best", "acme/mine")
    with pytest.raises(UsageError) as caught:
        load("acme/mine")
    assert 'options={"backbone.path": FOLDER}' in str(caught.value)


def test_a_backbone_on_the_hub_can_be_said(uploads, saved, random_backbone):
    commit = uploads.hub.add("acme/omniflow", random_backbone)
    from omniflow.hub.names import HubName

    push(saved / "best", "acme/mine", base_model=HubName("acme/omniflow", commit))
    assert load("acme/mine").backbone.identity()["revision"] == commit
    card = (uploads.hub.folder("acme/mine") / "README.md").read_text()
    assert "base_model: acme/omniflow\nbase_model_relation: adapter\n" in card


def test_loads_without_a_network_ask_for_nothing(uploads, saved, monkeypatch):
    from huggingface_hub import constants

    pushed = push(saved / "best", "acme/mine")
    model = load("acme/mine", options=where(saved))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    uploads.hub.asked.clear()
    for name in ("acme/mine", pushed.pin):
        assert_same(load(name, options=where(saved)), model)
    assert uploads.hub.asked == []
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        load("acme/other")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set: unset it"):
        push(saved / "best", "acme/mine")
    assert uploads.hub.asked == []
