"""What a check of data comes to, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from omniflow.inspection.contents import Repeats
from omniflow.inspection.lengths import Lengths, TokenLengths
from omniflow.inspection.reading import Failure

if TYPE_CHECKING:
    from omniflow.errors import OmniFlowError


@dataclass(frozen=True)
class SplitReport:
    """What a split of a dataset is like; what could not be found out is None or empty.

    Args:
        dataset: What the dataset is called.
        split: The split.
        size: Its records; of a stream those up to its end, None where that was not reached.
        is_stream: Whether it is one.
        columns: Column of the source -> what is read from it, None for nothing.
        read: Records that were read whole, spread evenly; of a stream the first ones.
        failures: Those of them that could not be.
        mix: What the others bring (`text+image`) -> how many.
        tasks: Task of the objective -> how many of the others serve it.
        texts_read: Records that were read for their text, among them those that were read whole.
        text_failures: Those of them that could not be.
        characters: How long the texts are in characters.
        tokens: How long some of them, spread evenly, are in tokens.
    """

    dataset: str
    split: str
    size: int | None = None
    is_stream: bool = False
    columns: Mapping[str, str | None] = field(default_factory=dict)
    read: int = 0
    failures: tuple[Failure, ...] = ()
    mix: Mapping[str, int] = field(default_factory=dict)
    tasks: Mapping[str, int] = field(default_factory=dict)
    texts_read: int = 0
    text_failures: tuple[Failure, ...] = ()
    characters: Lengths | None = None
    tokens: TokenLengths | None = None

    @property
    def name(self) -> str:
        """Dataset and split in one."""
        return f"{self.dataset} {self.split}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "records": self.size,
            "is_stream": self.is_stream,
            "columns": dict(self.columns),
            "read": self.read,
            "failed": len(self.failures),
            "failures": [failure.to_dict() for failure in self.failures],
            "modalities": dict(self.mix),
            "tasks": dict(self.tasks),
            "texts_read": self.texts_read,
            "texts_failed": len(self.text_failures),
            "text_failures": [failure.to_dict() for failure in self.text_failures],
            "characters": None if self.characters is None else self.characters.to_dict(),
            "tokens": None if self.tokens is None else self.tokens.to_dict(),
        }


@dataclass(frozen=True)
class DataCheck:
    """What the data of a recipe are like.

    Args:
        splits: One report a dataset and split that could be opened.
        repeats: Contents within a split and between every two, none found included.
        findings: What stands in the way of training.
        notes: What does not, but a person should know.
    """

    splits: tuple[SplitReport, ...]
    repeats: tuple[Repeats, ...]
    findings: tuple[OmniFlowError, ...]
    notes: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.findings

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "usable": self.is_usable,
            "findings": [finding.to_dict() for finding in self.findings],
            "notes": list(self.notes),
            "splits": [report.to_dict() for report in self.splits],
            "repeats": [each.to_dict() for each in self.repeats],
        }
