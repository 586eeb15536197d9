"""Folders in the published layout: what loads, and what is said about those that do not."""

import json
import logging
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer, T5Config

from omniflow.backbones.published import PublishedBackbone
from omniflow.errors import CheckpointError, ConfigError, UsageError
from omniflow.interfaces import Streams
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.text_vae import TextVAE, TextVAEConfig

TINY = Path(str(files("omniflow") / "assets" / "tiny"))
WEIGHTS = Path("transformer") / "diffusion_pytorch_model.safetensors"

T5 = {
    "model_type": "t5",
    "vocab_size": 1024,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 16,
    "num_layers": 1,
    "num_heads": 2,
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 1024,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "vae_config": {
        "prompt_size": 16,
        "vae_dim": 6,
        "vae_hidden_size": 12,
        "n_tokens": 3,
        "pre_norm": False,
        "norm_type": "layer_norm",
        "vae_scale": 1.0,
        "qformer_layers": 1,
        "qformer_intermediate_size": 16,
    },
}
TRANSFORMER = {
    "_class_name": "OmniFlowTransformerModel",
    "sample_size": 4,
    "patch_size": 2,
    "in_channels": 2,
    "out_channels": 2,
    "num_layers": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 2,
    "joint_attention_dim": 24,
    "caption_projection_dim": 16,
    "pooled_projection_dim": 10,
    "audio_input_dim": 2,
    "pos_embed_max_size": 4,
    "audio_height": 4,
    "audio_width": 4,
    "audio_pos_embed_max_size": 4,
    "audio_sample_size": 4,
}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """A folder with random weights, position tables included."""
    root = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    transformer = JointTransformer(JointTransformerConfig.from_dict(TRANSFORMER), text_output_dim=6)
    vae = TextVAE(TextVAEConfig.from_dict(LLAMA), T5Config.from_dict(T5))
    tensors = {f"text_decoder.{name}": tensor for name, tensor in vae.state_dict().items()}
    tensors |= transformer.state_dict()
    for name, config in (
        ("transformer", TRANSFORMER),
        ("text_vae", LLAMA),
        ("text_encoder_3", T5),
    ):
        (root / name).mkdir()
        (root / name / "config.json").write_text(json.dumps(config))
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, root / WEIGHTS)
    for name in ("tokenizer_3", "vae_tokenizer"):
        shutil.copytree(TINY / name, root / name)
    return root


@pytest.fixture
def folder(original, tmp_path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "model"))


def loaded(path: Path, **options) -> PublishedBackbone:
    backbone = PublishedBackbone(path=str(path), **options)
    backbone.load_weights()
    return backbone


def rewrite(folder: Path, **changes: Tensor | None) -> None:
    """Replace tensors of the weights, or take them out."""
    tensors = load_file(folder / WEIGHTS) | changes
    kept = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    save_file(kept, folder / WEIGHTS)


def outputs(backbone: PublishedBackbone) -> list[Tensor]:
    """Something of every part: latents, features, logits."""
    tokens = backbone.tokenise(["a red circle", "", "two"], max_length=32)
    latents = backbone.encode_text(tokens.prompt_ids, tokens.is_empty)
    features = backbone.text_features(latents, torch.tensor([0.0, 500.0, 1000.0]))
    logits = backbone.decode_logits(latents, tokens.input_ids)
    return [latents, features.hidden, features.x0, logits]


def test_every_stored_tensor_arrives_where_its_name_says(original):
    backbone = loaded(original)
    stored = load_file(original / WEIGHTS)
    state = backbone.transformer.state_dict()
    state |= {f"text_decoder.{key}": value for key, value in backbone.text_vae.state_dict().items()}
    assert state.keys() == stored.keys()
    for name, tensor in stored.items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)


def test_the_constructor_reads_no_weight(original):
    backbone = PublishedBackbone(path=str(original))
    assert all(parameter.is_meta for parameter in backbone.parameters())


def test_sizes_are_those_of_the_configuration(original):
    backbone = PublishedBackbone(path=str(original))
    assert (backbone.latent_dim, backbone.latent_tokens, backbone.pooled_dim) == (6, 3, 10)
    assert backbone.feature_dims == {"hidden": 24, "x0": 6}
    assert backbone.text_projection is backbone.transformer.text_output
    assert backbone.modalities == ("text",)


def test_the_last_projection_turns_hidden_features_into_x0(original):
    backbone = loaded(original)
    _, hidden, x0, _ = outputs(backbone)
    torch.testing.assert_close(backbone.text_projection(hidden), x0)


