"""What the joint transformer promises beyond the recorded numbers."""

import dataclasses
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import ConfigError, UnknownNameError, UsageError
from omniflow.interfaces.backbone import Streams
from omniflow.models.joint_attention import JointAttention
from omniflow.models.joint_embeddings import timestep_features, unpatchify
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig
from omniflow.models.positions import centre_positions, position_table

SMALL = JointTransformerConfig(
    sample_size=8,
    in_channels=4,
    out_channels=None,
    num_layers=3,
    attention_head_dim=8,
    num_attention_heads=2,
    joint_attention_dim=12,
    caption_projection_dim=16,
    pooled_projection_dim=10,
    audio_input_dim=3,
    pos_embed_max_size=8,
    audio_height=8,
    audio_width=4,
    audio_pos_embed_max_size=6,
    audio_sample_size=8,
)
STREAMS = ("image", "text", "audio")
COMBINATIONS = [
    tuple(name for name, kept in zip(STREAMS, flags, strict=True) if kept)
    for flags in product((True, False), repeat=3)
    if any(flags)
]


def build(**changes) -> JointTransformer:
    torch.manual_seed(0)
    return JointTransformer(dataclasses.replace(SMALL, **changes), text_output_dim=6).eval()


def inputs(model: JointTransformer, streams=STREAMS, *, batch: int = 2) -> dict:
    """A random call with the given streams, all timesteps different."""
    draw = torch.Generator().manual_seed(1)
    config = model.config
    shapes = {
        "image": (config.in_channels, 8, 12),
        "text": (5, config.joint_attention_dim),
        "audio": config.audio_shape,
    }
    call = {
        "pooled": torch.randn(batch, config.pooled_projection_dim, generator=draw),
    }
    for name in STREAMS:
        stream = torch.randn(batch, *shapes[name], generator=draw)
        timestep = torch.rand(batch, generator=draw) * 1000
        if name in streams:
            call |= {name: stream, f"timestep_{name}": timestep}
    return call


def predictions(output) -> dict:
    return {name: value for name, value in vars(output).items() if value is not None}


def called_modules(model: JointTransformer, call: dict) -> set[str]:
    """Names of the modules that a forward pass runs."""
    names: set[str] = set()
    handles = [
        module.register_forward_hook(lambda *_, name=name: names.add(name))
        for name, module in model.named_modules()
    ]
    with torch.no_grad():
        model(**call)
    for handle in handles:
        handle.remove()
    return names


# Streams


@pytest.mark.parametrize("split_cond", [False, True])
@pytest.mark.parametrize("streams", COMBINATIONS, ids="+".join)
@torch.no_grad()
def test_each_combination_of_streams_predicts_exactly_those(streams, split_cond):
    model = build()
    call = inputs(model, streams)
    output = predictions(model(**call, split_cond=split_cond))
    expected = {name: call[name].shape for name in streams}
    if "text" in streams:
        expected |= {"text": (2, 5, 6), "text_hidden": (2, 5, 12), "text_stream": (2, 5, 16)}
    assert {name: value.shape for name, value in output.items()} == expected
    assert all(value.isfinite().all() for value in output.values())


@pytest.mark.parametrize("split_cond", [False, True])
@pytest.mark.parametrize("streams", COMBINATIONS, ids="+".join)
@torch.no_grad()
def test_a_dropped_stream_is_as_good_as_a_model_built_without_it(streams, split_cond):
    model = build()
    dropped = {f"drop_{name}": name not in streams for name in STREAMS}
    without = build(**dropped)
    _, unexpected = without.load_state_dict(model.state_dict(), strict=False)
    parts = {"image": ("norm1", "ff"), "text": ("norm1_context", "ff_context")}
    parts["audio"] = ("norm1_audio", "ff_audio")
    gone = {part for name in STREAMS if name not in streams for part in parts[name]}
    assert {key.split(".")[2] for key in unexpected} == gone
    call = {**inputs(model, streams), "split_cond": split_cond}
    expected = predictions(model(**call))
    for name, value in predictions(without(**call)).items():
        assert torch.equal(value, expected[name])


