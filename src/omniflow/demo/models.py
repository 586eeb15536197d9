"""The models that a page offers, of which one at a time is in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import TYPE_CHECKING

from omniflow.errors import UnknownNameError

if TYPE_CHECKING:
    from omniflow.model import OmniFlowModel


class OfferedModels:
    """Models by name, read when they are first asked for.

    Another one takes the place of the last in memory. Whoever asks waits for others that do.

    Args:
        readers: What reads each of them, by name; at least one. The first is the default.
    """

    def __init__(self, readers: Mapping[str, Callable[[], OmniFlowModel]]) -> None:
        self._readers = dict(readers)
        self._lock = Lock()
        self._held: tuple[str, OmniFlowModel] | None = None

    @property
    def names(self) -> list[str]:
        """What they are called, the default first."""
        return list(self._readers)

    def get(self, name: str) -> OmniFlowModel:
        """The model of this name.

        Raises:
            UnknownNameError: If none is called so.
            OmniFlowError: If it cannot be read.
        """
        if name not in self._readers:
            raise UnknownNameError("model", name, self.names)
        with self._lock:
            if self._held is None or self._held[0] != name:
                # Let go of the old one first: there may be no room for two.
                self._held = None
                self._held = (name, self._readers[name]())
            return self._held[1]