def test_features_are_those_of_the_padded_text_stream(original):
    backbone = loaded(original)
    latents, timesteps = torch.randn(2, 3, 6), torch.tensor([100.0, 900.0])
    pooled = torch.randn(2, 10)
    padded = torch.cat([latents, torch.zeros(2, 3, 18)], dim=2)
    expected = backbone.transformer(text=padded, pooled=pooled, timestep_text=timesteps)
    features = backbone.text_features(latents, timesteps, pooled)
    torch.testing.assert_close(features.x0, expected.text)
    zeros = backbone.text_features(latents, timesteps, torch.zeros(2, 10))
    torch.testing.assert_close(backbone.text_features(latents, timesteps).x0, zeros.x0)


def test_a_text_stream_that_nobody_asks_about_is_not_projected(original):
    backbone = loaded(original)
    seen = []
    backbone.text_projection.register_forward_hook(lambda *_: seen.append(True))
    streams, levels = Streams(text=torch.randn(1, 3, 6)), Streams(text=torch.tensor([100.0]))
    call = streams, levels, torch.randn(1, 10)
    assert backbone.predict(*call, predict_text=False).text is None
    assert seen == []
    assert backbone.predict(*call).text is not None
    assert seen == [True]


@pytest.mark.parametrize("stored_as", ["shards", "bin", "bin shards"])
def test_all_kinds_of_weight_files_give_the_same_model(original, folder, stored_as):
    tensors = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    base = folder / "transformer" / "diffusion_pytorch_model"
    suffix = "bin" if "bin" in stored_as else "safetensors"
    save = torch.save if suffix == "bin" else save_file
    if stored_as == "bin":
        save(tensors, f"{base}.bin")
    else:
        names = sorted(tensors)
        places = {
            name: f"{base.name}-0000{1 + i % 2}-of-00002.{suffix}" for i, name in enumerate(names)
        }
        for shard in set(places.values()):
            part = {name: tensors[name] for name in names if places[name] == shard}
            save(part, base.parent / shard)
        index = json.dumps({"metadata": {}, "weight_map": places})
        Path(f"{base}.{suffix}.index.json").write_text(index)
    for found, expected in zip(outputs(loaded(folder)), outputs(loaded(original)), strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_missing_position_tables_are_computed(original, folder):
    rewrite(folder, **{"pos_embed.pos_embed": None, "audio_embedder.pos_embed": None})
    found, expected = loaded(folder).transformer, loaded(original).transformer
    torch.testing.assert_close(found.pos_embed.pos_embed, expected.pos_embed.pos_embed)
    torch.testing.assert_close(found.audio_embedder.pos_embed, expected.audio_embedder.pos_embed)


@pytest.mark.parametrize("left_out", ["shared.weight", "encoder.embed_tokens.weight"])
def test_either_name_of_the_tied_embedding_is_enough(original, folder, left_out):
    rewrite(folder, **{f"text_decoder.encoder.{left_out}": None})
    torch.testing.assert_close(outputs(loaded(folder))[0], outputs(loaded(original))[0])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("auto", torch.float16)],
)
def test_precision_is_the_one_asked_for_and_callers_keep_theirs(folder, dtype, expected):
    rewrite(folder, **{key: value.half() for key, value in load_file(folder / WEIGHTS).items()})
    backbone = loaded(folder, dtype=dtype)
    assert {parameter.dtype for parameter in backbone.parameters()} == {expected}
    assert {tensor.dtype for tensor in outputs(backbone)} == {torch.float32}


