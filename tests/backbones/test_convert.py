"""Folders written anew as safetensors: the same model, the same layout, nothing lost in silence."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from omniflow.backbones.convert import convert_folder
from omniflow.backbones.published import PublishedBackbone
from omniflow.backbones.safetensors_writer import Converted, write_safetensors
from omniflow.errors import CheckpointError, ConfigError, OmniFlowError, UsageError
from omniflow.tensor_files import scan_tensors

NAME = "diffusion_pytorch_model"


@pytest.fixture
def folder(random_backbone, tmp_path) -> Path:
    """A copy of a whole model, as .bin in float16 and bfloat16, that a test may spoil."""
    return Path(shutil.copytree(random_backbone, tmp_path / "model"))


def stored_in(folder):
    """Every tensor of the transformer's safetensors, whole or split, read by their own library."""
    files = sorted((folder / "transformer").glob("*.safetensors"))
    return {name: tensor for file in files for name, tensor in load_file(file).items()}


def names_in(folder):
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


def state_of(path):
    backbone = PublishedBackbone(path=str(path))
    backbone.load_weights()
    return backbone.state_dict()


def test_the_result_holds_the_same_tensors_under_the_same_names(folder, tmp_path):
    done = convert_folder(folder, tmp_path / "out")
    expected = torch.load(folder / "transformer" / f"{NAME}.bin", weights_only=True)
    assert_same(stored_in(tmp_path / "out"), expected)
    changed = {f"transformer/{NAME}.bin"}
    assert names_in(tmp_path / "out") == names_in(folder) - changed | {
        f"transformer/{NAME}.safetensors"
    }
    for name in names_in(folder) - changed:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()
    assert done.converted == (f"transformer/{NAME}.safetensors",)
    assert done.left_out == ()


def test_the_result_loads_to_the_same_weights(folder, tmp_path):
    convert_folder(folder, tmp_path / "out")
    assert_same(state_of(tmp_path / "out"), state_of(folder))


