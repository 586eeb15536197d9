"""Ctrl-C and SIGTERM: noticed between two steps, so that the state can be saved."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

from omniflow.errors import OmniFlowError

#: Time that the state gets to be saved before a second signal ends the process, in seconds.
PATIENCE_S = 5.0


class InterruptedRunError(OmniFlowError):
    """The run was asked to stop; its state is saved. `signal_number` says by what."""

    def __init__(self, signal_number: int, saved_at: str, step: int) -> None:
        super().__init__(
            f"stopped by {signal.Signals(signal_number).name} after step {step}; "
            f"state saved in {saved_at}",
            notes=["continue with the same command and --resume auto"],
        )
        self.signal_number = signal_number


class Interrupts:
    """While entered, the first Ctrl-C or SIGTERM is kept in `received`.

    Another one more than `PATIENCE_S` later interrupts; sooner, it is taken for an echo of the
    first, as schedulers and process groups send them, and the state is still saved.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._received_at = 0.0
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._received_at = number, time.monotonic()
        elif time.monotonic() - self._received_at > PATIENCE_S:
            raise KeyboardInterrupt
