"""The start of a joint transformer that is trained from nothing."""

import torch
from torch import nn

from omniflow.models.joint_block import BlockModulation, FinalModulation
from omniflow.models.joint_embeddings import ConditionEmbedding
from omniflow.models.joint_transformer import JointTransformer

#: Standard deviation of the layers that embed timesteps and pooled conditions.
EMBEDDING_STD = 0.02


@torch.no_grad()
def initialise(transformer: JointTransformer) -> None:
    """Fill every parameter, as DiT does (Peebles & Xie 2022, arXiv 2212.09748, section 3.2).

    Linear layers and patch embeddings are Xavier uniform, biases zero. Modulations are zero, so
    that every block starts as the identity, and so are the velocity outputs. Draws come from
    torch's global generator.

    Args:
        transformer: On any device but meta; its values are overwritten.
    """
    for module in transformer.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.view(len(module.weight), -1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm | nn.RMSNorm):
            module.reset_parameters()
    for module in transformer.modules():
        if isinstance(module, ConditionEmbedding):
            for layer in module.modules():
                if isinstance(layer, nn.Linear):
                    nn.init.normal_(layer.weight, std=EMBEDDING_STD)
        elif isinstance(module, BlockModulation | FinalModulation):
            nn.init.zeros_(module.linear.weight)
    for output in (transformer.proj_out, transformer.proj_out_aud):
        nn.init.zeros_(output.weight)
    transformer.reset_positions()