@pytest.mark.parametrize("timestep", [0.0, 400.0])
@torch.no_grad()
def test_the_timestep_of_an_absent_stream_changes_nothing(timestep):
    model = build()
    call = inputs(model, ("text",))
    stray = {"timestep_image": torch.tensor([timestep]), "timestep_audio": torch.tensor([timestep])}
    expected = predictions(model(**call))
    for name, value in predictions(model(**call, **stray)).items():
        assert torch.equal(value, expected[name])


def test_text_alone_runs_no_image_or_audio_part_and_skips_the_last_block():
    model = build()
    names = called_modules(model, inputs(model, ("text",)))
    in_block = {
        name.removeprefix("transformer_blocks.0.")
        for name in names
        if name.startswith("transformer_blocks.0.")
    }
    assert {name for name in in_block if name.count(".") < 2 and name.startswith("attn.")} == {
        "attn.norm_q",
        "attn.norm_k",
        "attn.add_q_proj",
        "attn.add_k_proj",
        "attn.add_v_proj",
        "attn.to_add_out",
    }
    assert {name.split(".")[0] for name in in_block} == {"norm1_context", "attn", "ff_context"}
    assert not any(name.startswith("transformer_blocks.2.") for name in names)
    outside = {name.split(".")[0] for name in names} - {"", "transformer_blocks"}
    assert outside == {
        "time_image_embed",
        "context_embedder",
        "context_decoder",
        "norm_out_text",
        "text_output",
    }


def test_the_last_block_asks_nothing_for_text():
    model = build()
    last = "transformer_blocks.2."
    names = called_modules(model, inputs(model))
    names = {name.removeprefix(last) for name in names if name.startswith(last)}
    assert {"attn.add_k_proj", "attn.add_v_proj", "norm1_context", "ff", "ff_audio"} <= names
    assert names.isdisjoint({"attn.add_q_proj", "ff_context"})


TEXT_HEADS = {"context_decoder", "norm_out_text", "text_output"}


@pytest.mark.parametrize("split_cond", [False, True])
@torch.no_grad()
def test_without_text_prediction_the_text_heads_rest_and_the_others_say_the_same(split_cond):
    model = build()
    call = {**inputs(model), "split_cond": split_cond}
    everything = model(**call)
    call["predict_text"] = False
    names = called_modules(model, call)
    assert names.isdisjoint(TEXT_HEADS)
    assert "time_image_embed" in names
    output = model(**call)
    assert torch.equal(output.image, everything.image)
    assert torch.equal(output.audio, everything.audio)
    assert output.text is None
    assert output.text_hidden is None
    assert output.text_stream.shape == (2, 5, 16)


def test_text_without_a_timestep_has_no_condition_vector():
    model = build()
    call = {**inputs(model), "predict_text": False, "timestep_text": None}
    assert called_modules(model, call).isdisjoint({"time_image_embed", *TEXT_HEADS})


# Conditions


@torch.no_grad()
def test_text_feels_the_timesteps_of_other_streams_in_a_sum_and_not_in_split_conditions():
    model = build()
    call = inputs(model)
    for name in ("image", "audio"):
        changed = {**call, f"timestep_{name}": call[f"timestep_{name}"] / 2 + 100}
        condition, other = (
            called_condition(model, {**arguments, "split_cond": False})
            for arguments in (call, changed)
        )
        assert (condition - other).abs().max() > 1e-3
        condition, other = (
            called_condition(model, {**arguments, "split_cond": True})
            for arguments in (call, changed)
        )
        assert torch.equal(condition, other)


def called_condition(model: JointTransformer, call: dict) -> torch.Tensor:
    """The condition vector that the text head is given."""
    seen = []
    handle = model.norm_out_text.register_forward_hook(lambda _, args, __: seen.append(args[1]))
    model(**call)
    handle.remove()
    return seen[0]


@pytest.mark.parametrize("beside", ["image", "audio"])
@torch.no_grad()
def test_text_without_a_timestep_goes_by_its_neighbour_with_split_conditions(beside):
    model = build()
    call = {**inputs(model, ("text", beside)), "predict_text": False, "timestep_text": None}
    # One neighbour: the sum of the present vectors is that neighbour's own.
    expected = predictions(model(**call, split_cond=False))
    for name, value in predictions(model(**call, split_cond=True)).items():
        assert torch.equal(value, expected[name])


