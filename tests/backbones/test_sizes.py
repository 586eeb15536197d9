"""The published sizes without weights, against the recorded full-size model."""

import gzip
import json

import pytest
import torch

from omniflow.assembly import assemble, assemble_shapes
from omniflow.draft import Draft
from omniflow.errors import ConfigError, UsageError
from omniflow.interfaces.backbone import Streams
from omniflow.models.published_sizes import TRANSFORMER
from omniflow.resolve import resolve
from omniflow.training.memory import part_sizes


@pytest.fixture(scope="module")
def recorded(parity_data):
    return json.loads(gzip.decompress((parity_data / "full_size_keys.json.gz").read_bytes()))


@pytest.fixture(scope="module")
def backbone():
    from omniflow.backbones.sizes import PublishedSizes

    return PublishedSizes()


def test_sizes_are_those_of_the_recorded_model(recorded, backbone):
    entry = recorded["transformer_qk_layer_norm"]
    assert dict(TRANSFORMER) == {
        name: value
        for name, value in entry["config"].items()
        if name not in ("dual_attention_layers", "add_audio")
    }
    # The bare class predicts latents 1536 wide; the published text VAE has them 64 wide.
    narrower = (4096 + 1) * (1536 - 64)
    count = sum(each.numel() for each in backbone.transformer.parameters())
    assert count == entry["parameter_count"] - narrower
    shapes = {name: list(value.shape) for name, value in backbone.transformer.state_dict().items()}
    wide = entry["state_dict"] | {"text_output.weight": [64, 4096], "text_output.bias": [64]}
    assert shapes == wide
    text = {name: list(value.shape) for name, value in backbone.text_vae.state_dict().items()}
    assert text == recorded["text_vae_64"]["state_dict"]


def test_no_value_is_held(backbone):
    tensors = [*backbone.parameters(), *backbone.buffers()]
    assert all(tensor.is_meta for tensor in tensors)
    assert {tensor.dtype for tensor in backbone.parameters()} == {torch.bfloat16}


def test_every_stream_has_the_published_shape(backbone):
    assert backbone.latent_shape("image") == (16, 64, 64)
    assert backbone.latent_shape("image", height=256, width=1024) == (16, 32, 128)
    assert backbone.latent_shape("text") == (32, 64)
    assert backbone.latent_shape("audio") == (8, 256, 16)
    levels = torch.zeros(2, device="meta")
    streams = Streams(
        *(torch.zeros(2, *backbone.latent_shape(name), device="meta") for name in Streams._fields)
    )
    pooled = backbone.pool_image([None, None])
    predicted = backbone.predict(streams, Streams(levels, levels, levels), pooled)
    assert predicted.image.shape == streams.image.shape
    assert predicted.audio.shape == streams.audio.shape
    assert predicted.text.hidden.shape == (2, 32, 4096)
    assert predicted.text.x0.shape == (2, 32, 64)


def test_texts_are_as_long_as_they_may_be(backbone):
    tokens = backbone.tokenise(["a dog", "a cat and a dog"], max_length=20)
    assert tokens.input_ids.shape == tokens.labels.shape == (2, 20)
    latents = backbone.encode_text(tokens.prompt_ids.to("meta"), tokens.is_empty.to("meta"))
    assert latents.shape == (2, 32, 64)
    assert backbone.decode_logits(latents, tokens.input_ids.to("meta")).shape == (2, 20, 32001)


def test_a_transformer_of_other_sizes_takes_its_place(registry):
    backbone = {"name": "published-sizes", "transformer_config": {**TRANSFORMER, "num_layers": 2}}
    recipe = resolve(Draft.from_mapping({"backbone": backbone}), registry)
    assert len(assemble_shapes(recipe, registry).backbone.transformer.transformer_blocks) == 2
    odd = {"name": "published-sizes", "transformer_config": {**TRANSFORMER, "in_channels": 4}}
    with pytest.raises(ConfigError, match="transformer_config.in_channels is 4"):
        assemble_shapes(resolve(Draft.from_mapping({"backbone": odd}), registry), registry)


def test_it_trains_nothing_and_says_what_it_is_for(registry):
    recipe = resolve(Draft.from_mapping({"backbone": "published-sizes"}), registry)
    with pytest.raises(UsageError, match="has sizes and no weights, expected --dry-run"):
        assemble(recipe, registry)


@pytest.mark.parametrize(
    ("experiment", "refiner"),
    [("baseline", 0), ("head-plus-refiner", 49_728), ("vq", 0), ("vq-plus-refiner", 49_728)],
)
def test_every_experiment_is_counted(registry, experiment, refiner):
    said = Draft.from_mapping({"backbone": "published-sizes"}).over(Draft.from_file(experiment))
    parts = {
        part.name: part for part in part_sizes(assemble_shapes(resolve(said, registry), registry))
    }
    frozen = {"transformer": 3_107_482_784, "text_vae": 1_578_633_856}
    assert {name: parts[name].parameters for name in frozen} == frozen
    assert parts["head"].trained == 64 * 4096 + 4096 + 4096 * 64 + 64
    assert sum(part.trained for part in parts.values()) == parts["head"].trained + refiner
    codebook = 8192 * (64 + 2) if experiment.startswith("vq") else 0
    assert parts["head"].held == 4 * (parts["head"].parameters + codebook)