def test_it_stays_frozen_and_in_evaluation_mode(original):
    backbone = loaded(original).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    for first, second in zip(outputs(backbone), outputs(backbone), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_gradients_pass_through_to_the_latents(original):
    backbone = loaded(original)
    latents = torch.randn(1, 3, 6, requires_grad=True)
    backbone.decode_logits(latents, torch.tensor([[1, 300]])).sum().backward()
    assert latents.grad is not None
    assert latents.grad.abs().sum() > 0


def test_identity_changes_with_a_weight_and_with_a_configuration(original, folder):
    known = PublishedBackbone(path=str(original)).identity()
    assert known["id"] == str(original)
    assert PublishedBackbone(path=str(folder)).identity()["hash"] == known["hash"]
    (folder / "text_vae" / "config.json").write_text(json.dumps({**LLAMA, "rms_norm_eps": 1e-5}))
    second = PublishedBackbone(path=str(folder)).identity()["hash"]
    rewrite(folder, **{"text_output.bias": torch.ones(6)})
    third = PublishedBackbone(path=str(folder)).identity()["hash"]
    assert len({known["hash"], second, third}) == 3


# Texts --------------------------------------------------------------------------------------------


def test_texts_become_bos_text_eos_and_padding(original):
    backbone = PublishedBackbone(path=str(original))
    tokens = backbone.tokenise(["a red circle on a blue square", "a", ""], max_length=32)
    lengths = [int((row != -100).sum()) for row in tokens.labels]
    assert lengths[0] > lengths[1] == 3
    assert lengths[2] == 2
    for ids, labels, length in zip(tokens.input_ids, tokens.labels, lengths, strict=True):
        assert ids[0] == 1
        assert ids[length - 1] == 2
        assert (ids[length:] == 3).all()
        assert (labels[length:] == -100).all()
        assert (labels[:length] == ids[:length]).all()
    assert tokens.is_empty.tolist() == [False, False, True]
    assert tokens.prompt_ids.shape == (3, 77)
    assert tokens.prompt_ids[2].tolist() == [1] + [0] * 76
    assert tokens.cut == 0


def test_a_text_that_brings_its_end_gets_no_second_one(original):
    backbone = PublishedBackbone(path=str(original))
    tokens = backbone.tokenise(["a circle</s>", "a circle"], max_length=32)
    assert tokens.input_ids[0].tolist() == tokens.input_ids[1].tolist()


def test_cut_texts_lose_their_end_and_are_counted(original):
    backbone = PublishedBackbone(path=str(original))
    whole = backbone.tokenise(["one circle and two squares"], max_length=64)
    length = whole.input_ids.shape[1]
    assert backbone.tokenise(["one circle and two squares"], max_length=length).cut == 0
    cut = backbone.tokenise(["one circle and two squares", "a"], max_length=length - 1)
    assert cut.cut == 1
    assert cut.input_ids[0].tolist() == whole.input_ids[0, :-1].tolist()
    assert cut.labels[0].tolist() == whole.labels[0, :-1].tolist()


def test_a_prompt_too_long_for_t5_is_counted_and_keeps_its_end(original):
    backbone = PublishedBackbone(path=str(original))
    tokens = backbone.tokenise(["circle " * 100], max_length=1000)
    assert tokens.cut == 1
    assert tokens.prompt_ids.shape == (1, 77)
    assert tokens.prompt_ids[0, -1] == 1
    assert (tokens.prompt_ids[0] != 0).all()


def test_a_padding_token_is_added_beyond_the_table_of_the_decoder(original, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / "vae_tokenizer")
    content = json.loads((folder / "vae_tokenizer" / "tokenizer.json").read_text())
    content["added_tokens"] = [t for t in content["added_tokens"] if t["content"] != "[PAD]"]
    vocabulary = content["model"]["vocab"]
    vocabulary["filler"] = vocabulary.pop("[PAD]")
    (folder / "vae_tokenizer" / "tokenizer.json").write_text(json.dumps(content))
    settings = folder / "vae_tokenizer" / "tokenizer_config.json"
    kept = {k: v for k, v in json.loads(settings.read_text()).items() if k != "pad_token"}
    settings.write_text(json.dumps(kept))
    backbone = loaded(folder)
    tokens = backbone.tokenise(["a red circle", "a"], max_length=32)
    assert tokens.input_ids[1, -1] == len(tokenizer) == 1024
    latents = torch.randn(2, 3, 6)
    logits = backbone.decode_logits(latents, tokens.input_ids)
    plain = backbone.decode_logits(latents[1:], tokens.input_ids[1:, :3])
    torch.testing.assert_close(logits[1:, :3], plain)


# Mistakes -----------------------------------------------------------------------------------------


def test_a_word_that_is_no_folder_is_told_with_what_could_stand_there():
    with pytest.raises(UsageError) as caught:
        PublishedBackbone(path="OmniFlow")
    assert "there is no folder 'OmniFlow'" in str(caught.value)
    assert "OWNER/NAME on the Hub" in str(caught.value)


def test_a_hub_id_out_of_reach_is_told_with_what_to_do():
    with pytest.raises(UsageError, match="acme/model cannot be fetched") as caught:
        PublishedBackbone(path="acme/model")
    assert "HF_HUB_OFFLINE" in caught.value.problem
    assert "a local folder with its files works without the Hub" in caught.value.notes


def test_all_missing_parts_are_named_at_once(folder):
    shutil.rmtree(folder / "vae_tokenizer")
    (folder / "text_vae" / "config.json").unlink()
    (folder / WEIGHTS).unlink()
    with pytest.raises(CheckpointError) as caught:
        PublishedBackbone(path=str(folder))
    assert caught.value.notes == (
        "missing: text_vae/config.json",
        "missing: vae_tokenizer",
        "missing: transformer/diffusion_pytorch_model.safetensors (or .bin, whole or split)",
    )


def test_a_missing_shard_is_named(folder):
    (folder / WEIGHTS).unlink()
    index = {"weight_map": {"text_output.bias": "part-1.safetensors"}}
    Path(f"{folder / WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"missing: transformer/part-1\.safetensors"):
        PublishedBackbone(path=str(folder))


@pytest.mark.parametrize("weight_map", [None, {"a": "../a.safetensors"}, {"a": 3}])
def test_an_index_that_points_elsewhere_is_refused(folder, weight_map):
    (folder / WEIGHTS).unlink()
    index = {"weight_map": weight_map}
    Path(f"{folder / WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="names of files beside it"):
        PublishedBackbone(path=str(folder))


@pytest.mark.parametrize(
    "name", ["diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin"]
)
def test_a_truncated_file_is_told_with_its_size(folder, name):
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).unlink()
    (folder / "transformer" / name).write_bytes(content[:5000])
    with pytest.raises(CheckpointError) as caught:
        loaded(folder)
    assert caught.value.where == str(folder / "transformer" / name)
    assert "not a whole file of tensors" in str(caught.value)
    assert "its size is 5000 bytes" in str(caught.value)


def test_a_pickle_that_would_run_code_is_refused(folder, tmp_path):
    class Harmful:
        def __reduce__(self):
            return Path.touch, (tmp_path / "harm",)

    (folder / WEIGHTS).unlink()
    torch.save({"text_output.bias": Harmful()}, folder / WEIGHTS.with_suffix(".bin"))
    with pytest.raises(CheckpointError, match="holds more than tensors: ") as caught:
        loaded(folder)
    assert caught.value.notes == ("nothing in it was executed",)
    assert not (tmp_path / "harm").exists()


def test_missing_tensors_are_listed(folder):
    rewrite(folder, **{"text_decoder.query": None, "text_output.weight": None})
    with pytest.raises(CheckpointError) as caught:
        loaded(folder)
    assert caught.value.problem == "2 tensors are missing"
    assert caught.value.notes == (
        "missing: text_decoder.query",
        "missing: text_output.weight",
    )


def test_a_foreign_file_lacks_everything(folder):
    save_file({"weight": torch.zeros(2)}, folder / WEIGHTS)
    with pytest.raises(CheckpointError, match=r"\d+ tensors are missing") as caught:
        loaded(folder)
    assert len(caught.value.notes) == 11
    assert caught.value.notes[-1].startswith("... and ")


def test_a_tensor_of_another_shape_is_named_with_both_shapes(folder):
    rewrite(folder, **{"text_output.weight": torch.zeros(7, 24)})
    with pytest.raises(CheckpointError) as caught:
        loaded(folder)
    assert "text_output.weight has shape [7, 24]" in str(caught.value)
    assert "expected [6, 24]" in str(caught.value)


def test_unexpected_tensors_are_told_and_known_leftovers_are_not(folder, caplog):
    legacy = "text_decoder.qformer.encoder.layer.0.intermediate.dense.weight"
    rewrite(folder, **{"clip_head.weight": torch.zeros(1), legacy: torch.zeros(1)})
    with caplog.at_level(logging.WARNING):
        loaded(folder)
    (record,) = caplog.records
    assert "clip_head.weight" in record.getMessage()
    assert "intermediate" not in record.getMessage()


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_configuration_is_told_with_its_file(folder, content):
    (folder / "transformer" / "config.json").write_text(content)
    with pytest.raises(CheckpointError) as caught:
        PublishedBackbone(path=str(folder))
    assert caught.value.where == str(folder / "transformer" / "config.json")


def test_an_impossible_configuration_is_told_with_its_file(folder):
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**TRANSFORMER, "num_layers": 0}))
    with pytest.raises(ConfigError, match="num_layers is 0") as caught:
        PublishedBackbone(path=str(folder))
    assert caught.value.where == str(path)


