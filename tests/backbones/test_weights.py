"""Where weights come from when the transformer's file lacks them, averages, and what is refused."""

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from omniflow.backbones.averages import named_averages, read_ema
from omniflow.backbones.published import PublishedBackbone
from omniflow.errors import CheckpointError, UnknownNameError, UsageError

BIN = Path("transformer") / "diffusion_pytorch_model.bin"
T5 = "text_decoder.encoder."


@pytest.fixture
def folder(random_backbone, tmp_path) -> Path:
    """A copy of a whole model, as .bin in float16 and bfloat16, that a test may spoil."""
    return Path(shutil.copytree(random_backbone, tmp_path / "model"))


@pytest.fixture(scope="module")
def reference(random_backbone):
    """Every tensor of it as loaded in float32."""
    return state_of(random_backbone)


def loaded(path, **options) -> PublishedBackbone:
    backbone = PublishedBackbone(path=str(path), **options)
    backbone.load_weights()
    return backbone


def state_of(path, **options):
    return named_state(loaded(path, **options))


def named_state(backbone):
    text_vae = backbone.text_vae.state_dict()
    return backbone.transformer.state_dict() | {
        f"text_decoder.{name}": tensor for name, tensor in text_vae.items()
    }


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0, msg=name)


def taken_out(folder, prefix):
    """Rewrite the .bin without the names that start so; what was taken out, without the prefix."""
    tensors = torch.load(folder / BIN, weights_only=True)
    gone = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    torch.save({name: tensor for name, tensor in tensors.items() if name not in gone}, folder / BIN)
    return {name.removeprefix(prefix): tensor for name, tensor in gone.items()}


# T5 -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_t5_that_the_file_lacks_comes_from_its_own_folder(folder, reference, name):
    weights = taken_out(folder, T5)
    weights = {key: tensor for key, tensor in weights.items() if "embed_tokens" not in key}
    # Hub files hold the decoder as well, which nobody asked for.
    weights["decoder.final_layer_norm.weight"] = torch.ones(32)
    (folder / "text_encoder_3" / "model.safetensors").unlink()
    save = torch.save if name.endswith("bin") else save_file
    save(weights, folder / "text_encoder_3" / name)
    assert_equal(state_of(folder), reference)


def test_a_t5_can_be_named(folder, reference, parity_data):
    taken_out(folder, T5)
    shutil.rmtree(folder / "text_encoder_3")
    shutil.rmtree(folder / "tokenizer_3")
    flan = parity_data / "pipeline_tiny" / "external" / "flan_t5"
    backbone = loaded(folder, t5=str(flan))
    stored = load_file(flan / "model.safetensors")
    found = backbone.text_vae.encoder.state_dict()
    for name in found.keys() & stored.keys():
        torch.testing.assert_close(found[name], stored[name].float(), rtol=0, atol=0)
    rest = {name: tensor for name, tensor in named_state(backbone).items() if T5 not in name}
    assert_equal(rest, {name: tensor for name, tensor in reference.items() if T5 not in name})


def test_the_weights_of_t5_count_in_the_content_hash_when_they_are_read(folder):
    def hash_of():
        return PublishedBackbone(path=str(folder)).identity()["hash"]

    t5 = folder / "text_encoder_3" / "model.safetensors"
    first = hash_of()
    save_file({name: 2 * tensor for name, tensor in load_file(t5).items()}, t5)
    assert hash_of() == first
    taken_out(folder, T5)
    without = hash_of()
    save_file({name: 3 * tensor for name, tensor in load_file(t5).items()}, t5)
    assert len({first, without, hash_of()}) == 3


def test_half_a_t5_is_not_completed_from_elsewhere(folder):
    taken_out(folder, T5 + "encoder.block.0.layer.0")
    with pytest.raises(CheckpointError, match="tensors are missing") as caught:
        loaded(folder)
    assert all(T5 + "encoder.block.0.layer.0" in note for note in caught.value.notes)


# Text VAE -----------------------------------------------------------------------------------------


