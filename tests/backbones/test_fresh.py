"""A transformer from random weights between the parts of a published model."""

import json
import logging

import pytest
import torch

from omniflow import build, load
from omniflow.backbones.published import PublishedBackbone
from omniflow.errors import ConfigError, UsageError
from omniflow.models.joint_block import BlockModulation, FinalModulation
from omniflow.models.joint_initialisation import initialise
from omniflow.models.joint_transformer import JointTransformer, JointTransformerConfig


@pytest.fixture
def config(random_backbone):
    stored = json.loads((random_backbone / "transformer" / "config.json").read_text())
    own = {"num_layers": 1, "num_attention_heads": 3, "caption_projection_dim": 48}
    return {**{k: v for k, v in stored.items() if k[0] != "_"}, **own}


def test_every_parameter_is_filled_and_blocks_start_as_the_identity(config):
    transformer = JointTransformer(JointTransformerConfig.from_dict(config), text_output_dim=6)
    for parameter in transformer.parameters():
        parameter.data.fill_(float("nan"))
    torch.manual_seed(0)
    initialise(transformer)
    assert all(parameter.isfinite().all() for parameter in transformer.parameters())
    for module in transformer.modules():
        if isinstance(module, BlockModulation | FinalModulation):
            assert module.linear.weight.abs().max() == 0
    weight = transformer.transformer_blocks[0].ff.net[0].proj.weight
    bound = (6 / sum(weight.shape)) ** 0.5
    assert weight.abs().max().item() == pytest.approx(bound, rel=0.01)
    assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
    image = torch.randn(1, 16, 4, 4)
    output = transformer(image=image, pooled=torch.zeros(1, 56), timestep_image=torch.ones(1))
    assert output.image.abs().max() == 0


def test_random_weights_take_the_place_of_the_stored_and_the_text_vae_stays(
    random_backbone, config, caplog
):
    stored = PublishedBackbone(path=str(random_backbone))
    stored.load_weights()
    fresh = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        backbone = PublishedBackbone(path=str(random_backbone), transformer_config=config)
        with caplog.at_level(logging.WARNING):
            backbone.load_weights()
        fresh.append(backbone)
    assert caplog.records == []
    first, same, other = (backbone.transformer.context_embedder.weight for backbone in fresh)
    assert first.shape == (48, 72)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    tokens = stored.tokenise(["a circle"], max_length=16)
    texts = [b.encode_text(tokens.prompt_ids, tokens.is_empty) for b in (stored, fresh[0])]
    assert torch.equal(*texts)


def test_a_saved_model_records_the_configuration_itself(random_backbone, config, tmp_path):
    backbone = {"name": "folder", "path": str(random_backbone), "transformer_config": config}
    model = build({"objective": "flow", "backbone": backbone})
    model.save_pretrained(tmp_path / "saved")
    recorded = json.loads((tmp_path / "saved/config.json").read_text())
    assert recorded["backbone"]["transformer_config"] == config
    loaded = load(tmp_path / "saved")
    assert loaded.backbone.transformer.config.num_layers == 1
    for name, tensor in model.backbone.state_dict().items():
        assert torch.equal(tensor, loaded.backbone.state_dict()[name]), name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"in_channels": 4}, "transformer_config.in_channels is 4, expected 16, as the parts"),
        (
            {"pooled_projection_dim": 8},
            "transformer_config.pooled_projection_dim is 8, expected 56",
        ),
        ({"joint_attention_dim": 20}, "joint_attention_dim is 20, expected at least 56"),
        ({"num_layers": 0}, "transformer_config: num_layers is 0"),
        ({"layers": 3}, "transformer_config: no key of the transformer config is called 'layers'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(random_backbone, config, changed, message):
    with pytest.raises(UsageError, match=message):
        PublishedBackbone(path=str(random_backbone), transformer_config={**config, **changed})


def test_averaged_weights_are_refused_beside_random_ones(random_backbone, config):
    with pytest.raises(ConfigError, match="ema is True, expected false beside transformer_config"):
        PublishedBackbone(path=str(random_backbone), transformer_config=config, ema=True)