@torch.no_grad()
def test_one_timestep_and_one_pooled_vector_serve_the_whole_batch():
    model = build()
    call = inputs(model)
    short = {**call, "pooled": call["pooled"][:1], "timestep_text": torch.tensor([40])}
    long = {
        **call,
        "pooled": call["pooled"][:1].repeat(2, 1),
        "timestep_text": torch.tensor([40.0, 40.0]),
    }
    expected = predictions(model(**long))
    for name, value in predictions(model(**short)).items():
        # A product of one row may be summed in another order than one of two rows.
        torch.testing.assert_close(value, expected[name], atol=1e-5, rtol=0)


def test_timestep_features_put_the_cosines_first():
    features = timestep_features(torch.tensor([0, 250]))
    assert features.dtype == torch.float32
    assert torch.equal(features[0], torch.cat([torch.ones(128), torch.zeros(128)]))
    frequency = 10000 ** (-torch.arange(128, dtype=torch.float64) / 128)
    # float32 angles of up to 250 are known to about 1e-5.
    angles = torch.cat([(250 * frequency).cos(), (250 * frequency).sin()]).float()
    torch.testing.assert_close(features[1], angles, atol=5e-5, rtol=0)


# Batches, gradients, precision


@pytest.mark.parametrize("use_audio_mae", [False, True])
@settings(max_examples=20, deadline=None)
@given(
    streams=st.sampled_from(COMBINATIONS),
    split_cond=st.booleans(),
    order=st.permutations(range(3)),
)
@torch.no_grad()
def test_an_example_does_not_notice_its_batch(use_audio_mae, streams, split_cond, order):
    model = build(use_audio_mae=use_audio_mae)
    call = inputs(model, streams, batch=3)
    shuffled = {name: value[list(order)] for name, value in call.items()}
    together = predictions(model(**shuffled, split_cond=split_cond))
    for place, index in enumerate(order):
        single = {name: value[index : index + 1] for name, value in call.items()}
        alone = predictions(model(**single, split_cond=split_cond))
        for name, value in alone.items():
            # Matrix products of another height sum in another order.
            torch.testing.assert_close(together[name][place], value[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("split_cond", [False, True])
@pytest.mark.parametrize("streams", COMBINATIONS, ids="+".join)
def test_gradient_checkpointing_gives_the_same_gradients(streams, split_cond):
    model = build()
    call = {**inputs(model, streams), "split_cond": split_cond}
    gradients = []
    for checkpointing in (False, True):
        model.gradient_checkpointing = checkpointing
        model.zero_grad()
        output = predictions(model(**call))
        sum(value.square().mean() for value in output.values()).backward()
        gradients.append({name: value.grad for name, value in model.named_parameters()})
    plain, recomputed = gradients
    reached = {name for name, gradient in plain.items() if gradient is not None}
    assert reached == {name for name, gradient in recomputed.items() if gradient is not None}
    for name in reached:
        assert torch.equal(plain[name], recomputed[name])


def test_checkpointing_keeps_fewer_activations():
    model = build()
    kept = []
    for checkpointing in (False, True):
        model.gradient_checkpointing = checkpointing
        sizes: list[int] = []

        def keep(tensor, sizes=sizes):
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(**inputs(model))
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2


def test_only_the_unused_text_parts_of_the_last_block_get_no_gradient():
    model = build()
    output = model(**inputs(model))
    (output.image.sum() + output.text.sum() + output.audio.sum()).backward()
    without = {name for name, value in model.named_parameters() if value.grad is None}
    last = "transformer_blocks.2."
    unused = ("attn.add_q_proj", "ff_context.net.0.proj", "ff_context.net.2")
    assert without == {f"{last}{part}.{kind}" for part in unused for kind in ("weight", "bias")}


@pytest.mark.parametrize("qk_norm", ["layer_norm", "rms_norm", None])
@torch.no_grad()
def test_bfloat16_stays_bfloat16_and_near_float32(qk_norm):
    model = build(qk_norm=qk_norm)
    call = inputs(model)
    expected = predictions(model(**call))
    model = model.bfloat16()
    assert model.pos_embed.pos_embed.dtype == torch.bfloat16
    halved = {
        name: value if name.startswith("timestep") else value.bfloat16()
        for name, value in call.items()
    }
    for name, value in predictions(model(**halved)).items():
        assert value.dtype == torch.bfloat16
        # Eight bits of mantissa through three blocks, values of about 1.
        torch.testing.assert_close(value.float(), expected[name], atol=0.08, rtol=0)


# Positions and patches


def test_the_first_half_of_a_position_tells_the_column():
    table = position_table(6, 8, base_size=3).reshape(6, 6, 8)
    row, column = 4, 1
    u, v = torch.tensor(column / 2), torch.tensor(row / 2)
    expected = [u.sin(), (u / 100).sin(), u.cos(), (u / 100).cos()]
    expected += [v.sin(), (v / 100).sin(), v.cos(), (v / 100).cos()]
    torch.testing.assert_close(table[row, column], torch.stack(expected))


def test_positions_are_cut_from_the_centre_rounding_to_the_top_left():
    table = torch.arange(49.0).reshape(1, 49, 1)
    cut = centre_positions(table, 2, 3).flatten()
    assert cut.tolist() == [16, 17, 18, 23, 24, 25]


def test_a_map_beyond_the_position_table_is_refused():
    model = build()
    call = {**inputs(model), "image": torch.zeros(2, 4, 18, 8)}
    with pytest.raises(UsageError, match="9 x 4 patches has no positions, expected at most 8 x 8"):
        model(**call)


def test_patches_go_back_where_they_came_from():
    maps = torch.randn(2, 3, 4, 6)
    patches = maps.reshape(2, 3, 2, 2, 3, 2).permute(0, 2, 4, 3, 5, 1).reshape(2, 6, 12)
    assert torch.equal(unpatchify(patches, height=2, width=3, patch_size=2), maps)


@torch.no_grad()
def test_a_remainder_that_fills_no_patch_is_cut_off():
    model = build()
    call = inputs(model)
    uneven = {**call, "image": torch.nn.functional.pad(call["image"], (0, 1, 0, 1), value=9.0)}
    assert torch.equal(model(**uneven).image, model(**call).image)


def test_a_network_from_the_meta_device_gets_its_positions_on_request():
    expected = build()
    with torch.device("meta"):
        model = JointTransformer(SMALL, text_output_dim=6)
    assert model.pos_embed.pos_embed.is_meta
    tables = ("pos_embed.pos_embed", "audio_embedder.pos_embed")
    weights = {key: value for key, value in expected.state_dict().items() if key not in tables}
    model.load_state_dict(weights, strict=False, assign=True)
    model.reset_positions()
    for key in tables:
        assert torch.equal(model.state_dict()[key], expected.state_dict()[key])


# Mistakes in a call


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"timestep_audio": None}, "timestep_audio is missing, expected a timestep for the audio"),
        ({"timestep_text": torch.zeros(3)}, r"timestep_text has shape \[3\], expected \[2\] or"),
        ({"timestep_image": torch.tensor(3.0)}, r"timestep_image has shape \[\]"),
        ({"image": torch.zeros(2, 4, 8)}, r"expected \[batch, 4, height, width\]"),
        ({"image": torch.zeros(2, 5, 8, 8)}, r"image has shape \[2, 5, 8, 8\]"),
        ({"text": torch.zeros(2, 12)}, r"expected \[batch, tokens, 12\]"),
        ({"audio": torch.zeros(2, 3, 16, 4)}, r"expected \[batch, 3, 8, 4\]"),
        ({"pooled": torch.zeros(2, 11)}, r"pooled has shape \[2, 11\], expected \[batch, 10\]"),
        ({"text": torch.zeros(3, 5, 12)}, "batch sizes differ: image 2, text 3, audio 2, pooled 2"),
        ({"image": None, "text": None, "audio": None}, "no stream is passed"),
        ({"timestep_text": None}, "timestep_text is missing, expected a timestep for the text"),
        (
            {"image": None, "audio": None, "timestep_text": None, "predict_text": False},
            "text alone has no timestep to go by, expected timestep_text",
        ),
    ],
)
def test_a_call_that_does_not_fit_says_what_would(changes, message):
    model = build()
    with pytest.raises(UsageError, match=message):
        model(**{**inputs(model), **changes})