def test_a_text_vae_that_the_file_lacks_comes_from_its_own_folder(folder, reference, caplog):
    weights = taken_out(folder, "text_decoder.")
    own = {name: tensor for name, tensor in weights.items() if not name.startswith("encoder.")}
    save_file(own, folder / "text_vae" / "model.safetensors")
    with caplog.at_level(logging.WARNING):
        found = state_of(folder)
    assert "weights of the text VAE come from text_vae/" in caplog.text
    t5 = load_file(folder / "text_encoder_3" / "model.safetensors")
    expected = dict(reference)
    for name, tensor in t5.items():
        if T5 + name in expected:
            expected[T5 + name] = tensor.float()
    expected[T5 + "encoder.embed_tokens.weight"] = expected[T5 + "shared.weight"]
    assert_equal(found, expected)


def test_a_text_decoder_that_is_nowhere_is_an_error(folder):
    taken_out(folder, "text_decoder.model.")
    with pytest.raises(CheckpointError, match="tensors are missing") as caught:
        loaded(folder)
    assert caught.value.notes[0] == "missing: text_decoder.model.embed_tokens.weight"


# Averages -----------------------------------------------------------------------------------------


def write_averages(path, parameters, **settings):
    """As diffusers' EMAModel stores them."""
    content = {
        "decay": 0.999, "min_decay": 0.0, "optimization_step": 4, "update_after_step": 0,
        "use_ema_warmup": False, "inv_gamma": 1.0, "power": 2 / 3, **settings,
    }  # fmt: skip
    torch.save({**content, "shadow_params": list(parameters)}, path)


def parameters_of(backbone):
    own = dict(backbone.transformer.named_parameters())
    return own, own | {
        f"text_decoder.{name}": each for name, each in backbone.text_vae.named_parameters()
    }


@pytest.mark.parametrize("place", ["transformer", "."])
@pytest.mark.parametrize("covers", ["transformer", "whole"])
def test_averages_take_the_place_of_the_parameters_that_they_cover(
    folder, reference, place, covers
):
    own, whole = parameters_of(PublishedBackbone(path=str(folder)))
    names = own if covers == "transformer" else whole
    shadows = [(2 * reference[name] + 1).bfloat16() for name in names]
    write_averages(folder / place / "ema_transformer.pt", shadows)
    expected = dict(reference) | {
        name: shadow.float() for name, shadow in zip(names, shadows, strict=True)
    }
    shared = T5 + "shared.weight"
    expected[T5 + "encoder.embed_tokens.weight"] = expected[shared]
    assert_equal(state_of(folder, ema=True), expected)
    assert_equal(state_of(folder), reference)


def test_averages_change_the_content_hash(folder, reference):
    own, _ = parameters_of(PublishedBackbone(path=str(folder)))
    write_averages(folder / "ema_transformer.pt", [reference[name] for name in own])
    hashes = {
        PublishedBackbone(path=str(folder), ema=ema).identity()["hash"] for ema in (True, False)
    }
    assert len(hashes) == 2


def test_averages_that_are_not_there_are_named(folder):
    with pytest.raises(CheckpointError, match=r"transformer/ema_transformer\.pt or ema_tr"):
        loaded(folder, ema=True)


@pytest.mark.parametrize("more", [-1, 1])
def test_a_list_of_another_length_is_refused_with_both_lengths(folder, reference, more):
    own, whole = parameters_of(PublishedBackbone(path=str(folder)))
    shadows = [reference[name] for name in own]
    write_averages(folder / "ema_transformer.pt", [*shadows, torch.ones(1)][: len(own) + more])
    with pytest.raises(CheckpointError) as caught:
        loaded(folder, ema=True)
    assert caught.value.problem == f"it averages {len(own) + more} parameters"
    assert caught.value.expected == f"{len(whole)}, or the {len(own)} of the transformer alone"


