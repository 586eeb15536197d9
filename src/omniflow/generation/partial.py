"""The partial file: what has been made so far, safe against a crash at any moment.

Lines of JSON beside the output: first what the work is, then one line a record. Lines are added a
batch at a time and flushed to the disk; a last line that was cut off is as if it weren't there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from omniflow.errors import OmniFlowError, UsageError

FORMAT = "omniflow.partial/1"


def partial_path(output: Path, rank: int = 0) -> Path:
    """Where a process keeps what it has made: `predictions.json.partial.jsonl`, `.partial-1`..."""
    return output.with_name(f"{output.name}.partial{f'-{rank}' if rank else ''}.jsonl")


def partial_paths(output: Path) -> list[Path]:
    """The partial files that there are, of any process."""
    others = output.parent.glob(f"{_escaped(output.name)}.partial-*.jsonl")
    return [path for path in (partial_path(output), *sorted(others)) if path.is_file()]


def read_partials(output: Path, work: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """What has been made by record number; nothing when there is no partial file.

    Args:
        output: The file or folder that is being made.
        work: What the work is, as plain data.

    Raises:
        UsageError: If a partial file is of other work.
    """
    found: dict[int, dict[str, Any]] = {}
    for path in partial_paths(output):
        lines, _ = _whole_lines(path)
        if not lines:
            continue
        _check_work(lines[0], work, path)
        found |= {line["number"]: line for line in lines[1:]}
    return found


def works_begun(output: Path) -> list[Mapping[str, Any]]:
    """What the work of each partial file is, as plain data; empty where it cannot be read."""
    headers = [_whole_lines(path)[0][:1] for path in partial_paths(output)]
    works = [lines[0].get("work") if lines else None for lines in headers]
    return [work if isinstance(work, dict) else {} for work in works]


def remove_partials(output: Path) -> None:
    """Remove the partial files of all processes."""
    for path in partial_paths(output):
        path.unlink()


class PartialFile:
    """One process's partial file, open for more lines.

    Args:
        path: Where it is.
        work: What the work is; a new file begins with it.

    Raises:
        UsageError: If the file cannot be written, or another process is writing it.
    """

    def __init__(self, path: Path, work: Mapping[str, Any]) -> None:
        self.path = path
        self._work = work

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab")
        except OSError as error:
            raise UsageError(
                f"cannot be written ({error.strerror or error})", where=str(self.path)
            ) from error
        self._claim()
        lines, whole = _whole_lines(self.path)
        self._file.truncate(whole)
        if not lines:
            self._append([{"format": FORMAT, "work": self._work}])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, lines: Mapping[int, Mapping[str, Any]]) -> None:
        """Add what was made of some records, by number; it is on the disk when this returns.

        Raises:
            OmniFlowError: If it cannot be written (a full disk).
        """
        self._append([{"number": number, **line} for number, line in lines.items()])

    def _append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        # Escapes keep lone surrogates and line ends of any script inside their line.
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        try:
            self._file.write(data)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise OmniFlowError(
                f"cannot be written ({error.strerror or error})",
                where=str(self.path),
                expected="a place with room",
                notes=["what it holds stands; the same command continues from there"],
            ) from error

    def _claim(self) -> None:
        """The claim ends with the process, however it ends."""
        with suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                self._file.close()
                raise UsageError(
                    "another process is writing it",
                    where=str(self.path),
                    expected="one process at a time, or another output",
                ) from error
            # A file system that knows no claims.
            except OSError:
                return


def _whole_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The lines of a partial file, and where they end; from one that is damaged on, none."""
    lines: list[dict[str, Any]] = []
    whole = 0
    with path.open("rb") as file:
        for data in file:
            try:
                line = json.loads(data) if data.endswith(b"\n") else None
            except ValueError:
                line = None
            if not isinstance(line, dict) or ("number" if lines else "format") not in line:
                break
            lines.append(line)
            whole += len(data)
    return lines, whole


def _check_work(header: Mapping[str, Any], work: Mapping[str, Any], path: Path) -> None:
    said = json.loads(json.dumps(work))
    if header.get("format") == FORMAT and header.get("work") == said:
        return
    other = header.get("work")
    other = other if isinstance(other, dict) else {}
    differing = sorted(key for key in other.keys() | said.keys() if other.get(key) != said.get(key))
    raise UsageError(
        f"it was begun by another command, with other {', '.join(differing) or 'format'}",
        where=str(path),
        expected="the command that it was begun by",
        notes=[f"to begin anew: choose another --output, or remove {path}"],
    )


def _escaped(name: str) -> str:
    import glob

    return glob.escape(name)
