"""The embedded backbone: whole, small, offline, and as good as its card says."""

import io
import socket
import zipfile
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import omniflow
from omniflow.backbones.tiny import TinyBackbone
from omniflow.datasets.scenes import ScenesDataset
from omniflow.models.flow_scheduler import euler_step, sigmas_from, velocity_from_x0

FOLDER = Path(str(files("omniflow") / "assets" / "tiny"))


@pytest.fixture(scope="module")
def tiny() -> TinyBackbone:
    """Built and loaded while the network is out of reach."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the embedded backbone reached for the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        backbone = TinyBackbone()
        backbone.load_weights()
    return backbone


@pytest.fixture(scope="module")
def captions() -> list[str]:
    """Captions of scenes that training never saw."""
    scenes = ScenesDataset(split="test", size=50, image=False, audio=False)
    return [scenes[index].text for index in range(50)]


@pytest.fixture(scope="module")
def latents(tiny, captions) -> Tensor:
    tokens = tiny.tokenise(captions, max_length=77)
    assert tokens.cut == 0
    return tiny.encode_text(tokens.prompt_ids, tokens.is_empty)


def from_noise(tiny: TinyBackbone, count: int, steps: int) -> Tensor:
    """Text latents that the backbone makes of pure noise."""
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(count, tiny.latent_tokens, tiny.latent_dim, generator=generator)
    levels = sigmas_from(1.0, steps, 3.0).tolist()
    for level, following in pairwise(levels):
        x0 = tiny.text_features(x, torch.full((count,), 1000 * level)).x0
        x = euler_step(x, velocity_from_x0(x, x0, level), level, following)
    return x


def test_the_folder_is_small_enough_to_ship():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in FOLDER.rglob("*"):
            wheel.write(file)
    assert packed.tell() <= 25e6
    assert (FOLDER / "README.md").is_file()


def test_the_folder_holds_every_part_of_a_published_one():
    names = {file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*.json")}
    assert {
        "transformer/config.json",
        "text_vae/config.json",
        "vae_tokenizer/tokenizer.json",
        "tokenizer_3/tokenizer.json",
        "text_encoder_3/config.json",
        "scheduler/scheduler_config.json",
        "vae/config.json",
        "audio_vae/config.json",
        "audio_encoder/config.json",
        "text_encoder/config.json",
        "text_encoder_2/config.json",
        "vocoder/config.json",
    } <= names
    assert omniflow.build(head="linear").backbone.modalities == ("image", "text", "audio")


def test_identity_does_not_depend_on_where_it_is_installed(tiny):
    identity = tiny.identity()
    assert identity["id"] == "tiny"
    assert len(identity["hash"]) == 64


def test_latents_are_normalised(tiny, latents):
    assert latents.shape == (50, tiny.latent_tokens, tiny.latent_dim)
    torch.testing.assert_close(
        latents.mean(dim=2), torch.zeros(50, tiny.latent_tokens), atol=1e-4, rtol=0
    )
    # The norm's epsilon of 1e-5 keeps it a little below 1.
    torch.testing.assert_close(
        latents.var(dim=2, correction=0), torch.ones(50, tiny.latent_tokens), atol=1e-2, rtol=0
    )


@settings(max_examples=200, deadline=None)
@given(text=st.text())
def test_the_tokenizer_brings_any_text_back(tiny, text):
    assert round_trip(tiny, text) == text.removesuffix("</s>")


@pytest.mark.parametrize(
    "text",
    [
        "🦊👩‍👩‍👧",
        "漢字かな交じり文",
        "tab\tand\n\nlines",
        "  two  spaces  ",
        "ﬁ ﬀ Å é",
        "<s>[PAD]<unk>",
        "\x00",
    ],
)
def test_the_tokenizer_brings_unusual_text_back(tiny, text):
    assert round_trip(tiny, text) == text


def round_trip(tiny: TinyBackbone, text: str) -> str:
    ids = tiny.tokenise([text], max_length=10_000).input_ids[0]
    return tiny._text_tokenizer.decode(ids[1:-1], skip_special_tokens=False)


def test_captions_are_rebuilt_from_their_latents(tiny, captions, latents):
    rebuilt = tiny.generate_text(latents, max_new_tokens=48)
    assert sum(a == b for a, b in zip(rebuilt, captions, strict=True)) >= 45


def test_the_order_of_the_latents_does_not_matter_to_the_decoder(tiny, captions, latents):
    order = torch.randperm(tiny.latent_tokens, generator=torch.Generator().manual_seed(0))
    rebuilt = tiny.generate_text(latents[:, order], max_new_tokens=48)
    assert sum(a == b for a, b in zip(rebuilt, captions, strict=True)) >= 45


def test_clean_latents_pass_through_the_transformer(tiny, captions, latents):
    x0 = tiny.text_features(latents, torch.zeros(50)).x0
    rebuilt = tiny.generate_text(x0, max_new_tokens=48)
    assert sum(a == b for a, b in zip(rebuilt, captions, strict=True)) >= 40


def test_the_empty_text_stays_empty(tiny):
    tokens = tiny.tokenise([""], max_length=48)
    latents = tiny.encode_text(tokens.prompt_ids, tokens.is_empty)
    assert tiny.generate_text(latents, max_new_tokens=48) == [""]


def test_denoising_pure_noise_gives_varied_fluent_captions(tiny):
    scenes = ScenesDataset(split="train", size=20_000, image=False, audio=False)
    seen = {gram for index in range(20_000) for gram in trigrams(scenes[index].text)}
    made = tiny.generate_text(from_noise(tiny, 32, steps=20), max_new_tokens=48)
    fluent = [text for text in made if trigrams(text) <= seen]
    assert len(fluent) >= 26
    assert len(set(made)) >= 24


def trigrams(text: str) -> set[tuple[str, ...]]:
    words = ["<", *text.split(), ">"]
    return {tuple(words[start : start + 3]) for start in range(max(1, len(words) - 2))}


def test_a_sample_does_not_depend_on_its_batch(tiny, captions, latents):
    tokens = tiny.tokenise(captions[:1], max_length=77)
    # float32 sums in another order.
    torch.testing.assert_close(
        tiny.encode_text(tokens.prompt_ids, tokens.is_empty), latents[:1], atol=1e-4, rtol=1e-4
    )
    timesteps = torch.linspace(0, 1000, 50)
    together = tiny.text_features(latents, timesteps).x0
    alone = tiny.text_features(latents[7:8], timesteps[7:8]).x0
    torch.testing.assert_close(alone, together[7:8], atol=1e-4, rtol=1e-4)
    batch = tiny.generate_text(latents[:8], max_new_tokens=48)
    assert tiny.generate_text(latents[3:4], max_new_tokens=48) == batch[3:4]


def test_it_stays_frozen_and_in_evaluation_mode(tiny):
    tiny.train()
    assert not any(module.training for module in tiny.modules())
    assert not any(parameter.requires_grad for parameter in tiny.parameters())
