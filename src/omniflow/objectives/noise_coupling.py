"""Which noise is paired with which text token, where the order of the tokens means nothing.

The text stream of the joint transformer has no positions: to it, latents and noise are sets. Noise
that is drawn token by token says nothing about which token it is to become, so from pure noise the
best guess for each is the mean of all. Pairing each token with the noise nearest to it takes that
riddle away; the noise as a set stays Gaussian, and sampling does not change (equivariant optimal
transport: Klein, Krämer and Noé, arXiv 2306.15030; Song et al., arXiv 2312.07168).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

#: `independent` as in the paper; `matched` as described above.
Coupling = Literal["independent", "matched"]


def coupled(noise: Tensor, clean: Tensor, coupling: Coupling) -> Tensor:
    """Noise for text latents, in their type and on their device.

    Args:
        noise: Standard normal draws [batch, tokens, dim].
        clean: Latents that the noise is added to, same shape.
        coupling: How noise and tokens are paired.
    """
    noise = noise.to(clean)
    return matched(noise, clean) if coupling == "matched" else noise


def matched(noise: Tensor, clean: Tensor) -> Tensor:
    """The tokens of `noise` [batch, tokens, dim] in the order that suits `clean` best.

    Pairs are made greedily, the largest dot product first, so that nothing waits for the host.
    """
    scores = clean.float() @ noise.float().mT
    batch, count, _ = scores.shape
    rows = torch.arange(batch, device=noise.device)
    order = torch.empty(batch, count, dtype=torch.long, device=noise.device)
    for _ in range(count):
        best = scores.flatten(1).argmax(dim=1)
        token, partner = best // count, best % count
        order[rows, token] = partner
        scores[rows, token, :] = -torch.inf
        scores[rows, :, partner] = -torch.inf
    return noise.gather(1, order[..., None].expand_as(noise))