@pytest.mark.parametrize("name", STREAMS)
def test_a_model_without_a_stream_refuses_that_stream(name):
    model = build(**{f"drop_{name}": True})
    with pytest.raises(UsageError, match=f"{name} is passed to a model without {name} parts"):
        model(**inputs(model))


# Configuration


def test_the_defaults_are_those_of_the_original():
    values = JointTransformerConfig.from_dict({"_class_name": "SD3Transformer2DModel"}).to_dict()
    assert values == {
        "sample_size": 128,
        "patch_size": 2,
        "in_channels": 16,
        "out_channels": 16,
        "num_layers": 18,
        "attention_head_dim": 64,
        "num_attention_heads": 18,
        "joint_attention_dim": 4096,
        "caption_projection_dim": 1152,
        "pooled_projection_dim": 2048,
        "audio_input_dim": 8,
        "pos_embed_max_size": 96,
        "dual_attention_layers": [],
        "decoder_config": "",
        "add_audio": True,
        "add_clip": False,
        "use_audio_mae": False,
        "drop_text": False,
        "drop_image": False,
        "drop_audio": False,
        "qk_norm": "layer_norm",
        "audio_height": 256,
        "audio_width": 16,
        "audio_patch_size": 2,
        "audio_pos_embed_max_size": 192,
        "audio_sample_size": 256,
    }


