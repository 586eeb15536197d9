"""The shards that a pattern names: files here, on the Hub or on the web."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from omniflow.datasets.byte_files import ByteFile, LocalFile, RemoteFile
from omniflow.datasets.hub_files import HubFiles
from omniflow.errors import ConfigError, DataError, closest

#: Most shards that a pattern may name.
MOST_SHARDS = 100_000

_HUB = re.compile(r"hf://datasets/([^/@]+/[^/@]+)(?:@([^/]+))?/(.+)")
_BRACES = re.compile(r"\{([^{}]*)\}")
_NESTED = re.compile(r"\{[^{}]*\{")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def find_shards(pattern: str, *, streaming: bool) -> dict[str, ByteFile]:
    """Name to file of every shard, in the order of the pattern, globs in that of their names.

    A name is what follows the folder that all of them are in, without its ending.

    Args:
        pattern: Files, with `{000..009}`, `{a,b}` and `*`; a folder stands for the .tar files in
            it. `hf://datasets/OWNER/NAME[@REVISION]/...` is on the Hub, `https://...` on the web.
        streaming: Whether what is elsewhere is read from there.

    Raises:
        ConfigError: If it names files on the web that are not streamed, or too many.
        DataError: If there are no such files.
        UsageError: If the Hub cannot be reached.
    """
    wanted = list(islice(expanded(pattern), MOST_SHARDS + 1))
    if len(wanted) > MOST_SHARDS:
        raise ConfigError("path", pattern, expected=f"at most {MOST_SHARDS} shards")
    if pattern.startswith(("http://", "https://")):
        if not streaming:
            raise ConfigError(
                "streaming", False, expected="true for shards on the web, which are not kept here"
            )
        files: list[ByteFile] = [RemoteFile(url) for url in wanted]
        return _named([urlsplit(url).path for url in wanted], files)
    if pattern.startswith("hf://"):
        return _on_the_hub(pattern, wanted, streaming)
    paths = [path for each in wanted for path in _here(each)]
    return _named(paths, [LocalFile(Path(path)) for path in paths])


def expanded(pattern: str) -> Iterator[str]:
    """A pattern without braces: `{000..009}` counts with as many digits, `{a,b}` is either.

    Raises:
        ConfigError: If a range goes backwards, or braces stand in others.
    """
    if _NESTED.search(pattern):
        raise ConfigError("path", pattern, expected="no braces within others")
    match = _BRACES.search(pattern)
    if match is None:
        yield pattern
        return
    counted = _RANGE.fullmatch(match[1])
    choices: Iterator[str] = iter(match[1].split(","))
    if counted is not None:
        first, last = counted[1], counted[2]
        if int(first) > int(last):
            raise ConfigError("path", pattern, expected=f"{{{last}..{first}}}")
        width = len(first)
        choices = (f"{number:0{width}}" for number in range(int(first), int(last) + 1))
    for choice in choices:
        yield from expanded(pattern[: match.start()] + choice + pattern[match.end() :])


def _here(pattern: str) -> list[str]:
    """Files on this machine that a pattern without braces names."""
    path = Path(pattern).expanduser()
    if path.is_dir():
        found = sorted(str(each) for each in path.glob("*.tar") if each.is_file())
        if not found:
            raise DataError(
                "there is no .tar file in the folder", where=pattern, expected="tar shards"
            )
        return found
    if path.is_file():
        return [str(path)]
    found = sorted(each for each in glob.glob(str(path)) if Path(each).is_file())
    if not found:
        beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
        nearest = [str(path.parent / name) for name in closest(path.name, beside)]
        raise DataError(
            "there is no such file", where=pattern,
            expected="tar shards, or a folder with .tar files", nearest=nearest,
        )  # fmt: skip
    return found


def _on_the_hub(pattern: str, wanted: list[str], streaming: bool) -> dict[str, ByteFile]:
    matches = [_HUB.fullmatch(each) for each in wanted]
    parts = [match.groups() for match in matches if match is not None]
    if len(parts) != len(wanted) or len({(name, revision) for name, revision, _ in parts}) != 1:
        raise ConfigError(
            "path", pattern, expected="hf://datasets/OWNER/NAME[@REVISION]/FILES of one data set"
        )
    name, revision, _ = parts[0]
    source = HubFiles(name, revision, streaming=streaming)
    names: list[str] = []
    for _, _, inside in parts:
        found = source.names(inside) if glob.has_magic(inside) else [inside]
        if not found:
            raise DataError(f"there is no file {inside}", where=name, expected="tar shards")
        names += found
    if not source.is_remote:
        source.fetch(names)
    return _named(names, [source.file(each) for each in names])


def _named(paths: list[str], files: list[ByteFile]) -> dict[str, ByteFile]:
    """Files by what follows the folder that all are in."""
    [(path, times)] = Counter(paths).most_common(1)
    if times > 1:
        raise DataError(f"is named {times} times", where=path, expected="every shard once")
    folder = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = [PurePosixPath(os.path.relpath(path, folder or ".")) for path in paths]
    return {
        str(name.with_suffix("") if name.suffix == ".tar" else name): file
        for name, file in zip(names, files, strict=True)
    }
