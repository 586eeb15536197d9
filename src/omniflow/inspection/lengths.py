"""How long texts are: a few figures that show a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from omniflow.assembly import construct_component
from omniflow.errors import OmniFlowError

if TYPE_CHECKING:
    from omniflow.interfaces import Backbone
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry

#: Longest text that is counted, in tokens; longer ones count as this.
_LONGEST = 1 << 16

#: Texts tokenised at a time.
_AT_ONCE = 64


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts, in characters or tokens.

    Args:
        count: How many texts.
        shortest: Length of the shortest one.
        p5: Length that 5 % of them do not exceed.
        median: Length that half of them do not exceed.
        p95: Length that 95 % of them do not exceed.
        p99: Length that 99 % of them do not exceed.
        longest: Length of the longest one.
    """

    count: int
    shortest: int
    p5: int
    median: int
    p95: int
    p99: int
    longest: int

    @classmethod
    def of(cls, lengths: Sequence[int]) -> Lengths:
        """Of some lengths, at least one; percentiles are lengths that occur."""
        shares = (0, 5, 50, 95, 99, 100)
        found = np.percentile(np.asarray(lengths), shares, method="inverted_cdf")
        return cls(len(lengths), *(int(length) for length in found))

    def to_dict(self) -> dict[str, int]:
        """Plain data."""
        return asdict(self)


@dataclass(frozen=True)
class TokenLengths:
    """Lengths of texts in tokens, begin and end included.

    Args:
        lengths: The lengths.
        max_length: Longest text that a run reads whole; None where it has no such limit.
        cut: How many of the texts a run would cut.
    """

    lengths: Lengths
    max_length: int | None
    cut: int

    def to_dict(self) -> dict[str, int | float | None]:
        """Plain data."""
        return {
            **self.lengths.to_dict(),
            "max_length": self.max_length,
            "cut": self.cut,
            "cut_share": self.cut / self.lengths.count,
        }


class TokenCounter:
    """Counts tokens as the text decoder of a recipe's backbone does; it needs no weights.

    Args:
        recipe: The recipe.
        registry: Where its names are looked up.

    Attributes:
        problem: Why the backbone cannot be had, if so.
    """

    def __init__(self, recipe: Recipe, registry: Registry) -> None:
        self.problem: OmniFlowError | None = None
        self._recipe = recipe
        self._registry = registry

    def lengths(self, texts: Sequence[str]) -> TokenLengths | None:
        """How long texts are, and how many a run would cut; None without texts or a backbone."""
        backbone = self._backbone if texts else None
        if backbone is None:
            return None
        max_length = self._recipe.objective.options.get("max_length")
        # Of similar length together: a batch is as wide as its longest text.
        ordered = sorted(texts, key=len)
        lengths: list[int] = []
        cut = 0
        for start in range(0, len(ordered), _AT_ONCE):
            batch = ordered[start : start + _AT_ONCE]
            whole = backbone.tokenise(batch, max_length=_LONGEST)
            lengths += (whole.labels != -100).sum(1).tolist()
            if max_length is not None:
                cut += backbone.tokenise(batch, max_length=max_length).cut
        return TokenLengths(Lengths.of(lengths), max_length, cut)

    @cached_property
    def _backbone(self) -> Backbone | None:
        try:
            # Its networks are not needed, and take no memory there.
            with torch.device("meta"):
                backbone: Backbone = construct_component(
                    self._registry, "backbone", self._recipe.backbone
                )
        except OmniFlowError as error:
            self.problem = error
            return None
        return backbone
