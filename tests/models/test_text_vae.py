"""The text VAE: configuration, generation, padding, modes, and how weights move."""

import copy
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import ConfigError
from omniflow.models.text_vae import VAE_CONFIG_KEYS, TextVAE, TextVAEConfig

LLAMA = {
    "model_type": "llama",
    "vocab_size": 23,
    "hidden_size": 16,
    "intermediate_size": 20,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "rope_theta": 5000.0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
VAE = {
    "prompt_size": 10,
    "vae_dim": 6,
    "vae_hidden_size": 8,
    "n_tokens": 3,
    "pre_norm": False,
    "norm_type": "rms_norm",
    "vae_scale": 0.5,
    "qformer_layers": 2,
    "qformer_heads": 2,
    "qformer_intermediate_size": 12,
}
T5 = {
    "vocab_size": 19,
    "d_model": 10,
    "d_kv": 4,
    "d_ff": 12,
    "num_layers": 2,
    "num_heads": 2,
    "feed_forward_proj": "gated-gelu",
}
PROMPTS = torch.tensor([[5, 6, 1, 0], [1, 0, 0, 0], [7, 8, 9, 1]])
EMPTY = torch.tensor([False, True, False])


def build(*, t5=T5, pad=None, vae=None, **llama):
    torch.manual_seed(0)
    config = LLAMA | llama | {"vae_config": VAE | (vae or {})}
    if pad is not None:
        config["pad_token_id"] = pad
    module = TextVAE(TextVAEConfig.from_dict(config), t5)
    # Far from the standard initialisation, whose logits are all but equal.
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return module.eval()


@pytest.fixture(scope="module")
def vae():
    return build()


@pytest.fixture(scope="module")
def latents():
    return torch.randn(5, 3, 6, generator=torch.manual_seed(2))


def test_the_scale_multiplies_latents_and_divides_the_prefix(latents):
    half, double = build(vae={"vae_scale": 0.5}), build(vae={"vae_scale": 2.0})
    ids = torch.tensor([[1, 4, 5]])
    encoded = half.encode(PROMPTS, EMPTY)
    torch.testing.assert_close(double.encode(PROMPTS, EMPTY), 4 * encoded)
    torch.testing.assert_close(
        half.logits(latents[:1], ids), double.logits(4 * latents[:1], ids), atol=1e-5, rtol=1e-5
    )


def test_padding_of_the_prompt_is_read_like_any_token(vae):
    longer = torch.cat([PROMPTS, torch.zeros(3, 2, dtype=torch.long)], dim=1)
    assert not torch.allclose(vae.encode(longer, EMPTY), vae.encode(PROMPTS, EMPTY), atol=1e-3)


def test_all_empty_prompts_have_the_same_latents_and_not_zero(vae):
    encoded = vae.encode(PROMPTS, torch.tensor([True, True, False]))
    torch.testing.assert_close(encoded[0], encoded[1])
    assert encoded[0].abs().min() > 0
    assert not torch.allclose(encoded[0], encoded[2], atol=1e-3)


@torch.no_grad()
def test_dropout_acts_while_training_only(vae):
    assert torch.equal(vae.encode(PROMPTS, EMPTY), vae.encode(PROMPTS, EMPTY))
    training = copy.deepcopy(vae).train()
    assert not torch.allclose(
        training.encode(PROMPTS, EMPTY), training.encode(PROMPTS, EMPTY), atol=1e-3
    )


def test_encoding_without_t5_is_refused_and_decoding_works(latents):
    vae = build(t5=None)
    assert not any(key.startswith("encoder.") for key in vae.state_dict())
    assert vae.connect(torch.randn(2, 4, 10)).shape == (2, 3, 6)
    assert vae.generate(latents, max_new_tokens=2).shape == (5, 2)
    with pytest.raises(ConfigError, match="expected a T5 configuration, to encode prompts"):
        vae.encode(PROMPTS, EMPTY)


def test_logits_depend_on_every_latent_and_on_no_later_token(vae, latents):
    ids = torch.tensor([[1, 4, 5, 6]])
    base = vae.logits(latents[:1], ids)
    assert base.shape == (1, 4, 23)
    changed = vae.logits(latents[:1], torch.tensor([[1, 4, 9, 10]]))
    torch.testing.assert_close(changed[:, :2], base[:, :2])
    assert (changed[:, 2:] - base[:, 2:]).abs().amax(-1).min() > 1e-3
    for position in range(3):
        moved = latents[:1].clone()
        moved[:, position] += 1
        assert (vae.logits(moved, ids) - base).abs().amax(-1).min() > 1e-3


def test_the_prefix_itself_is_causal(vae, latents):
    prefix = vae._prefix(latents[:1])
    whole = vae.model(inputs_embeds=prefix).last_hidden_state
    first = vae.model(inputs_embeds=prefix[:, :2]).last_hidden_state
    torch.testing.assert_close(whole[:, :2], first, atol=1e-5, rtol=1e-5)


def test_no_token_gives_no_position(vae, latents):
    none = torch.empty(5, 0, dtype=torch.long)
    assert vae.decode_hidden(latents, none).shape == (5, 0, 16)
    assert vae.logits(latents, none).shape == (5, 0, 23)
    assert vae.logits(None, none).shape == (5, 0, 23)


def test_hidden_states_give_the_loss_in_chunks(vae, latents):
    ids = torch.tensor([[1, 4, 5, 6, 7, 2]])
    whole = F.cross_entropy(vae.logits(latents[:1], ids)[0, :-1], ids[0, 1:], reduction="sum")
    hidden = vae.decode_hidden(latents[:1], ids)[0, :-1]
    targets = ids[0, 1:]
    chunks = [
        F.cross_entropy(vae.lm_head(some).float(), wanted, reduction="sum")
        for some, wanted in zip(hidden.split(2), targets.split(2), strict=True)
    ]
    torch.testing.assert_close(sum(chunks), whole)


def test_gradients_reach_the_latents_through_a_frozen_decoder(latents):
    vae = build().requires_grad_(False)
    given_latents = latents.clone().requires_grad_()
    vae.logits(given_latents, torch.full((5, 4), 3)).logsumexp(-1).sum().backward()
    assert given_latents.grad.abs().amin() > 0


def greedy_by_hand(vae, latents, budget):
    """One row: the likeliest token of a whole forward pass, again and again."""
    ids = [1]
    while len(ids) <= budget and (len(ids) == 1 or ids[-1] != 2):
        ids.append(vae.logits(latents[None], torch.tensor([ids]))[0, -1].argmax().item())
    return ids[1:] + [2] * (budget + 1 - len(ids))


@torch.no_grad()
def test_generation_equals_whole_forward_passes_row_by_row(vae, latents):
    generated = vae.generate(latents, max_new_tokens=12)
    expected = torch.tensor([greedy_by_hand(vae, row, 12) for row in latents])
    width = generated.shape[1]
    assert torch.equal(generated, expected[:, :width])
    assert (expected[:, width:] == 2).all(), "it may stop once every row has ended"


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), batch=st.integers(1, 6), budget=st.integers(1, 9))
def test_batched_generation_equals_one_by_one(vae, seed, batch, budget):
    rows = torch.randn(batch, 3, 6, generator=torch.Generator().manual_seed(seed))
    together = vae.generate(rows, max_new_tokens=budget)
    assert together.shape[1] <= budget
    for row, ids in zip(rows, together, strict=True):
        alone = vae.generate(row[None], max_new_tokens=budget)[0]
        assert torch.equal(ids[: len(alone)], alone)
        assert (ids[len(alone) :] == 2).all()