def test_a_configuration_survives_being_written_and_read():
    config = dataclasses.replace(SMALL, dual_attention_layers=(0, 2), qk_norm=None)
    assert JointTransformerConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"caption_projection_dim": 1536}, "expected 1152, the inner width"),
        (
            {"num_attention_heads": 1, "attention_head_dim": 6, "caption_projection_dim": 6},
            "multiple of 4, not 6",
        ),
        ({"qk_norm": "rms_nrm"}, "did you mean: rms_norm"),
        ({"qk_norm": "layer_norm_across_heads"}, "expected layer_norm, rms_norm or null"),
        ({"decoder_config": "gpt2"}, "decoder inside the transformer is not supported"),
        ({"add_clip": True}, "CLIP inside the transformer is not supported"),
        ({"add_audio": False}, "without an audio stream is unsupported"),
        ({"num_layers": 0}, "num_layers is 0, expected a whole number >= 1"),
        ({"in_channels": "16"}, "in_channels is '16'"),
        ({"out_channels": 0}, "out_channels is 0"),
        ({"drop_text": 1}, "drop_text is 1, expected true or false"),
        ({"dual_attention_layers": ["0"]}, "a list of layer numbers"),
        ({"patch_size": 256}, "sample_size is 128, expected at least patch_size, 256"),
        ({"audio_height": 255}, "audio_height is 255, expected a multiple of audio_patch_size, 2"),
        ({"audio_width": 400}, "at most audio_pos_embed_max_size, 192, patches"),
    ],
)
def test_an_impossible_or_unsupported_value_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        JointTransformerConfig.from_dict(changes)


def test_an_unknown_key_is_refused_with_the_nearest_one():
    with pytest.raises(UnknownNameError, match="did you mean: num_layers"):
        JointTransformerConfig.from_dict({"num_layer": 2})


def test_a_text_output_of_no_width_is_refused():
    with pytest.raises(ConfigError, match="text_output_dim is 0"):
        JointTransformer(SMALL, text_output_dim=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_attention_keeps_its_precision(dtype):
    torch.manual_seed(0)
    attention = JointAttention(8, 2, qk_norm="layer_norm", updates_text=True).to(torch.float64)
    tokens = Streams(torch.randn(2, 3, 8).double(), torch.randn(2, 4, 8).double(), None)
    exact = attention(tokens).image
    found = attention.to(dtype)(Streams(*(t if t is None else t.to(dtype) for t in tokens))).image
    assert found.dtype == dtype
    atol = {torch.bfloat16: 2e-2, torch.float32: 1e-6}[dtype]
    torch.testing.assert_close(found.double(), exact, atol=atol, rtol=0)


def test_attention_in_double_precision_is_not_rounded_to_single():
    torch.manual_seed(0)
    attention = JointAttention(8, 2, qk_norm=None, updates_text=True).double()
    image = torch.randn(1, 5, 8).double()
    queries, keys, values = (
        projection(image).unflatten(2, (2, 4)).transpose(1, 2)
        for projection in (attention.to_q, attention.to_k, attention.to_v)
    )
    mixed = torch.softmax(queries @ keys.mT / 2.0, dim=-1) @ values
    expected = attention.to_out(mixed.transpose(1, 2).flatten(2))
    found = attention(Streams(image, None, None)).image
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