def test_large_weights_are_split_with_an_index(folder, tmp_path):
    convert_folder(folder, tmp_path / "out", max_bytes=300_000)
    place = tmp_path / "out" / "transformer"
    index = json.loads((place / f"{NAME}.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    assert len(shards) > 3
    assert shards[0] == f"{NAME}-00001-of-{len(shards):05d}.safetensors"
    for shard in shards:
        tensors = load_file(place / shard)
        assert {name for name, at in index["weight_map"].items() if at == shard} == tensors.keys()
        assert sum(tensor.nbytes for tensor in tensors.values()) <= 300_000
    sizes = (tensor.nbytes for tensor in stored_in(tmp_path / "out").values())
    assert index["metadata"]["total_size"] == sum(sizes)
    assert_same(state_of(tmp_path / "out"), state_of(folder))


def test_split_bins_become_one_file(folder, tmp_path):
    whole = folder / "transformer" / f"{NAME}.bin"
    tensors = torch.load(whole, weights_only=True)
    expected = state_of(folder)
    whole.unlink()
    places = {name: f"{NAME}-{1 + i % 3:05d}-of-00003.bin" for i, name in enumerate(tensors)}
    for shard in set(places.values()):
        part = {name: tensor for name, tensor in tensors.items() if places[name] == shard}
        torch.save(part, whole.parent / shard)
    index = whole.with_name(f"{NAME}.bin.index.json")
    index.write_text(json.dumps({"weight_map": places}))
    convert_folder(folder, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out" / "transformer").iterdir()} == {
        "config.json",
        f"{NAME}.safetensors",
    }
    assert_same(state_of(tmp_path / "out"), expected)
    (whole.parent / f"{NAME}-00002-of-00003.bin").unlink()
    with pytest.raises(CheckpointError, match=r"-00002-of-00003\.bin is missing"):
        convert_folder(folder, tmp_path / "again")


def test_other_parts_are_converted_under_the_names_of_their_library(folder, tmp_path):
    encoder = folder / "text_encoder_2"
    tensors = load_file(encoder / "model.safetensors")
    (encoder / "model.safetensors").unlink()
    torch.save(tensors, encoder / "pytorch_model.bin")
    torch.save(tensors, encoder / "pytorch_model.fp16.bin")
    done = convert_folder(folder, tmp_path / "out", dtype="fp32")
    assert "text_encoder_2/model.safetensors" in done.converted
    assert_same(load_file(tmp_path / "out" / "text_encoder_2" / "model.safetensors"), tensors)


def test_a_bin_beside_safetensors_is_left_out_and_told(folder, tmp_path):
    tensors = torch.load(folder / "transformer" / f"{NAME}.bin", weights_only=True)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    save_file(tensors, folder / "transformer" / f"{NAME}.safetensors")
    done = convert_folder(folder, tmp_path / "out")
    assert done.left_out == (f"transformer/{NAME}.bin",)
    assert done.converted == ()
    assert_same(stored_in(tmp_path / "out"), tensors)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_precision_is_that_of_the_transformer_alone(folder, tmp_path, dtype, expected):
    convert_folder(folder, tmp_path / "out", dtype=dtype)
    before = torch.load(folder / "transformer" / f"{NAME}.bin", weights_only=True)
    assert_same(
        stored_in(tmp_path / "out"), {name: tensor.to(expected) for name, tensor in before.items()}
    )
    vae = Path("vae") / f"{NAME}.safetensors"
    assert (tmp_path / "out" / vae).read_bytes() == (folder / vae).read_bytes()


def test_averages_are_baked_in(folder, tmp_path):
    backbone = PublishedBackbone(path=str(folder))
    backbone.load_weights()
    shadows = [parameter + 1 for parameter in backbone.transformer.parameters()]
    settings = {
        "decay": 0.9, "min_decay": 0.0, "optimization_step": 1, "update_after_step": 0,
        "use_ema_warmup": False, "inv_gamma": 1.0, "power": 0.5, "shadow_params": shadows,
    }  # fmt: skip
    torch.save(settings, folder / "ema_transformer.pt")
    kept = convert_folder(folder, tmp_path / "plain")
    assert "ema_transformer.pt" in kept.copied
    done = convert_folder(folder, tmp_path / "out", ema=True)
    assert done.left_out == ("ema_transformer.pt",)
    averaged = PublishedBackbone(path=str(folder), ema=True)
    averaged.load_weights()
    assert_same(state_of(tmp_path / "out"), averaged.state_dict())
    found = dict(PublishedBackbone(path=str(tmp_path / "out")).named_parameters())
    assert found.keys() == dict(backbone.named_parameters()).keys()


def test_hidden_files_stay_behind(folder, tmp_path):
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").write_text("")
    (folder / "transformer" / ".lock").write_text("")
    convert_folder(folder, tmp_path / "out")
    assert not any(".lock" in name or ".cache" in name for name in names_in(tmp_path / "out"))


def test_progress_ends_with_everything(folder, tmp_path):
    told = []
    done = convert_folder(folder, tmp_path / "out", progress=lambda *seen: told.append(seen))
    assert [bytes_done for bytes_done, _ in told] == sorted(bytes_done for bytes_done, _ in told)
    assert told[-1] == (done.size, done.size)


@pytest.mark.parametrize("max_bytes", [10**9, 40])
def test_every_kind_of_number_is_written_as_its_library_reads_it(tmp_path, max_bytes):
    tensors = {
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(2.5, dtype=torch.float64),
        "bool": torch.tensor([True, False, True]),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "half": torch.randn(3).half(),
        "brain": torch.randn(2, 3).bfloat16(),
        "strided": torch.randn(4, 3).T,
        "whole": torch.tensor([1, -(2**40)]),
        "eight": torch.randn(3).to(torch.float8_e4m3fn),
    }
    torch.save(tensors, tmp_path / "a.bin")
    wanted = {key: Converted(t, t.dtype) for key, t in scan_tensors([tmp_path / "a.bin"]).items()}
    (tmp_path / "out").mkdir()
    write_safetensors(
        tmp_path / "out", "a.safetensors", wanted, max_bytes=max_bytes, progress=lambda size: None
    )
    found = {}
    for file in (tmp_path / "out").glob("*.safetensors"):
        with safe_open(file, framework="pt") as content:
            found |= {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name].float(), tensor.float())


# Mistakes -----------------------------------------------------------------------------------------


def test_nothing_is_overwritten(folder, tmp_path):
    (tmp_path / "out").mkdir()
    convert_folder(folder, tmp_path / "out")
    before = names_in(tmp_path / "out")
    with pytest.raises(UsageError, match="is not empty"):
        convert_folder(folder, tmp_path / "out")
    with pytest.raises(UsageError, match="is not empty"):
        convert_folder(folder, folder)
    assert names_in(tmp_path / "out") == before


def test_a_target_inside_the_source_is_refused(folder):
    with pytest.raises(UsageError, match="lies inside"):
        convert_folder(folder, folder / "out")


def test_a_target_that_is_a_file_is_refused(folder, tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="is a file"):
        convert_folder(folder, tmp_path / "out")


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_another_folder_is_refused(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"expected a folder with transformer/config\.json"):
        convert_folder(tmp_path / name, tmp_path / "out")


def test_a_folder_without_weights_is_refused(folder, tmp_path):
    (folder / "transformer" / f"{NAME}.bin").unlink()
    with pytest.raises(CheckpointError, match="it has no weights"):
        convert_folder(folder, tmp_path / "out")


def test_a_damaged_file_leaves_nothing_behind(folder, tmp_path):
    file = folder / "transformer" / f"{NAME}.bin"
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match="not a whole file of tensors"):
        convert_folder(folder, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"model"}