def rigged(**options):
    """A decoder that says EOS whenever the first latent is negative, and token 7 otherwise."""
    vae = build(t5=None, num_hidden_layers=1, **options)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        layer = vae.model.layers[0]
        layer.input_layernorm.weight.fill_(1.0)
        vae.model.norm.weight.fill_(1.0)
        # Uniform attention hands the sign of the latent to every later position.
        layer.self_attn.v_proj.weight[:, 0] = 1.0
        layer.self_attn.o_proj.weight[0, 0] = 1.0
        vae.input_proj.weight[0, 0] = 1.0
        vae.lm_head.weight[7, 0] = 1.0
        vae.lm_head.weight[2, 0] = -1.0
    return vae


@pytest.mark.parametrize(("pad", "filler"), [(None, 2), (5, 5), (23, 2)])
def test_finished_rows_are_filled_with_padding_or_else_eos(pad, filler):
    latents = torch.tensor([1.0, -1.0])[:, None, None].expand(2, 3, 6)
    generated = rigged(pad=pad).generate(latents, max_new_tokens=4)
    assert generated.tolist() == [[7, 7, 7, 7], [2, filler, filler, filler]]


def test_generation_stops_once_every_row_has_ended():
    assert rigged().generate(-torch.ones(3, 3, 6), max_new_tokens=9).tolist() == [[2]] * 3