def test_an_average_of_another_shape_is_named(folder, reference):
    own, _ = parameters_of(PublishedBackbone(path=str(folder)))
    shadows = [reference[name] for name in own]
    shadows[0] = shadows[0][:1]
    write_averages(folder / "ema_transformer.pt", shadows)
    with pytest.raises(CheckpointError, match="1 averages have another shape") as caught:
        loaded(folder, ema=True)
    assert caught.value.notes[0].startswith(f"{next(iter(own))} has [1, ")


def test_the_file_of_the_original_is_read_as_it_describes_itself(parity_data, tmp_path):
    structure = json.loads((parity_data / "ema_tiny" / "structure.json").read_text())
    values = load_file(parity_data / "ema_tiny" / "values.safetensors")
    names = structure["parameter_names_in_order"]
    shadows = [values[f"step4.shadow.{name}"] for name in names]
    settings = structure["scalar_values_after_example"]
    path = tmp_path / "ema_transformer.pt"
    torch.save({**settings, "shadow_params": shadows}, path)
    averages = read_ema(path)
    assert averages.settings == settings
    assert [list(each.shape) for each in averages.shadows] == structure["shadow_params_shapes"]
    assert [*averages.settings, "shadow_params"] == structure["key_order"]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": torch.ones(1)}, "it holds no averaged weights"),
        ([torch.ones(1)], "it holds no averaged weights"),
        ({"shadow_params": [1.0]}, "it holds no averaged weights"),
        ({"shadow_params": [], "decay": "high"}, "its decay is 'high', expected a float"),
    ],
)
def test_another_kind_of_file_holds_no_averages(tmp_path, content, told):
    torch.save(content, tmp_path / "ema.pt")
    with pytest.raises(CheckpointError, match=told):
        read_ema(tmp_path / "ema.pt")


def test_full_size_averages_belong_to_the_published_names_in_order(full_size, tmp_path):
    transformer, text_vae, order = full_size
    shapes = {name: tuple(tensor.shape) for name, tensor in transformer.named_parameters()}
    shapes |= {f"text_decoder.{name}": tuple(t.shape) for name, t in text_vae.named_parameters()}
    # Expanded from one number: the file holds each shape, not its values.
    zero = torch.zeros(1)
    write_averages(tmp_path / "ema.pt", [zero.expand(shapes[name]) for name in order])
    named = named_averages(tmp_path / "ema.pt", transformer, text_vae, prefix="text_decoder.")
    assert list(named) == order
    assert {name: shadow.shape for name, shadow in named.items()} == shapes
    assert (len(shapes), len(dict(transformer.named_parameters()))) == (1699, 1146)


@pytest.fixture
def full_size(parity_data):
    """Transformer and text VAE on the meta device, and the recorded order of parameters."""
    import gzip

    from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
    from omniflow.models.text_vae import TextVAE, TextVAEConfig

    recorded = json.loads(gzip.decompress((parity_data / "full_size_keys.json.gz").read_bytes()))
    vae = recorded["text_vae_default_1536"]
    config = JointTransformerConfig.from_dict(recorded["transformer_qk_layer_norm"]["config"])
    with torch.device("meta"):
        transformer = JointTransformer(config, text_output_dim=1536)
        text_vae = TextVAE(TextVAEConfig.from_dict(vae["llama_config"]), vae["t5_config"])
    return transformer, text_vae, recorded["transformer_with_text_decoder"]["parameter_order"]


