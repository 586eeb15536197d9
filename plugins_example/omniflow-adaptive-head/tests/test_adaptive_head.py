"""Head `adaptive`."""

import pytest
import torch
from omniflow_adaptive_head.head import AdaptiveHead

from omniflow.errors import ConfigError
from omniflow.testing import contract_of

test_plugin = contract_of("plugin", "omniflow-adaptive-head")
test_contract = contract_of("head", "adaptive", options={"hidden_dim": 16, "frequencies": 4})


def test_the_noise_level_counts_once_the_modulation_has_learned():
    head = AdaptiveHead(feature_dim=8, latent_dim=4, hidden_dim=16)
    features = torch.randn(1, 3, 8).expand(2, -1, -1)
    quiet, loud = head(features, torch.tensor([10.0, 990.0])).latents
    assert torch.equal(quiet, loud)
    torch.nn.init.normal_(head.modulation.weight)
    quiet, loud = head(features, torch.tensor([10.0, 990.0])).latents
    assert not torch.allclose(quiet, loud)


@pytest.mark.parametrize("option", ["hidden_dim", "frequencies"])
def test_numbers_below_one_are_refused(option):
    with pytest.raises(ConfigError, match=f"{option} is 0"):
        AdaptiveHead(feature_dim=8, latent_dim=4, **{option: 0})