def test_no_rows_generate_no_rows(vae):
    assert vae.generate(torch.empty(0, 3, 6), max_new_tokens=4).shape == (0, 0)


def test_sampling_follows_the_global_seed(vae, latents):
    def draw(seed):
        torch.manual_seed(seed)
        return vae.generate(latents, max_new_tokens=8, do_sample=True, temperature=5.0)

    assert torch.equal(draw(3), draw(3))
    assert not torch.equal(draw(3), draw(4))


def test_a_padding_id_without_a_row_is_read_as_eos(latents):
    vae = build(pad=23)
    padded = torch.tensor([[1, 4, 2, 23], [1, 4, 5, 2]])
    expected = torch.tensor([[1, 4, 2, 2], [1, 4, 5, 2]])
    assert torch.equal(vae.logits(latents[:2], padded), vae.logits(latents[:2], expected))


def test_a_padding_id_may_be_told_later_and_with_a_row_keeps_it(latents):
    late = build()
    late.pad_token_id = 23
    late.logits(latents[:1], torch.tensor([[1, 4, 23]]))
    own_row = build(pad=22)
    padded, ended = torch.tensor([[1, 4, 22]]), torch.tensor([[1, 4, 2]])
    assert not torch.allclose(own_row.logits(None, padded), own_row.logits(None, ended), atol=1e-3)


def test_any_other_id_beyond_the_table_is_an_error(latents):
    with pytest.raises(IndexError):
        build(pad=23).logits(latents[:1], torch.tensor([[1, 24]]))


def test_meta_construction_then_weights_equals_ordinary_construction(vae, latents):
    with torch.device("meta"):
        config = TextVAEConfig.from_dict(LLAMA | {"vae_config": VAE})
        assigned, filled = TextVAE(config, T5).eval(), TextVAE(config, T5).eval()
    weights = vae.state_dict()
    assigned.load_state_dict(weights, assign=True)
    filled.to_empty(device="cpu").load_state_dict(weights)
    ids = torch.tensor([[1, 4, 5, 6]])
    for other in (assigned, filled):
        assert torch.equal(other.logits(latents[:1], ids), vae.logits(latents[:1], ids))
        assert torch.equal(other.encode(PROMPTS, EMPTY), vae.encode(PROMPTS, EMPTY))
        assert torch.equal(
            other.generate(latents, max_new_tokens=6), vae.generate(latents, max_new_tokens=6)
        )
        assert other.encoder.shared.weight is other.encoder.encoder.embed_tokens.weight


