"""Samples of the batches to come: read when they are asked for, or ahead by other processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as Indexed

from omniflow.errors import OmniFlowError, TrainingError, UsageError
from omniflow.training.decoding import decode_each

if TYPE_CHECKING:
    from omniflow.errors import RecordError
    from omniflow.interfaces import Dataset, Sample
    from omniflow.training.order import SampleOrder

#: Batches that every worker reads ahead.
AHEAD = 2

#: What torch says of a worker that is gone.
_GONE = ("exited unexpectedly", "is killed by signal")


class SampleReader:
    """Reads the samples of one batch after the other.

    Which samples those are is decided here, in the order of the batches; workers only decode them.
    So a batch is the same to the last bit, whoever reads it.

    Args:
        order: Where the samples come from.
        batches: Positions in the order, batch by batch; with workers looked at some batches ahead.
        workers: How many processes decode ahead of who reads; 0 for none.
        kept: Says what is left of the run, should a worker die.
        note: Told what was read at the positions of every batch, records in vain among it.
    """

    def __init__(
        self,
        order: SampleOrder,
        batches: Iterator[range],
        workers: int,
        kept: Callable[[], str] = lambda: "nothing was written",
        note: Callable[[list[Sample | RecordError]], object] = lambda found: None,
    ) -> None:
        self.order = order
        self.batches = batches
        self.workers = workers
        self.kept = kept
        self.note = note
        self._ahead: Iterator[bytes] | None = None
        self._asked: deque[range] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Nobody else holds it: with it the workers end.
        self._ahead = None

    def read(self) -> list[Sample]:
        """The samples of the next batch, others in place of what cannot be read.

        Raises:
            UsageError: If the dataset cannot be sent to workers.
            TrainingError: If a worker is gone.
        """
        if not self.workers:
            positions = next(self.batches)
            records = self.order.records(positions)
            return self._filled(positions, decode_each(self.order.dataset, records))
        if self._ahead is None:
            self._ahead = self._start()
        try:
            packed = next(self._ahead)
        except RuntimeError as error:
            if not any(said in str(error) for said in _GONE):
                raise
            raise TrainingError(
                f"a loader worker is gone ({error})",
                notes=[
                    self.kept(),
                    "it was killed, often for want of memory: try fewer --workers, or --workers 0; "
                    "then --resume auto",
                ],
            ) from error
        found = _unpacked(packed)
        return self._filled(self._asked.popleft(), found)

    def _filled(self, positions: range, found: list[Sample | RecordError]) -> list[Sample]:
        self.note(found)
        return self.order.filled(positions, found)

    def _start(self) -> Iterator[bytes]:
        # Forked from a process of its own: one with threads, as this, must not be forked.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        loader = DataLoader(
            cast(Any, _Decoder(self.order.dataset)),
            sampler=_Records(self.order, self.batches, self._asked),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            prefetch_factor=AHEAD,
            multiprocessing_context=context,
            worker_init_fn=_stand_apart,
            # Torch's own generator is seeded by the loop, and left alone here.
            generator=torch.Generator(),
        )
        try:
            return iter(loader)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise UsageError(
                f"the dataset cannot be sent to loader workers ({error})",
                where="training.workers",
                expected="0, or a dataset that can be pickled",
            ) from error


class _Records:
    """The records of every batch, as workers get them; what goes wrong is told in its turn.

    Args:
        order: Where they come from.
        batches: Their positions.
        asked: Where positions are put down as well, until their samples come back.
    """

    def __init__(self, order: SampleOrder, batches: Iterator[range], asked: deque[range]) -> None:
        self.order = order
        self.batches = batches
        self.asked = asked

    def __iter__(self) -> Iterator[Sequence[Any] | _Failure]:
        for positions in self.batches:
            try:
                records = self.order.records(positions)
            # Batches before this one are still to be trained on.
            except Exception as error:  # noqa: BLE001
                yield _Failure(error)
                return
            self.asked.append(positions)
            yield records


class _Failure:
    """What was raised, in place of what was asked for."""

    def __init__(self, error: Exception) -> None:
        self.error = error


class _Decoder(Indexed[bytes]):
    """Records to packed samples, in a worker."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def __getitem__(self, records: Iterable[Any] | _Failure) -> bytes:
        if isinstance(records, _Failure):
            return _packed(records)
        try:
            # Packed here: torch would fail to send what cannot be packed, and wait for ever.
            return _packed(decode_each(self.dataset, records))
        # It is raised again where the batch is asked for.
        except Exception as error:  # noqa: BLE001
            if not isinstance(error, OmniFlowError):
                error.add_note("in a loader worker:\n" + traceback.format_exc())
            return _packed(_Failure(error))


def _packed(content: Any) -> bytes:
    try:
        return pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        if not isinstance(content, _Failure):
            raise
        told = TrainingError(f"a loader worker failed: {content.error!r} ({error})")
        return pickle.dumps(_Failure(told))


def _unpacked(packed: bytes) -> list[Sample | RecordError]:
    content = pickle.loads(packed)
    if isinstance(content, _Failure):
        raise content.error
    found: list[Sample | RecordError] = content
    return found


def _as_it_is(content: Any) -> Any:
    return content


def _stand_apart(worker: int) -> None:
    """Leave the group that a terminal sends Ctrl-C to: the loop decides when to end.

    Should the loop's process be killed, so ends the worker; torch's watchdog looks at the wrong one
    where a server in between has forked the worker.
    """
    os.setpgrp()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
