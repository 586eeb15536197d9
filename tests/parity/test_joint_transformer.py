"""The joint transformer against tensors recorded from the original implementation."""

import gzip
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from omniflow.models.joint_attention import Streams
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.positions import centre_positions

DATA = Path(__file__).parent / "data"
FOLDERS = ("transformer_tiny", "transformer_tiny_rms", "transformer_tiny_nonorm_mae")
PUBLISHED = ("transformer_qk_layer_norm", "transformer_qk_rms_norm", "transformer_qk_None")

# float32 on another CPU or thread count: sums in another order, through a few blocks.
TOLERANCE = 1e-4
# A single block is closer (7e-7 here), and has to be: q/k norms with an epsilon of 1e-6 instead of
# 1e-5 are 1e-5 off.
BLOCK_TOLERANCE = 5e-6


@dataclass
class Golden:
    """A tiny network with published-style weights, and what the original made of its inputs."""

    model: JointTransformer
    config: JointTransformerConfig
    cases: dict
    tensors: dict[str, Tensor]


@cache
def golden(folder: str) -> Golden:
    """Load a folder once; the position table that the files leave out is computed."""
    path = DATA / folder
    config = JointTransformerConfig.from_dict(json.loads((path / "config.json").read_text()))
    cases = json.loads((path / "cases.json").read_text())
    model = JointTransformer(config, text_output_dim=cases["text_out_dim"])
    weights = load_file(path / "diffusion_pytorch_model.safetensors")
    weights = {name: tensor.float() for name, tensor in weights.items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert missing == ([] if config.use_audio_mae else ["audio_embedder.pos_embed"])
    assert unexpected == []
    tensors = load_file(path / "cases.safetensors")
    return Golden(model.eval(), config, cases, tensors)


def case_ids(*, raising: bool) -> list[tuple[str, str]]:
    """Folder and name of every recorded case."""
    return [
        (folder, case["name"])
        for folder in FOLDERS
        for case in json.loads((DATA / folder / "cases.json").read_text())["cases"]
        if ("original_raises" in case) == raising
    ]


def arguments(reference: Golden, case: dict) -> dict:
    """The recorded call in our terms: dropped streams are not passed, null audio is silence."""
    inputs = {
        name: None if stored is None else reference.tensors[stored]
        for name, stored in case["inputs"].items()
    }
    flags = case["flags"]
    audio, timestep_audio = inputs["audio_hidden_states"], inputs["timestep_audio"]
    if audio is None:
        audio = torch.zeros(len(inputs["pooled_projections"]), *reference.config.audio_shape)
        timestep_audio = 0 * inputs["timestep_text"]
    return {
        "image": None if flags["drop_image"] else inputs["hidden_states"],
        "text": None if flags["drop_text"] else inputs["encoder_hidden_states"],
        "audio": None if flags["drop_audio"] else audio,
        "pooled": inputs["pooled_projections"],
        "timestep_image": inputs["timestep"],
        "timestep_text": inputs["timestep_text"] if flags["use_text_output"] else None,
        "timestep_audio": timestep_audio,
        "split_cond": flags["split_cond"],
        "predict_text": flags["use_text_output"],
    }


def find_case(reference: Golden, name: str) -> dict:
    return next(case for case in reference.cases["cases"] if case["name"] == name)


def assert_matches(actual: Tensor, expected: Tensor, *, atol: float = TOLERANCE) -> None:
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


@pytest.mark.parametrize(("folder", "name"), case_ids(raising=False))
@torch.no_grad()
def test_every_recorded_call_gives_the_recorded_result(folder, name):
    reference = golden(folder)
    case = find_case(reference, name)
    output = reference.model(**arguments(reference, case))
    expected = dict(case["expected"])
    after_blocks = expected.pop("text_hidden_after_blocks", None)
    for stream, stored in expected.items():
        if stored is None:
            assert getattr(output, stream) is None
        else:
            assert_matches(getattr(output, stream), reference.tensors[stored])
    if after_blocks is not None:
        assert_matches(output.text_stream, reference.tensors[after_blocks])
        assert output.text_hidden is None


@pytest.mark.parametrize("folder", FOLDERS)
@torch.no_grad()
def test_the_text_prediction_is_the_last_projection_of_the_text_hidden_state(folder):
    reference = golden(folder)
    output = reference.model(**arguments(reference, find_case(reference, "all_sum_cond")))
    assert output.text_hidden.shape[2] == reference.config.joint_attention_dim
    assert_matches(
        reference.model.text_output(output.text_hidden),
        reference.tensors["out.all_sum_cond.text"],
    )


@pytest.mark.parametrize(("folder", "name"), case_ids(raising=True))
@torch.no_grad()
def test_a_sum_without_the_image_conditions_the_rest_on_the_sum_of_the_rest(folder, name):
    """The original raises. Reference: separate conditions (recorded elsewhere), each made to be
    the sum by replacing what its embedder computes with that constant."""
    reference = golden(folder)
    call = arguments(reference, find_case(reference, name))
    assert call["image"] is None
    assert not call["split_cond"]
    model = reference.model
    total = model.time_image_embed(call["timestep_text"], call["pooled"]) + model.time_aud_embed(
        call["timestep_audio"], call["pooled"]
    )
    constant = JointTransformer(reference.config, text_output_dim=reference.cases["text_out_dim"])
    constant.load_state_dict(model.state_dict())
    for embedder in (constant.time_image_embed, constant.time_aud_embed):
        for part in (embedder.timestep_embedder, embedder.text_embedder):
            part.linear_2.weight.zero_()
            part.linear_2.bias.zero_()
        embedder.timestep_embedder.linear_2.bias.copy_(total[0])
    expected = constant(**{**call, "split_cond": True})
    output = model(**call)
    assert output.image is None
    assert output.text.isfinite().all()
    assert output.audio.isfinite().all()
    assert_matches(output.text, expected.text)
    assert_matches(output.audio, expected.audio)


@pytest.mark.parametrize("folder", FOLDERS)
@torch.no_grad()
def test_first_and_last_block_give_the_recorded_streams(folder):
    reference = golden(folder)
    tensors = reference.tensors
    tokens = Streams(*(tensors[f"probe.block.in.{name}"] for name in Streams._fields))
    conditions = Streams(
        image=tensors["probe.block.in.temb"],
        text=tensors["probe.block.in.temb_text"],
        audio=tensors["probe.block.in.temb_audio"],
    )
    for index in (0, reference.config.num_layers - 1):
        updated = reference.model.transformer_blocks[index](tokens, conditions)
        for name, part in updated._asdict().items():
            recorded = tensors[f"probe.block{index}.out.{name}"]
            assert_matches(part, recorded, atol=BLOCK_TOLERANCE)


@torch.no_grad()
def test_the_last_block_leaves_the_text_stream_exactly_as_it_came():
    reference = golden("transformer_tiny")
    tensors = reference.tensors
    assert torch.equal(tensors["probe.block2.out.text"], tensors["probe.block.in.text"])
    streams = Streams(*(tensors[f"probe.block.in.{name}"] for name in Streams._fields))
    vectors = Streams(*(streams.image[:, 0] for _ in streams))
    updated = reference.model.transformer_blocks[-1](streams, vectors)
    assert torch.equal(updated.text, streams.text)


@pytest.mark.parametrize("folder", FOLDERS)
@torch.no_grad()
def test_condition_vectors_are_the_recorded_ones(folder):
    reference = golden(folder)
    # One timestep vector went through all three embedders.
    timestep, pooled = reference.tensors["in.timestep.b2"], reference.tensors["in.pooled_b2"]
    for embedder in ("time_text_embed", "time_image_embed", "time_aud_embed"):
        vector = getattr(reference.model, embedder)(timestep, pooled)
        assert_matches(vector, reference.tensors[f"probe.{embedder}.b2"])


@pytest.mark.parametrize("folder", FOLDERS)
@torch.no_grad()
def test_image_tokens_and_their_positions_are_the_recorded_ones(folder):
    reference = golden(folder)
    config = reference.config
    image = reference.tensors["in.image_b1"]
    fresh = JointTransformer(config, text_output_dim=4).pos_embed
    positions = centre_positions(
        fresh.pos_embed, image.shape[2] // config.patch_size, image.shape[3] // config.patch_size
    )
    assert_matches(positions, reference.tensors["probe.image_pos_embed_cropped"])
    assert_matches(fresh.pos_embed, reference.model.pos_embed.pos_embed)
    assert_matches(
        reference.model.pos_embed(image), reference.tensors["probe.image_tokens_after_embed.b1"]
    )


@pytest.mark.parametrize("folder", ["transformer_tiny", "transformer_tiny_rms"])
def test_the_computed_audio_position_table_is_the_recorded_one(folder):
    reference = golden(folder)
    table = reference.model.audio_embedder.pos_embed
    assert table.shape == (1, 192 * 192, reference.config.inner_dim)
    checksum = reference.cases["audio_pos_embed_checksum"]
    # The recorded sums were taken over float32 values; 1e-3 in 7e5 allows any order of summing.
    assert table.double().sum().item() == pytest.approx(checksum["sum"], abs=1e-3)
    assert table.double().abs().sum().item() == pytest.approx(checksum["abs_sum"], abs=1e-3)
    positions = centre_positions(table, 128, 8)
    first, last = "first64_tokens", "last64_tokens"
    name = "probe.audio_pos_embed_cropped"
    assert_matches(positions[:, :64], reference.tensors[f"{name}_{first}"])
    assert_matches(positions[:, -64:], reference.tensors[f"{name}_{last}"])


@cache
def published_keys() -> dict:
    with gzip.open(DATA / "full_size_keys.json.gz", "rt") as stream:
        return json.load(stream)


def full_size(entry: str) -> JointTransformer:
    """The published network without its three billion numbers."""
    recorded = published_keys()[entry]
    config = JointTransformerConfig.from_dict(recorded["config"])
    width = recorded["state_dict"]["text_output.weight"][0]
    with torch.device("meta"):
        return JointTransformer(config, text_output_dim=width)


@pytest.mark.parametrize("entry", PUBLISHED)
def test_full_size_weights_have_the_published_names_shapes_order_and_count(entry):
    recorded = published_keys()[entry]
    model = full_size(entry)
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert shapes == recorded["state_dict"]
    assert list(shapes) == list(recorded["state_dict"])
    assert sum(parameter.numel() for parameter in model.parameters()) == recorded["parameter_count"]


def test_full_size_parameters_come_in_the_order_of_the_published_ema_list():
    recorded = published_keys()["transformer_with_text_decoder"]["parameter_order"]
    own = [name for name in recorded if not name.startswith("text_decoder.")]
    assert [name for name, _ in full_size(PUBLISHED[0]).named_parameters()] == own


def test_the_full_size_forward_pass_never_asks_for_a_value():
    """Meta tensors hold none: `.item()` or a branch on a value would raise."""
    model = full_size(PUBLISHED[0])
    with torch.device("meta"):
        output = model(
            image=torch.empty(2, 16, 64, 64),
            text=torch.empty(2, 109, 4096),
            audio=torch.empty(2, 8, 256, 16),
            pooled=torch.empty(2, 2048),
            timestep_image=torch.empty(2),
            timestep_text=torch.empty(1, dtype=torch.long),
            timestep_audio=torch.empty(2),
        )
    assert output.image.shape == (2, 16, 64, 64)
    assert output.text.shape == (2, 109, 1536)
    assert output.text_hidden.shape == (2, 109, 4096)
    assert output.text_stream.shape == (2, 109, 1536)
    assert output.audio.shape == (2, 8, 256, 16)
