"""Records that a run left out: counted, listed once each, and too many of them end it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.errors import DataError, RecordError, UnservedRecordError

if TYPE_CHECKING:
    from omniflow.interfaces import Sample
    from omniflow.training.processes import Processes

#: The share is taken of so many records at least: of few it says little.
LEAST_READ = 1000

#: Records that a message shows.
_SHOWN = 5


@dataclass
class _Count:
    """Records of a split: how many have been read, how many in vain, and how many for no task."""

    read: int = 0
    skipped: int = 0
    unserved: int = 0


class SkippedRecords:
    """Keeps count of the records that a run cannot read, and of those that it can.

    A record that is met again is counted again, as good ones are; it is listed once. One that can
    be read and serves no task is left out and counted as well, but neither bad nor listed. Counts
    are settled between the processes now and then, so they and the end of the run are the same
    whatever the number of processes.

    Args:
        path: The list, `RUN/skipped.jsonl`; written by the main process, when there is a record.
        dataset: Name of the dataset, for records that do not say from which they are.
        limit: Share of unreadable records above which the run ends, 0 for none allowed.
        processes: Those that share the run.
    """

    def __init__(self, path: Path, dataset: str, limit: float, processes: Processes) -> None:
        self.path = path
        self.dataset = dataset
        self.limit = limit
        self.processes = processes
        self._counts: dict[str, _Count] = {}
        self._first: list[str] = []
        self._listed: set[tuple[str, str, str]] | None = None
        self._here: dict[str, _Count] = {}
        self._new: list[dict[str, str]] = []
        self._seen_here: set[tuple[str, str, str]] = set()

    @property
    def total(self) -> int:
        """Records skipped in all, as settled last."""
        return sum(count.skipped for count in self._counts.values())

    @property
    def unserved(self) -> int:
        """Records left out in all as they serve no task, as settled last."""
        return sum(count.unserved for count in self._counts.values())

    def note(self, split: str, found: Sequence[Sample | RecordError]) -> None:
        """This process has read records, some of them in vain."""
        count = self._here.setdefault(split, _Count())
        count.read += len(found)
        for error in found:
            if not isinstance(error, RecordError):
                continue
            if isinstance(error, UnservedRecordError):
                count.unserved += 1
                continue
            count.skipped += 1
            line = {
                "dataset": error.dataset or self.dataset,
                "split": split,
                "id": error.record,
                "reason": error.reason,
            }
            if _key(line) not in self._seen_here:
                self._seen_here.add(_key(line))
                self._new.append(line)

    def settle(self, kept: str) -> None:
        """Bring the processes' counts together, list what is new, and judge.

        Args:
            kept: What is left of the run, for the message of its end.

        Raises:
            DataError: In every process, if too many records cannot be read.
        """
        here = _plain(self._here)
        counted = self.processes.gather(here)
        new = [line for lines in self.processes.gather(self._new) for line in lines]
        self._here, self._new = {}, []
        for counts in counted:
            for split, (read, skipped, unserved) in counts.items():
                count = self._counts.setdefault(split, _Count())
                count.read += read
                count.skipped += skipped
                count.unserved += unserved
        told = [f"{line['dataset']}, record {line['id']}: {line['reason']}" for line in new]
        self._first = list(dict.fromkeys([*self._first, *told]))[:_SHOWN]
        if new:
            self.processes.on_main(lambda: self._list(new))
        for split, count in self._counts.items():
            self._judge(split, count, kept)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it, as plain data."""
        return {"skipped_records": {"counts": _plain(self._counts), "first": self._first}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up what a checkpoint holds."""
        held = state.get("skipped_records", {"counts": {}, "first": []})
        self._counts = {split: _Count(*counts) for split, counts in held["counts"].items()}
        self._first = list(held["first"])

    def _judge(self, split: str, count: _Count, kept: str) -> None:
        if count.skipped <= self.limit * max(count.read, LEAST_READ):
            return
        share = f"at most {self.limit:.4g} of them" if self.limit else "none of them"
        raise DataError(
            f"{count.skipped} of {count.read} records of the {split} split cannot be read",
            expected=f"{share} (training.bad_records)",
            notes=[*self._first, f"all of them: {self.path}", kept],
        )

    def _list(self, lines: Sequence[dict[str, str]]) -> None:
        """Write down what has not been before, also by the run that this one continues."""
        if self._listed is None:
            self._listed = _listed_in(self.path)
        new = {_key(line): line for line in lines if _key(line) not in self._listed}
        self._listed |= new.keys()
        if not new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in new.values())


def _plain(counts: Mapping[str, _Count]) -> dict[str, list[int]]:
    return {split: [each.read, each.skipped, each.unserved] for split, each in counts.items()}


def _key(line: Mapping[str, str]) -> tuple[str, str, str]:
    return line["dataset"], line["split"], line["id"]


def _listed_in(path: Path) -> set[tuple[str, str, str]]:
    """What a list holds; a half-written line at its end is taken off."""
    if not path.exists():
        return set()
    content = path.read_text(encoding="utf-8")
    whole = content[: content.rfind("\n") + 1]
    if whole != content:
        path.write_text(whole, encoding="utf-8")
    return {_key(json.loads(line)) for line in whole.splitlines()}
