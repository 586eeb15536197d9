"""Frozen parts with and without a cache: the same bits, and never those of another part."""

import json
import logging
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import omniflow
from omniflow.assembly import construct_component
from omniflow.cache.frozen import CPU_ROWS, cached
from omniflow.cache.store import CacheStore
from omniflow.datasets.scenes import ScenesDataset
from omniflow.interfaces import Encoder
from omniflow.objectives.flow_inputs import EncodedSamples
from omniflow.recipe import Choice, TrainingOptions
from omniflow.registry import Component, Origin

MODALITIES = ("text", "image", "audio")


@pytest.fixture(scope="module")
def samples():
    dataset = ScenesDataset(split="train", size=12)
    return [dataset[index] for index in range(12)]


@pytest.fixture(scope="module")
def tiny():
    return omniflow.build(head="linear", refiner="none")


def everything(model, samples):
    """Every frozen value of some samples, by name."""
    tokens = model.backbone.tokenise([sample.text for sample in samples], max_length=64)
    encoded = EncodedSamples(model, samples, tokens)
    everyone = range(len(samples))
    return {
        **{f"{name} latents": encoded.latents(name, everyone) for name in MODALITIES},
        **{f"{name} pooled": encoded.pooled(name, everyone) for name in MODALITIES},
        "clip states": encoded.clip_states(everyone),
    }


def assert_same(left, right):
    for name, value in left.items():
        assert value.dtype == right[name].dtype
        assert value.stride() == right[name].stride()
        assert torch.equal(value, right[name]), name


def test_values_are_those_of_the_backbone_itself(tiny, samples):
    found = everything(tiny, samples[:4])
    backbone = tiny.backbone
    images, sounds = [s.image for s in samples[:4]], [s.audio for s in samples[:4]]
    expected = {
        "image latents": backbone.encode_image(images),
        "image pooled": backbone.pool_image(images),
        "audio latents": backbone.encode_audio(sounds),
        "audio pooled": backbone.pool_audio(sounds),
        "text pooled": backbone.condition_text([s.text for s in samples[:4]]).pooled,
    }
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_a_sample_has_one_value_whatever_is_in_its_batch(tiny, samples):
    whole = everything(tiny, samples)
    for part in ([3], [5, 0], [0, 1, 2, 3, 4], [11, 10, 9, 8, 7, 6, 5]):
        chosen = everything(tiny, [samples[index] for index in part])
        assert_same({name: value[part] for name, value in whole.items()}, chosen)


def test_with_a_cache_every_bit_is_as_without(tiny, samples, tmp_path):
    plain = everything(tiny, samples)
    with cached(tiny.frozen, CacheStore(tmp_path)):
        assert_same(plain, everything(tiny, samples[:5] + samples[:2] + samples[5:10]) and plain)
        first = everything(tiny, samples)
    with cached(tiny.frozen, CacheStore(tmp_path)):
        second = everything(tiny, samples)
        counts = tiny.frozen.counts
        assert (counts.found, counts.computed) == (7 * 12, 0)
    assert tiny.frozen.counts is None
    assert_same(plain, first)
    assert_same(plain, second)


def test_content_that_comes_twice_is_computed_once(tiny, samples, tmp_path):
    with cached(tiny.frozen, CacheStore(tmp_path)):
        doubled = [samples[0], samples[1], replace(samples[0], id="again")]
        values = everything(tiny, doubled)
        assert tiny.frozen.counts.computed == 7 * 2
    assert_same({name: value[[0, 1, 0]] for name, value in values.items()}, values)


def test_the_parts_are_not_even_read_when_all_is_there(samples, tmp_path):
    for _ in range(2):
        model = omniflow.build(head="linear", refiner="none")
        with cached(model.frozen, CacheStore(tmp_path)):
            everything(model, samples[:2])
    assert model.backbone.parts_read() == {}


def test_values_that_change_afterwards_do_not_change_the_cache(tiny, samples, tmp_path):
    with cached(tiny.frozen, CacheStore(tmp_path)):
        before = {name: value.clone() for name, value in everything(tiny, samples[:3]).items()}
        for _ in range(2):
            for value in everything(tiny, samples[:3]).values():
                value.zero_()
        assert_same(before, everything(tiny, samples[:3]))


@pytest.fixture
def folder(random_backbone, tmp_path):
    return shutil.copytree(random_backbone, tmp_path / "backbone")


