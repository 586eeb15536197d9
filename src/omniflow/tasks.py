"""Tasks: which modalities are given, and which is made."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from omniflow.errors import ConfigError, closest

#: One letter a modality, in the order in which a task spells them.
LETTERS = {"i": "image", "a": "audio", "t": "text"}

#: Which modality's embedding fills the pooled slot when several are given: the first of these.
POOLED_ORDER = ("text", "image", "audio")

#: What somebody who mistypes a task may have meant.
COMMON_TASKS = (
    "t2t", "i2t", "a2t", "it2t", "at2t", "ia2t", "iat2t",
    "t2i", "a2i", "at2i", "t2a", "i2a", "it2a",
    "t2ia", "i2at", "a2it", "2ia", "2it", "2at", "2iat",
)  # fmt: skip


@dataclass(frozen=True)
class Task:
    """What is given and what is made, each as modality names in spelling order."""

    given: tuple[str, ...]
    made: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, *, where: str | None = None) -> Task:
        """Read `i2t`, `it2t` or `i+t2t`; letters may come in any order, each once a side.

        Raises:
            ConfigError: If it is not a task.
        """
        match = re.fullmatch(r"([iat+]*)2([iat+]+)", text.strip().lower())
        sides = [side.replace("+", "") for side in match.groups()] if match else []
        if not match or not sides[1] or any(len(set(side)) != len(side) for side in sides):
            raise ConfigError(
                "task",
                text,
                expected="given letters, 2, made letters (t text, i image, a audio), such as i2t",
                where=where,
                nearest=closest(text, COMMON_TASKS),
            )
        given, made = (
            tuple(name for letter, name in LETTERS.items() if letter in side) for side in sides
        )
        return cls(given, made)

    def is_served_by(self, brought: Collection[str]) -> bool:
        """Whether a sample that brings these modalities has all that is given and made."""
        return set(self.given + self.made) <= set(brought)

    def __str__(self) -> str:
        given, made = (
            "".join(letter for letter, name in LETTERS.items() if name in side)
            for side in (self.given, self.made)
        )
        return f"{given}2{made}"
