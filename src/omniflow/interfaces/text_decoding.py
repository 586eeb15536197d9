"""How a text decoder picks its tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omniflow.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TextDecoding:
    """The likeliest token each time (the default), draws, or beam search.

    Args:
        max_new_tokens: Longest text in tokens, its end included.
        temperature: 0 takes the likeliest token; above, tokens are drawn from the softmax of the
            logits divided by it.
        top_k: Draw from so many likeliest tokens; 0 for all.
        top_p: Draw from the fewest likeliest tokens that have this share of the probability.
        num_beams: Texts that beam search follows at once; 1 for none.
        length_penalty: Beam search divides the log probability of a text by its length to this
            power: above 0 favours long ones.

    Raises:
        ConfigError: If a value is out of its range or means nothing beside the others.
    """

    max_new_tokens: int = 223
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    num_beams: int = 1
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        self._check_whole("max_new_tokens", 1, 100_000)
        self._check_whole("top_k", 0)
        self._check_whole("num_beams", 1, 64)
        self._check_number("temperature", self.temperature >= 0, "a number >= 0")
        self._check_number("top_p", 0 < self.top_p <= 1, "a number in (0, 1]")
        self._check_number("length_penalty", True, "a number")
        if self.num_beams > 1 and self.is_random:
            raise ConfigError(
                "num_beams", self.num_beams, expected="1 with a temperature: draws or beams"
            )
        for name, idle in (("top_k", 0), ("top_p", 1.0)):
            if getattr(self, name) != idle and not self.is_random:
                raise ConfigError(
                    name, getattr(self, name), expected=f"a temperature above 0, or {idle}"
                )

    @property
    def is_random(self) -> bool:
        """Whether tokens are drawn."""
        return self.temperature > 0

    @property
    def is_greedy(self) -> bool:
        """Whether each token is the likeliest."""
        return not self.is_random and self.num_beams == 1

    def _check_whole(self, name: str, least: int, most: int | None = None) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(name, value, expected=f"a whole number >= {least}")
        if most is not None and value > most:
            raise ConfigError(name, value, expected=f"a whole number <= {most}")

    def _check_number(self, name: str, is_in_range: bool, expected: str) -> None:
        value = getattr(self, name)
        if not is_in_range or not math.isfinite(value):
            raise ConfigError(name, value, expected=expected)