def test_latents_wider_than_the_text_stream_are_refused(folder):
    path = folder / "transformer" / "config.json"
    path.write_text(json.dumps({**TRANSFORMER, "joint_attention_dim": 4}))
    with pytest.raises(ConfigError, match="at most joint_attention_dim, 4"):
        PublishedBackbone(path=str(folder))


def test_a_broken_tokenizer_is_told_with_its_folder(folder):
    (folder / "vae_tokenizer" / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="not a readable tokenizer") as caught:
        PublishedBackbone(path=str(folder))
    assert caught.value.where == str(folder / "vae_tokenizer")


def test_another_t5_in_the_folder_is_passed_over(folder, monkeypatch):
    # A folder derived from Stable Diffusion 3 brings the T5 of that model.
    config = folder / "text_encoder_3" / "config.json"
    config.write_text(json.dumps({**T5, "d_model": 4096}))
    monkeypatch.setattr("omniflow.backbones.t5_source.T5_ID", "acme/t5")
    with pytest.raises(UsageError, match="of width 16"):
        PublishedBackbone(path=str(folder))


def test_an_unknown_precision_is_refused(original):
    with pytest.raises(ConfigError, match="dtype is 'fp8', expected auto, fp32 or bf16"):
        PublishedBackbone(path=str(original), dtype="fp8")
