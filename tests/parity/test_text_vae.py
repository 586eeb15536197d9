"""The text VAE against tensors and key lists of the original."""

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from omniflow.models.text_vae import TextVAE, TextVAEConfig, normalise_states

DATA = Path(__file__).parent / "data"
GOLDEN = DATA / "text_vae_tiny"
VARIANTS = ["ln_post", "rms_pre_scaled", "rms_post_identity", "legacy1536"]
FULL_SIZE = ["text_vae_default_1536", "text_vae_64", "text_vae_64_prenorm_rms"]

# Float32 on both sides, other kernels and another transformers: differences stay below 1e-5.
ATOL = 1e-4


@pytest.fixture(scope="module", params=VARIANTS)
def variant(request):
    name = request.param
    tensors = load_file(GOLDEN / "cases.safetensors")
    values = {key.split(".")[1]: value for key, value in tensors.items() if key.startswith(name)}
    described = json.loads((GOLDEN / "cases.json").read_text())["variants"]
    cases = next(entry["cases"] for entry in described if entry["name"] == name)
    return load_variant(name), values, {case["name"]: case for case in cases}


def load_variant(name: str) -> TextVAE:
    config = TextVAEConfig.from_dict(json.loads((GOLDEN / name / "config.json").read_text()))
    vae = TextVAE(config, json.loads((GOLDEN / "t5_encoder_config.json").read_text()))
    weights = load_file(GOLDEN / "common.safetensors") | load_file(GOLDEN / f"{name}.safetensors")
    vae.load_state_dict({key: value.float() for key, value in weights.items()}, strict=True)
    return vae.eval()


def close(actual, expected):
    torch.testing.assert_close(actual, expected, atol=ATOL, rtol=0)


@cache
def full_size() -> dict:
    return json.loads(gzip.decompress((DATA / "full_size_keys.json.gz").read_bytes()))


def build_on_meta(entry: dict) -> TextVAE:
    llama = dict(entry["llama_config"])
    if isinstance(entry["vae_config"], dict):
        llama["vae_config"] = entry["vae_config"]
    with torch.device("meta"):
        return TextVAE(TextVAEConfig.from_dict(llama), entry["t5_config"])


@torch.no_grad()
def test_states_become_the_latents_of_the_original(variant):
    vae, golden, _ = variant
    close(vae.connect(golden["prompt_embeds"]), golden["latents"])
    sampled = vae.connect(golden["prompt_embeds"], noise=golden["uniform_noise"])
    close(sampled, golden["latents_sampled"])


@torch.no_grad()
def test_sampling_adds_a_thousandth_of_the_noise_times_the_scale(variant):
    vae, golden, _ = variant
    noise = golden["uniform_noise"]
    moved = vae.connect(golden["prompt_embeds"], noise=noise) - vae.connect(golden["prompt_embeds"])
    torch.testing.assert_close(moved, 0.001 * noise * vae.config.vae_scale, atol=2e-6, rtol=0)


@torch.no_grad()
def test_prompt_ids_become_the_latents_of_the_original(variant):
    vae, golden, cases = variant
    ids = golden["t5_input_ids"]
    is_empty = torch.tensor([not prompt for prompt in cases["encode_full"]["prompts"]])
    raw = vae.encoder(input_ids=ids).last_hidden_state
    close(raw, golden["t5_last_hidden"])
    close(normalise_states(raw), golden["t5_normalised"])
    close(vae.encode(ids, is_empty), golden["encode_latents"])


@torch.no_grad()
def test_only_legacy_latents_read_the_states_of_the_empty_prompt(variant):
    vae, golden, _ = variant
    states = vae.prompt_states(golden["t5_input_ids"], torch.tensor([False, True, False]))
    zeroed = states.abs().amax(dim=(1, 2)) == 0
    assert zeroed.tolist() == [False, vae.latent_dim != 1536, False]


@torch.no_grad()
def test_logits_and_loss_are_those_of_the_original(variant):
    vae, golden, cases = variant
    logits = vae.logits(golden["dec_latents"], golden["dec_input_ids"])
    close(logits, golden["dec_logits"])
    assert logits.dtype == torch.float32
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), golden["dec_labels"][:, 1:].flatten())
    assert loss.item() == pytest.approx(cases["logits"]["expected"]["loss"], abs=1e-5)
    close(vae.logits(None, golden["dec_input_ids"]), golden["nolat_logits"])


def test_greedy_generation_gives_the_ids_of_the_original(variant):
    vae, golden, cases = variant
    expected = golden["gen_sequences"]
    echoed = vae.latent_tokens + 1
    assert (expected[:, :echoed] == 1).all(), "the original echoes the prefix as BOS ids"
    budget = cases["greedy_generate"]["max_length"] - echoed
    assert torch.equal(
        vae.generate(golden["gen_latents"], max_new_tokens=budget), expected[:, echoed:]
    )


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_keys_shapes_order_and_counts_are_those_of_the_original(name):
    entry = full_size()[name]
    vae = build_on_meta(entry)
    actual = [(key, list(value.shape)) for key, value in vae.state_dict().items()]
    assert actual == list(entry["state_dict"].items())

    def count(module):
        return sum(parameter.numel() for parameter in module.parameters())

    assert count(vae) == entry["parameter_count"]
    assert count(vae.encoder) == entry["parameter_count_t5"]
    assert count(vae.qformer) == entry["parameter_count_qformer"]
    assert count(vae.model) + count(vae.lm_head) == entry["parameter_count_llama"]


def test_parameter_order_is_that_of_the_averaged_weights():
    order = full_size()["transformer_with_text_decoder"]["parameter_order"]
    expected = [key for key in order if key.startswith("text_decoder.")]
    vae = build_on_meta(full_size()["text_vae_default_1536"])
    assert [f"text_decoder.{name}" for name, _ in vae.named_parameters()] == expected
