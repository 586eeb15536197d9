"""Models pushed to a Hub and read back: the same to the last bit, with all that belongs to them."""

from functools import partial

import pytest
import torch

from omniflow.assembly import build, load
from omniflow.downloads.saved_model import pull_model
from omniflow.errors import UsageError
from omniflow.hub.names import HubName
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
    """Every head, a plugin's among them, with every refiner, and every encoder with a pair."""
    registry = load_plugins().registry
    heads, refiners, encoders = (
        [component.name for component in registry.components(kind)]
        for kind in ("head", "refiner", "encoder")
    )
    pairs = [(head, refiner, None) for head in [*heads, "own"] for refiner in refiners]
    return [*pairs, *(("linear", "none", encoder) for encoder in encoders)]


@pytest.fixture
def encoder_options(parity_data):
    """The options of every encoder, with its models in a folder."""
    external = parity_data / "pipeline_tiny" / "external"
    folders = {"clip": "clip_vit_l", "t5": "flan_t5", "languagebind": "languagebind_audio"}
    return {name: {"name": name, "path": external / folder} for name, folder in folders.items()}


@pytest.mark.parametrize(("head", "refiner", "encoder"), combinations())
def test_every_combination_is_the_same_to_the_last_bit(
    uploads, registry, encoder_options, tmp_path, head, refiner, encoder
):
    encoders = []
    if encoder is not None:
        options = encoder_options[encoder]
        uploads.hub.add(f"acme/{encoder}", options["path"])
        encoders = [{**options, "path": f"acme/{encoder}"}]
    model = build(head=head, refiner=refiner, encoder=encoders, backbone="small", registry=registry)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.normal_()
    pushed = model.push_to_hub("acme/mine")
    report = pull_model(pushed.pin, tmp_path / "pulled")
    assert report.revision == pushed.commit
    for place in (tmp_path / "pulled", "acme/mine"):
        assert_same(model, load(place, registry=registry))


def test_the_embedded_backbone_is_found_again(uploads):
    model = build(head="vq", refiner="mlp")
    assert_same(model, load(model.push_to_hub("acme/mine").pin))


def test_a_plugins_model_names_what_to_install(uploads, registry):
    build(head="own", backbone="small", registry=registry).push_to_hub("acme/own")
    card = (uploads.hub.folder("acme/own") / "README.md").read_text()
    assert "pip install omniflow-zoo omniflow-acme==0.3" in card
    with pytest.raises(UsageError, match=r"pip install omniflow-acme==0\.3"):
        load("acme/own")


@pytest.fixture
def saved(registry, tmp_path):
    """A saved model."""
    place = tmp_path / "mine"
    build(head="linear", backbone="small", registry=registry).save_pretrained(place)
    return place


@pytest.fixture
def load_again(registry):
    """`load`, with the plugin's components."""
    return partial(load, registry=registry)


def change(folder, load_again):
    """Train a saved model a little further."""
    model = load_again(folder)
    with torch.no_grad():
        next(model.trainable_parameters()).add_(1)
    model.save_pretrained(folder)


def test_a_commit_stands_for_the_same_files_whatever_is_pushed_later(uploads, saved, load_again):
    first = push(saved, "acme/mine")
    before = load_again(first.pin)
    change(saved, load_again)
    second = push(saved, "acme/mine", message="Better")
    assert first.commit != second.commit
    assert_same(load_again(first.pin), before)
    again = load_again("acme/mine", revision=first.commit)
    assert_same(again, before)
    assert_same(load_again("acme/mine"), load_again(saved))
    with pytest.raises(UsageError, match="two revisions are said"):
        load_again(first.pin, revision=second.commit)
    third = push(saved, "acme/mine", revision="third", licence="mit")
    commits = [(entry["commit"], entry["revision"]) for entry in pushes(saved)]
    assert commits == [(second.commit, "main"), (third.commit, "third")]


def test_the_same_again_makes_no_commit_and_a_change_sends_only_itself(uploads, saved):
    first = push(saved, "acme/mine")
    assert push(saved, "acme/mine").commit == first.commit
    assert uploads.commits == [first.commit]
    push(saved, "acme/mine", licence="mit")
    assert list(uploads.sent.values()) == [1]


def test_a_branch_is_pushed_to_and_read_from(uploads, saved, load_again):
    push(saved, "acme/mine")
    change(saved, load_again)
    pushed = push(saved, "acme/mine", revision="next")
    assert pushed.revision == "next"
    assert_same(load_again("acme/mine@next"), load_again(saved))
    with pytest.raises(UsageError, match="is a commit, which never changes"):
        push(saved, "acme/mine", revision=pushed.commit)


def test_a_private_model_is_private_and_never_put_where_all_can_see_it(uploads, saved):
    push(saved, "acme/secret", private=True)
    assert "acme/secret" in uploads.hub.private
    push(saved, "acme/secret", private=True)
    push(saved, "acme/open")
    before = uploads.hub.commit("acme/open")
    with pytest.raises(UsageError, match="acme/open is there and public"):
        push(saved, "acme/open", private=True)
    assert uploads.hub.commit("acme/open") == before


def test_a_name_alone_is_one_of_ones_own(uploads, saved):
    assert push(saved, "mine").repo == "acme/mine"


def test_a_folder_of_the_backbone_is_asked_for_unless_its_place_on_the_hub_is_said(
    uploads, random_backbone, tmp_path
):
    backbone = {"name": "folder", "path": str(random_backbone)}
    model = build(head="linear", backbone=backbone)
    model.save_pretrained(tmp_path / "mine")
    push(tmp_path / "mine", "acme/mine")
    with pytest.raises(UsageError) as caught:
        load("acme/mine")
    assert 'options={"backbone.path": FOLDER}' in str(caught.value)
    assert_same(load("acme/mine", options={"backbone.path": str(random_backbone)}), model)
    commit = uploads.hub.add("acme/omniflow", random_backbone)
    push(tmp_path / "mine", "acme/mine", base_model=HubName("acme/omniflow", commit))
    found = load("acme/mine")
    assert found.backbone.identity()["revision"] == commit
    assert_same(found, model)
    card = (uploads.hub.folder("acme/mine") / "README.md").read_text()
    assert "base_model: acme/omniflow\nbase_model_relation: adapter\n" in card


def test_loads_without_a_network_ask_for_nothing(uploads, saved, load_again, monkeypatch):
    from huggingface_hub import constants

    pushed = push(saved, "acme/mine")
    model = load_again("acme/mine")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    uploads.hub.asked.clear()
    for name in ("acme/mine", pushed.pin):
        assert_same(load_again(name), model)
    assert uploads.hub.asked == []
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        load_again("acme/other")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set: unset it"):
        push(saved, "acme/mine")
    assert uploads.hub.asked == []