def test_casting_to_bfloat16_keeps_positions_exact(vae, latents):
    parent = torch.nn.ModuleDict({"text_decoder": copy.deepcopy(vae)}).to(torch.bfloat16)
    cast = parent["text_decoder"]
    assert cast.lm_head.weight.dtype == torch.bfloat16
    expected = 1 / 5000.0 ** (torch.arange(0, 4, 2) / 4)
    torch.testing.assert_close(cast.model.rotary_emb.inv_freq, expected, atol=0, rtol=1e-6)
    logits = cast.logits(latents[:1], torch.tensor([[1, 4, 5]]))
    assert logits.dtype == torch.float32
    assert cast.encode(PROMPTS, EMPTY).dtype == torch.bfloat16
    assert cast.generate(latents, max_new_tokens=3).shape == (5, 3)


def test_a_copy_generates_with_its_own_weights(vae, latents):
    twin = copy.deepcopy(vae)
    before = vae.generate(latents, max_new_tokens=6)
    assert torch.equal(twin.generate(latents, max_new_tokens=6), before)
    with torch.no_grad():
        twin.lm_head.weight.neg_()
    assert not torch.equal(twin.generate(latents, max_new_tokens=6), before)
    assert torch.equal(vae.generate(latents, max_new_tokens=6), before)


def test_configuration_survives_a_round_trip():
    config = TextVAEConfig.from_dict(LLAMA | {"vae_config": VAE})
    assert TextVAEConfig.from_dict(config.to_dict()) == config
    assert config.to_dict() == LLAMA | {"vae_config": VAE}


def test_no_vae_config_means_the_first_published_sizes():
    config = TextVAEConfig.from_dict(LLAMA)
    assert config.to_dict()["vae_config"] == {
        "prompt_size": 1024,
        "vae_dim": 1536,
        "vae_hidden_size": 1536,
        "n_tokens": 32,
        "pre_norm": False,
        "norm_type": "layer_norm",
        "vae_scale": 1.0,
    }
    assert config.max_prompt_tokens == 77


def test_every_option_reaches_its_module():
    vae = build(vae={"qformer_layers": 3, "qformer_heads": 4, "norm_type": "layer_norm"})
    assert len(vae.qformer.encoder.layer) == 3
    assert vae.qformer.encoder.layer[0].attention.attention.num_heads == 4
    assert vae.qformer.encoder.layer[0].intermediate_query.dense.out_features == 12
    assert isinstance(vae.q_norm, torch.nn.LayerNorm)
    assert (vae.latent_dim, vae.latent_tokens) == (6, 3)


@pytest.mark.parametrize("key", VAE_CONFIG_KEYS)
def test_a_vae_config_without_one_of_its_keys_is_refused(key):
    partial = {name: value for name, value in VAE.items() if name != key}
    with pytest.raises(ConfigError, match=rf"^vae_config\.{key} is None, expected a value"):
        TextVAEConfig.from_dict(LLAMA | {"vae_config": partial})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_tokens": 0}, "vae_config.n_tokens is 0, expected a whole number >= 1"),
        ({"vae_dim": "64"}, "vae_config.vae_dim is '64', expected a whole number >= 1"),
        ({"vae_scale": 0}, "vae_config.vae_scale is 0, expected a number other than 0"),
        (
            {"vae_hidden_size": 9},
            "vae_config.vae_hidden_size is 9, expected a multiple of the 2 Q-Former heads",
        ),
    ],
)
def test_impossible_sizes_are_refused(changed, message):
    with pytest.raises(ConfigError) as error:
        TextVAEConfig.from_dict(LLAMA | {"vae_config": VAE | changed})
    assert str(error.value) == message


def test_t5_of_another_width_is_refused():
    config = TextVAEConfig.from_dict(LLAMA | {"vae_config": VAE})
    with pytest.raises(ConfigError) as error:
        TextVAE(config, T5 | {"d_model": 12})
    assert str(error.value) == "vae_config.prompt_size is 10, expected the width of T5, 12"


def test_importing_the_module_imports_neither_transformers_nor_diffusers():
    code = (
        "import sys, omniflow.models.text_vae, omniflow.models.flow_scheduler;"
        "print(sorted({'transformers', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