def test_code_in_a_pickle_does_not_run(folder, tmp_path):
    class Harmful:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "harm",))

    torch.save({"a": Harmful()}, folder / "vae" / "extra.bin")
    with pytest.raises(CheckpointError, match="it holds more than tensors"):
        convert_folder(folder, tmp_path / "out")
    assert not (tmp_path / "harm").exists()


def test_an_index_that_points_elsewhere_is_refused(folder, tmp_path):
    index = folder / "vae" / f"{NAME}.bin.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "../../secret.bin"}}))
    with pytest.raises(CheckpointError, match="names of files beside it"):
        convert_folder(folder, tmp_path / "out")


def test_an_unknown_precision_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="dtype is 'fp8', expected fp32, bf16, fp16"):
        convert_folder(folder, tmp_path / "out", dtype="fp8")


def test_a_full_disk_is_told_before_anything_is_written(folder, tmp_path, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(OmniFlowError, match=r"takes 0\.0 GB, there are 0\.0 GB free"):
        convert_folder(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def spoilt(folder, how):
    """Damage that only a look at every file and link finds."""
    weights = folder / "transformer" / f"{NAME}.bin"
    tensors = torch.load(weights, weights_only=True)
    odd = {
        "complex": torch.zeros(2, dtype=torch.complex64),
        "sparse": torch.eye(2).to_sparse(),
        "meta": torch.empty(2, device="meta"),
    }
    vae = folder / "vae" / f"{NAME}.safetensors"
    if how in odd:
        torch.save({**tensors, "odd": odd[how]}, weights)
    elif how == "half":
        vae.write_bytes(vae.read_bytes()[:-9])
    elif how == "shard":
        weights.rename(weights.with_name(f"{NAME}-00001-of-00002.bin"))
    elif how == "dangling":
        (folder / "vae" / "more.json").symlink_to("gone.json")
    elif how == "circle":
        (folder / "vae" / "up").symlink_to("..")
    else:
        (folder / "transformer" / "config.json").write_text("{")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("complex", "odd is of type complex64"),
        ("sparse", "odd is sparse, quantised or without values"),
        ("meta", "odd is sparse, quantised or without values"),
        ("half", "not a whole file of tensors"),
        ("shard", f"there are 1 files {NAME}-*-of-00002.bin, expected 2"),
        ("dangling", "is a link to gone.json, which is not there"),
        ("circle", "is a link to a folder that holds it"),
        ("configuration", "config.json"),
    ],
)
def test_a_folder_that_is_not_whole_leaves_nothing_behind(folder, tmp_path, how, told):
    spoilt(folder, how)
    with pytest.raises(CheckpointError) as caught:
        convert_folder(folder, tmp_path / "out")
    assert told in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["model"]


def test_what_another_process_wrote_meanwhile_stays(folder, tmp_path):
    def quicker(done, total):
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "out" / "notes.txt").write_text("not to be lost")

    with pytest.raises(UsageError, match="is not empty"):
        convert_folder(folder, tmp_path / "out", progress=quicker)
    assert names_in(tmp_path / "out") == {"notes.txt"}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model", "out"]