def build(folder, **options):
    backbone = {"name": "folder", "path": str(folder), **options}
    return omniflow.build(head="linear", refiner="none", backbone=backbone)


def identity(folder, work, **options):
    return dict(build(folder, **options).backbone.work_identity(work))


def other_weights(file):
    state = load_file(file)
    save_file(
        {name: 1.01 * tensor for name, tensor in state.items()}, file, metadata={"format": "pt"}
    )


def test_the_text_latents_of_other_weights_are_others(folder):
    model = build(folder).backbone
    before = dict(model.work_identity("text_latents"))
    with torch.no_grad():
        # The decoding half and the transformer have no part in them.
        model.text_vae.lm_head.weight.add_(1)
        model.text_projection.weight.add_(1)
    assert dict(model.work_identity("text_latents")) == before
    with torch.no_grad():
        model.text_vae.vae_proj.weight.view(-1)[0] += 1e-3
    assert dict(model.work_identity("text_latents")) != before
    model.text_vae.requires_grad_(True)
    assert model.work_identity("text_latents") is None


def test_another_precision_is_another_identity(folder):
    before = identity(folder, "text_latents")
    assert identity(folder, "text_latents", dtype="bf16") != before
    assert identity(folder, "text_latents") == before


def test_another_scale_of_the_text_latents_is_another_identity(folder):
    before = identity(folder, "text_latents")
    file = folder / "text_vae" / "config.json"
    config = json.loads(file.read_text())
    config["vae_config"]["vae_scale"] = 2 * config["vae_config"]["vae_scale"]
    file.write_text(json.dumps(config))
    assert identity(folder, "text_latents") != before


def tiny_folder(tmp_path):
    from importlib.resources import files

    return shutil.copytree(str(files("omniflow") / "assets" / "tiny"), tmp_path / "tiny")


def test_another_file_of_a_part_is_another_identity_of_what_it_makes(tmp_path):
    folder = tiny_folder(tmp_path)
    backbone = build(folder).backbone
    works = [f"{name}_pooled" for name in MODALITIES] + ["text_states"]
    works += ["image_latents", "audio_latents"]

    def identities():
        return {work: dict(backbone.work_identity(work)) for work in works}

    before = identities()
    changes = {
        "vae/diffusion_pytorch_model.safetensors": {"image_latents"},
        "audio_vae/diffusion_pytorch_model.safetensors": {"audio_latents"},
        "audio_vae/preprocessor_config.json": {"audio_latents"},
        "audio_encoder/model.safetensors": {"audio_pooled"},
        "text_encoder/model.safetensors": {"image_pooled", "text_pooled", "text_states"},
        "text_encoder_2/model.safetensors": {"text_pooled", "text_states"},
        "tokenizer/merges.txt": {"text_pooled", "text_states"},
        "tokenizer_2/vocab.json": {"text_pooled", "text_states"},
    }
    for name, expected in changes.items():
        file = folder / name
        original = file.read_bytes()
        file.write_bytes(original + b" ")
        after = identities()
        assert {work for work in works if after[work] != before[work]} == expected, name
        file.write_bytes(original)
        assert identities() == before


def test_another_image_size_is_another_identity(tmp_path):
    folder = tiny_folder(tmp_path)
    one, other = build(folder).backbone, build(folder, image_size=32).backbone
    assert one.work_identity("image_latents") != other.work_identity("image_latents")
    assert one.work_identity("audio_latents") == other.work_identity("audio_latents")


def test_a_changed_part_is_computed_anew_and_gives_its_own_values(tmp_path, samples):
    folder = tiny_folder(tmp_path)
    with cached((model := build(folder)).frozen, CacheStore(tmp_path / "cache")):
        before = everything(model, samples[:2])
    other_weights(folder / "vae" / "diffusion_pytorch_model.safetensors")
    plain = everything(build(folder), samples[:2])
    with cached((model := build(folder)).frozen, CacheStore(tmp_path / "cache")):
        after = everything(model, samples[:2])
        assert model.frozen.counts.computed == 2
    assert_same(plain, after)
    assert not torch.equal(before["image latents"], after["image latents"])
    assert torch.equal(before["text latents"], after["text latents"])