# Safety -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [BIN, BIN.with_suffix(".safetensors"), "ema_transformer.pt"])
@pytest.mark.parametrize("content", [b"", b"hello, this is a text and nothing else", b"\x80\x02"])
def test_a_file_of_something_else_is_told_with_its_name(folder, name, content):
    if name != "ema_transformer.pt":
        (folder / BIN).unlink()
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        loaded(folder, ema=name == "ema_transformer.pt")
    assert caught.value.where == str(folder / name)
    assert caught.value.problem.startswith("not a whole file of tensors")
    assert f"its size is {len(content)} bytes" in caught.value.notes[0]
    assert "weights_only" not in str(caught.value)


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("name", [BIN, Path("ema_transformer.pt")])
def test_code_in_a_pickle_does_not_run_and_the_message_says_so(folder, tmp_path, name, is_zip):
    class Harmful:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'harm')!r}, 'w')",))

    content = {"shadow_params": Harmful(), "text_output.bias": Harmful()}
    torch.save(content, folder / name, _use_new_zipfile_serialization=is_zip)
    with pytest.raises(CheckpointError) as caught:
        loaded(folder, ema=name != BIN)
    assert not (tmp_path / "harm").exists()
    assert caught.value.where == str(folder / name)
    assert caught.value.problem.startswith("it holds more than tensors: ")
    assert "eval" in caught.value.problem
    assert caught.value.notes == ("nothing in it was executed",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_plain_pickle_does_not_run_either(folder, tmp_path):
    import pickle

    class Harmful:
        def __reduce__(self):
            return (eval, (f"open({str(tmp_path / 'harm')!r}, 'w')",))

    (folder / BIN).write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(CheckpointError) as caught:
        loaded(folder)
    assert not (tmp_path / "harm").exists()
    assert "nothing in it was executed" in caught.value.notes


def test_numbers_of_another_kind_are_refused(folder):
    tensors = torch.load(folder / BIN, weights_only=True)
    tensors["text_output.weight"] = tensors["text_output.weight"].to(torch.int64)
    torch.save(tensors, folder / BIN)
    with pytest.raises(CheckpointError, match="text_output.weight is of type int64, expected floa"):
        loaded(folder)


def test_nothing_is_filled_in_when_one_tensor_does_not_fit(folder):
    tensors = torch.load(folder / BIN, weights_only=True)
    tensors["text_output.weight"] = torch.zeros(1)
    torch.save(tensors, folder / BIN)
    backbone = PublishedBackbone(path=str(folder))
    with pytest.raises(CheckpointError, match="text_output.weight has shape"):
        backbone.load_weights()
    assert all(parameter.is_meta for parameter in backbone.parameters())


def test_an_empty_folder_lacks_every_part(tmp_path):
    with pytest.raises(CheckpointError, match="not a whole model") as caught:
        PublishedBackbone(path=str(tmp_path))
    assert len(caught.value.notes) == 4


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(UsageError, match="there is no such folder"):
        PublishedBackbone(path=str(tmp_path / "model.bin"))


def test_a_key_of_the_configuration_that_nobody_knows_is_told_with_its_file(folder):
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "num_layer": 2}))
    with pytest.raises(UnknownNameError, match="num_layer") as caught:
        PublishedBackbone(path=str(folder))
    assert caught.value.where == str(path)
    assert caught.value.nearest[0] == "num_layers"


def test_a_shard_that_is_gone_when_it_is_read_is_named(folder, reference):
    backbone = PublishedBackbone(path=str(folder))
    (folder / BIN).rename(folder / "elsewhere")
    with pytest.raises(CheckpointError, match="missing: transformer/"):
        backbone.load_weights()


def test_links_are_followed(folder, reference, tmp_path):
    (folder / BIN).rename(tmp_path / "blob")
    (folder / BIN).symlink_to(tmp_path / "blob")
    (tmp_path / "link").symlink_to(folder)
    assert_equal(state_of(tmp_path / "link"), reference)


def test_the_old_format_of_torch_is_read(folder, reference):
    tensors = torch.load(folder / BIN, weights_only=True)
    torch.save(tensors, folder / BIN, _use_new_zipfile_serialization=False)
    assert_equal(state_of(folder), reference)


def test_a_loaded_model_does_not_hang_on_its_file(folder, reference):
    backbone = loaded(folder)
    (folder / BIN).write_bytes(bytes((folder / BIN).stat().st_size))
    assert_equal(named_state(backbone), reference)


def test_weights_go_straight_to_the_device_that_is_named(folder):
    backbone = PublishedBackbone(path=str(folder))
    backbone.load_weights(device=torch.device("meta"))
    assert all(tensor.is_meta for tensor in backbone.state_dict().values())
    assert backbone.text_vae.model.rotary_emb.inv_freq.is_meta
