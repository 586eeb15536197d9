"""What the research script trains, written anew and independently of the library.

Names of the tensors are those of its checkpoints; the mathematics is written out by hand.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn


class Sequence(nn.Module):
    """Linear layers and norms at the places that they have between activations and dropout."""

    def __init__(self, widths):
        super().__init__()
        self.last = 4 * (len(widths) - 2)
        for place, (before, after) in enumerate(pairwise(widths)):
            self.add_module(str(4 * place), nn.Linear(before, after))
            self.add_module(str(4 * place + 1), nn.LayerNorm(after))

    def forward(self, x):
        for place in range(0, self.last + 1, 4):
            linear, norm = self.get_submodule(str(place)), self.get_submodule(str(place + 1))
            x = x @ linear.weight.T + linear.bias
            x = (x - x.mean(-1, keepdim=True)) / (
                x.var(-1, correction=0, keepdim=True) + 1e-5
            ).sqrt()
            x = x * norm.weight + norm.bias
            if place < self.last:
                x = 0.5 * x * (1 + torch.erf(x / 2**0.5))
        return x


class TextDecoderHead(nn.Module):
    def __init__(self, input_dim, hidden_dim, output_dim, layers=2):
        super().__init__()
        self.upsampler = Sequence([input_dim, *[hidden_dim] * (layers - 1), output_dim])
        self.adds = input_dim == output_dim

    def forward(self, x):
        return self.upsampler(x) + x if self.adds else self.upsampler(x)


class HeadWithCodebook(nn.Module):
    def __init__(self, input_dim, hidden_dim, output_dim, codes):
        super().__init__()
        self.upsampler = TextDecoderHead(input_dim, hidden_dim, output_dim)
        self.embedding = nn.Embedding(codes, output_dim)

    def forward(self, x):
        vectors = self.upsampler(x)
        nearest = torch.cdist(vectors.flatten(0, 1), self.embedding.weight).argmin(1)
        return self.embedding.weight[nearest].view_as(vectors)


class LatentRefiner(nn.Module):
    def __init__(self, latent_dim, hidden_dim, layers=2):
        super().__init__()
        self.refiner = Sequence([latent_dim, *[hidden_dim] * (layers - 1), latent_dim])

    def forward(self, x):
        return x + self.refiner(x)


class GatedRefiner(nn.Module):
    """A refiner whose first layer writes two halves; `gate` is the one that goes through silu."""

    def __init__(self, latent_dim, hidden_dim, gate):
        super().__init__()
        self.refiner = nn.ModuleDict(
            {"0": nn.Linear(latent_dim, 2 * hidden_dim), "2": nn.Linear(hidden_dim, latent_dim)}
        )
        self.gate = gate

    def forward(self, x):
        first, second = self.refiner["0"](x).chunk(2, dim=-1)
        gate, up = (first, second) if self.gate == "first" else (second, first)
        return x + self.refiner["2"](F.silu(gate) * up)


def checkpoint(**weights):
    """What the script writes after 1000 steps; the optimizer has really taken one.

    Args:
        weights: `text_decoder_head`, `latent_refiner` or `state_dict` and their tensors by name.
    """
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2)
    schedulers = [
        torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=5),
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=5),
    ]
    scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, schedulers, milestones=[5])
    layer(torch.ones(2)).sum().backward()
    optimizer.step()
    scheduler.step()
    return {
        "global_step": 1000,
        "epoch": 0,
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "best_val_ppl": 12.5,
        **weights,
    }