class CountingEncoder(Encoder):
    """Lengths of texts; says what shapes them, or not."""

    modalities = ("text",)
    width = 3

    def __init__(self, *, step: int = 1, is_kept: bool = True) -> None:
        super().__init__()
        self.step, self.is_kept, self.rows = step, is_kept, []

    def load_weights(self):
        self.scale = nn.Parameter(torch.ones(3), requires_grad=False)

    def encode(self, samples, modality):
        self.rows.append(len(samples))
        lengths = torch.tensor([[float(len(sample.text) * self.step)] for sample in samples])
        return lengths * self.scale

    def work_identity(self, modality):
        return {"step": str(self.step)} if self.is_kept else None


@pytest.fixture
def with_encoder(registry):
    registry.add(
        [Component("encoder", "counting", CountingEncoder, "Counts", Origin("tests", "1"))]
    )

    def make(**options):
        encoder = {"name": "counting", **options}
        return omniflow.build(head="linear", refiner="none", encoder=[encoder], registry=registry)

    return make


def test_an_encoder_is_kept_before_its_adapter(with_encoder, samples, tmp_path):
    model = with_encoder()
    with torch.no_grad():
        model.adapters[0].weight.fill_(1.0)
    lengths = torch.tensor([3.0 * len(sample.text) for sample in samples[:2]])
    for factor in (1, 2):
        with cached(model.frozen, CacheStore(tmp_path)):
            pooled = model.pooled(samples[:2], ("text",))
        assert torch.equal(pooled[:, 0], factor * lengths)
        assert pooled.requires_grad
        with torch.no_grad():
            model.adapters[0].weight.mul_(2)
    # On the CPU always so many at once, and the second time none at all.
    assert model.encoders[0].rows == [CPU_ROWS]


def test_another_option_of_an_encoder_is_computed_anew(with_encoder, samples, tmp_path):
    for step in (1, 2):
        model = with_encoder(step=step)
        with cached(model.frozen, CacheStore(tmp_path)):
            values = model.frozen.embedding(0, samples[:1], "text")
            assert model.frozen.counts.computed == 1
        assert values[0, 0] == step * len(samples[0].text)


@pytest.mark.parametrize("reason", ["untold", "trained"])
def test_what_must_not_be_kept_is_not(with_encoder, samples, tmp_path, caplog, reason):
    model = with_encoder(is_kept=reason != "untold")
    if reason == "trained":
        model.encoders[0].scale.requires_grad_(True)
    caplog.set_level(logging.INFO)
    for _ in range(2):
        with cached(model.frozen, CacheStore(tmp_path)):
            model.frozen.embedding(0, samples[:2], "text")
            assert model.frozen.counts.computed == 0
    assert model.encoders[0].rows == [CPU_ROWS, CPU_ROWS]
    assert "encoder counting: text is not kept in the cache" in caplog.text
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_that_does_not_say_what_shapes_it_is_not_kept(
    registry, small_backbone, samples, tmp_path
):
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    model = omniflow.build(head="linear", refiner="none", backbone="small", registry=registry)
    plain = everything(model, samples[:5])
    with cached(model.frozen, CacheStore(tmp_path)):
        assert_same(plain, everything(model, samples[:5]))
        assert model.frozen.counts.computed == 0
    assert list(tmp_path.iterdir()) == []


def test_values_are_computed_in_the_precision_of_the_parts(tiny, samples):
    plain = everything(tiny, samples[:2])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        tokens = tiny.backbone.tokenise([s.text for s in samples[:2]], max_length=64)
        assert torch.equal(tiny.frozen.text_latents(tokens), plain["text latents"])


def test_no_cache_is_opened_where_none_is_wanted(tmp_path):
    from omniflow.cache.frozen import open_cache

    assert open_cache(TrainingOptions(cache=False)) is None
    store = open_cache(TrainingOptions(cache_dir=str(tmp_path), cache_limit_gb=0.5))
    assert (store.folder, store.limit_bytes) == (tmp_path, 500_000_000)


@pytest.mark.parametrize("objective", ["text-decoder", "flow"])
def test_filling_ahead_leaves_nothing_to_compute(tiny, registry, samples, tmp_path, objective):
    chosen = construct_component(registry, "objective", Choice(objective, {}))
    with cached(tiny.frozen, CacheStore(tmp_path)):
        chosen.encode_ahead(tiny, samples[:4])
        filled = tiny.frozen.counts.computed
        assert filled == {"text-decoder": 4, "flow": 7 * 4}[objective]
        chosen.encode_ahead(tiny, samples[:4])
        assert tiny.frozen.counts.computed == filled
