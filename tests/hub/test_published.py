"""Published models from the Hub, fetched by the real client: ids, names, revisions, fallbacks."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch

from omniflow import build
from omniflow.backbones.published import PublishedBackbone
from omniflow.errors import CheckpointError, ConfigError, UsageError

BIN = "diffusion_pytorch_model.bin"


@pytest.fixture
def checkpoint(parity_data, tmp_path):
    """The published layout, as on the Hub: no T5, and precisions twice."""
    folder = shutil.copytree(parity_data / "pipeline_tiny" / "checkpoint", tmp_path / "served")
    encoder = folder / "text_encoder_2"
    shutil.copy(encoder / "model.safetensors", encoder / "model.fp16.safetensors")
    return folder


@pytest.fixture
def flan(parity_data):
    return parity_data / "pipeline_tiny" / "external" / "flan_t5"


def state_of(backbone):
    backbone.load_weights()
    return backbone.state_dict()


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize("version", ["v0.5", "v0.9"])
def test_a_released_model_is_built_by_its_name(online, checkpoint, flan, random_backbone, version):
    commit = online.add(f"jacklishufan/OmniFlow-{version}", checkpoint)
    online.add("google/flan-t5-large", flan)
    backbone = build(backbone=f"omniflow-{version}", head="linear").backbone
    expected = state_of(PublishedBackbone(path=str(random_backbone), dtype="bf16"))
    assert_same(backbone.state_dict(), expected)
    identity = backbone.identity()
    assert identity["id"] == f"jacklishufan/OmniFlow-{version}"
    assert identity["revision"] == commit
    assert len(identity["hash"]) == 64


def test_only_what_is_needed_is_fetched(online, checkpoint, flan):
    online.add("acme/omniflow", checkpoint)
    online.add("google/flan-t5-large", flan)
    backbone = PublishedBackbone(path="acme/omniflow")
    assert not any(path.endswith((".bin", ".safetensors")) for path in online.asked)
    backbone.load_weights()
    fetched = {path for path in online.asked if path.endswith((".bin", ".safetensors"))}
    assert {path.rpartition("/")[2] for path in fetched} == {BIN}
    assert all("/transformer/" in path for path in fetched)


def test_the_same_files_have_one_hash_from_the_hub_and_from_a_folder(online, checkpoint, flan):
    online.add("acme/omniflow", checkpoint)
    from_hub = PublishedBackbone(path="acme/omniflow", t5=str(flan)).identity()
    from_folder = PublishedBackbone(path=str(checkpoint), t5=str(flan)).identity()
    assert from_hub["hash"] == from_folder["hash"]
    assert (from_folder["id"], from_folder["revision"]) == (str(checkpoint), "")


def test_a_t5_that_the_file_lacks_is_fetched(online, checkpoint, flan):
    online.add("acme/omniflow", checkpoint)
    online.add("google/flan-t5-large", flan)
    whole = state_of(PublishedBackbone(path="acme/omniflow"))
    assert "/google/flan-t5-large/resolve/" not in str(
        [path for path in online.asked if path.endswith("model.safetensors")]
    )
    weights = checkpoint / "transformer" / BIN
    tensors = torch.load(weights, weights_only=True)
    kept = {name: t for name, t in tensors.items() if "text_decoder.encoder" not in name}
    torch.save(kept, weights)
    online.add("acme/omniflow-without", checkpoint)
    found = state_of(PublishedBackbone(path="acme/omniflow-without"))
    assert any(path.endswith("model.safetensors") for path in online.asked)
    assert_same(found, whole)


def test_split_weights_are_fetched_shard_by_shard(online, checkpoint, flan):
    expected = state_of(PublishedBackbone(path=str(checkpoint), t5=str(flan)))
    weights = checkpoint / "transformer" / BIN
    tensors = torch.load(weights, weights_only=True)
    weights.unlink()
    places = {name: f"part-{i % 2}.bin" for i, name in enumerate(tensors)}
    for shard in set(places.values()):
        part = {name: tensor for name, tensor in tensors.items() if places[name] == shard}
        torch.save(part, weights.with_name(shard))
    weights.with_name(f"{BIN}.index.json").write_text(json.dumps({"weight_map": places}))
    online.add("acme/omniflow", checkpoint)
    assert_same(state_of(PublishedBackbone(path="acme/omniflow", t5=str(flan))), expected)
    weights.with_name("part-1.bin").unlink()
    online.add("acme/torn", checkpoint)
    with pytest.raises(CheckpointError, match="missing: transformer/part-1.bin"):
        PublishedBackbone(path="acme/torn", t5=str(flan)).load_weights()


def test_a_revision_is_pinned_and_an_unknown_one_named(online, checkpoint, flan):
    commit = online.add("acme/omniflow", checkpoint)
    pinned = PublishedBackbone(path="acme/omniflow", revision=commit, t5=str(flan))
    assert pinned.identity()["revision"] == commit
    with pytest.raises(UsageError, match="acme/omniflow has no revision 'v9'"):
        PublishedBackbone(path="acme/omniflow", revision="v9", t5=str(flan))


def test_a_folder_has_no_revision(checkpoint, flan):
    with pytest.raises(ConfigError, match="revision is 'main'"):
        PublishedBackbone(path=str(checkpoint), revision="main", t5=str(flan))


def test_what_was_fetched_once_loads_without_the_hub(online, checkpoint, flan, monkeypatch):
    from huggingface_hub import constants

    online.add("acme/omniflow", checkpoint)
    first = state_of(PublishedBackbone(path="acme/omniflow", t5=str(flan)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    backbone = PublishedBackbone(path="acme/omniflow", t5=str(flan))
    assert_same(state_of(backbone), first)
    assert backbone.identity()["revision"] == online.commit("acme/omniflow")


def test_averages_are_fetched_when_asked_for(online, checkpoint, flan):
    online.add("acme/omniflow", checkpoint)
    with pytest.raises(CheckpointError, match="there are no averaged weights"):
        PublishedBackbone(path="acme/omniflow", t5=str(flan), ema=True).load_weights()
    backbone = PublishedBackbone(path=str(checkpoint), t5=str(flan))
    shadows = [torch.full(each.shape, 0.5) for each in backbone.transformer.parameters()]
    settings = {
        "decay": 0.9, "min_decay": 0.0, "optimization_step": 1, "update_after_step": 0,
        "use_ema_warmup": False, "inv_gamma": 1.0, "power": 0.5, "shadow_params": shadows,
    }  # fmt: skip
    torch.save(settings, checkpoint / "transformer" / "ema_transformer.pt")
    online.add("acme/averaged", checkpoint)
    averaged = PublishedBackbone(path="acme/averaged", t5=str(flan), ema=True)
    averaged.load_weights()
    assert all(bool((each == 0.5).all()) for each in averaged.transformer.parameters())


# Mistakes -----------------------------------------------------------------------------------------


def test_a_model_of_another_kind_lacks_the_parts(online, flan):
    online.add("acme/t5", flan)
    with pytest.raises(CheckpointError, match="acme/t5: not a whole model") as caught:
        PublishedBackbone(path="acme/t5")
    assert caught.value.notes == (
        "missing: transformer/config.json",
        "missing: text_vae/config.json",
        "missing: vae_tokenizer",
    )


def test_a_model_without_weights_is_told_when_they_are_read(online, checkpoint, flan):
    (checkpoint / "transformer" / BIN).unlink()
    online.add("acme/omniflow", checkpoint)
    backbone = PublishedBackbone(path="acme/omniflow", t5=str(flan))
    with pytest.raises(CheckpointError, match=r"missing: transformer/diffusion_pytorch_model"):
        backbone.load_weights()


def test_an_unknown_model_may_be_private(online):
    with pytest.raises(UsageError, match="there is no model acme/omniflow, or it is private"):
        PublishedBackbone(path="acme/omniflow")


def test_a_hub_that_refuses_half_way_is_told(online, checkpoint, flan):
    commit = online.add("acme/omniflow", checkpoint)
    online.broken.add(f"/acme/omniflow/resolve/{commit}/transformer/{BIN}")
    backbone = PublishedBackbone(path="acme/omniflow", t5=str(flan))
    with pytest.raises(UsageError, match="acme/omniflow cannot be fetched") as caught:
        backbone.load_weights()
    assert "your token may not read it" in str(caught.value)
    online.broken.clear()
    backbone.load_weights()


# Whole commands -----------------------------------------------------------------------------------


def test_a_run_trains_on_a_hub_id_and_loads_again(hub, checkpoint, flan, tmp_path):
    commit = hub.add("acme/omniflow", checkpoint)
    hub.add("google/flan-t5-large", flan)
    environment = {**os.environ, **hub.environment(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    arguments = [
        "train", "--backbone", "acme/omniflow", "--head", "mlp", "--set", "head.hidden_dim=8",
        "--set", "dataset.size=20", "--batch-size", "4", "--max-steps", "1", "--max-length", "16",
        "--set", "training.eval_batches=1", "--set", "training.samples=0", "--device", "cpu",
        "--output-dir", "run",
    ]  # fmt: skip
    script = """
import sys
import omniflow
from omniflow_cli.app import main
assert main(sys.argv[1:]) == 0
print(omniflow.load("run").backbone.identity()["revision"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "run" / "final" / "config.json").read_text())
    assert config["backbone_identity"]["id"] == "acme/omniflow"
    assert config["backbone_identity"]["revision"] == commit
    assert done.stdout.splitlines()[-1] == commit
