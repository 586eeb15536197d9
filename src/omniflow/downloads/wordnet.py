"""WordNet for METEOR: nltk's packages of it, in a folder where nltk looks."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from omniflow.connection.patience import Patience, persistently
from omniflow.downloads.progress import DownloadReporter
from omniflow.downloads.room import free_room, require_room
from omniflow.errors import DataError, UsageError
from omniflow.files import writing_folder
from omniflow.hub_access import one_line, without_secrets

#: nltk's own index of its packages; another may be named by OMNIFLOW_NLTK_INDEX.
INDEX = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/index.xml"
INDEX_VARIABLE = "OMNIFLOW_NLTK_INDEX"

PACKAGES = ("wordnet", "omw-1.4")

#: No index and no package of nltk's is larger; unpacked neither.
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class NltkPackage:
    """A package as the index tells of it.

    Args:
        name: Its id.
        folder: Where it lies, below nltk's data folder.
        url: Where it is.
        size: Bytes of its archive.
        sha256: Checksum of the archive; empty where the index has none.
        md5: An older one.
        licence: As the index states it.
    """

    name: str
    folder: PurePosixPath
    url: str
    size: int
    sha256: str
    md5: str
    licence: str | None


@dataclass(frozen=True)
class WordnetReport:
    """What came of it.

    Args:
        folder: nltk's data folder.
        packages: What is in it, by name with its licence.
        fetched: Names of those that were not there before.
    """

    folder: Path
    packages: Mapping[str, str | None]
    fetched: tuple[str, ...]


def nltk_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where nltk looks first: the first folder of NLTK_DATA, else `nltk_data` at home."""
    said = environ.get("NLTK_DATA", "").split(os.pathsep)[0]
    return Path(said or "~/nltk_data").expanduser()


def download_wordnet(
    folder: Path | None = None,
    *,
    index: str | None = None,
    is_forced: bool = False,
    reporter: DownloadReporter | None = None,
    patience: Patience | None = None,
) -> WordnetReport:
    """Fetch WordNet and its words in other languages, unless they are there.

    Args:
        folder: nltk's data folder; `nltk_folder()` by default.
        index: URL of the index; OMNIFLOW_NLTK_INDEX, else that of nltk.
        is_forced: Fetch them, though they are there.
        reporter: Is told how it goes.
        patience: How often is tried again.

    Raises:
        UsageError: If they cannot be fetched, or the index is none.
        DataError: If an archive is damaged, or would write elsewhere.
    """
    folder = folder or nltk_folder()
    reporter = reporter or DownloadReporter()
    patience = patience or Patience(tell=reporter.told)
    places = {name: folder / "corpora" / name for name in PACKAGES}
    missing = [name for name, place in places.items() if is_forced or not place.is_dir()]
    licences: dict[str, str | None] = dict.fromkeys(PACKAGES)
    if missing:
        url = index or os.environ.get(INDEX_VARIABLE) or INDEX
        known = _packages(_get(url, patience), url)
        licences = {name: known[name].licence for name in PACKAGES}
        size = sum(known[name].size for name in missing)
        room = free_room(folder)
        reporter.planned("wordnet", without_secrets(url), len(missing), size, room)
        require_room(folder, size, advice="another --output-dir")
        for name in missing:
            _install(known[name], places[name], patience, reporter.received)
    return WordnetReport(folder, licences, tuple(missing))


def _install(
    package: NltkPackage, place: Path, patience: Patience, received: Callable[[int], None]
) -> None:
    content = _get(package.url, patience)
    checks = [(package.sha256, hashlib.sha256)] if package.sha256 else []
    checks += [(package.md5, hashlib.md5)] if package.md5 and not checks else []
    if any(make(content).hexdigest() != said for said, make in checks):
        raise DataError(
            "its checksum is not that of the index",
            where=without_secrets(package.url),
            expected="a whole archive, at another attempt",
        )
    with writing_folder(place) as folder:
        unpack(content, folder, below=package.name, where=without_secrets(package.url))
    received(package.size)


def unpack(content: bytes, folder: Path, *, below: str, where: str) -> None:
    """Write the files of an archive that lie in one folder of it; nothing is written elsewhere.

    Args:
        content: A zip archive.
        folder: Where its files go.
        below: The folder in it.
        where: The archive, for messages.

    Raises:
        DataError: If it is none, holds links or names that lead out of the folder, or is too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            if sum(member.file_size for member in members) > _MOST_BYTES:
                raise DataError(f"it unpacks to more than {_MOST_BYTES} bytes", where=where)
            for member in members:
                target = folder / _inside(member, below, where)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(member))
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise DataError(f"is no archive ({one_line(error)})", where=where) from error


def _inside(member: zipfile.ZipInfo, below: str, where: str) -> PurePosixPath:
    """The path of a member in its folder."""
    path = PurePosixPath(member.filename)
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    leads_out = path.is_absolute() or ".." in path.parts or "\\" in member.filename
    if is_link or leads_out or len(path.parts) < 2 or path.parts[0] != below:
        raise DataError(
            f"it has {member.filename!r}", where=where, expected=f"files in {below}/ alone"
        )
    return PurePosixPath(*path.parts[1:])


def _packages(content: bytes, url: str) -> dict[str, NltkPackage]:
    """The packages that we need, as an index tells of them."""
    found = {}
    try:
        for element in ElementTree.fromstring(content).iter("package"):
            said = element.attrib
            if said["id"] in PACKAGES:
                found[said["id"]] = NltkPackage(
                    said["id"], PurePosixPath(said["subdir"]), said["url"], int(said["size"]),
                    said.get("sha256_checksum", ""), said.get("checksum", ""), said.get("license"),
                )  # fmt: skip
    except (ElementTree.ParseError, KeyError, ValueError) as error:
        raise UsageError(
            f"is no index of nltk's packages ({one_line(error)})", where=without_secrets(url)
        ) from error
    lacking = [name for name in PACKAGES if name not in found]
    if lacking:
        raise UsageError(f"it has no package {' or '.join(lacking)}", where=without_secrets(url))
    return found


def _get(url: str, patience: Patience) -> bytes:
    """What is at a URL; no token goes there.

    Raises:
        UsageError: If it cannot be fetched.
    """
    from huggingface_hub import constants, get_session
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    def ask() -> bytes:
        content = bytearray()
        with get_session().stream(
            "GET", url, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT
        ) as response:
            response.raise_for_status()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > _MOST_BYTES:
                    raise DataError(f"is larger than {_MOST_BYTES} bytes", where=url)
        return bytes(content)

    try:
        return persistently(ask, patience)
    except (HTTPError, OSError) as error:
        advice = f"{INDEX_VARIABLE}=URL names another index; NLTK_DATA=FOLDER, a folder that has it"
        raise UsageError(
            f"cannot be fetched ({without_secrets(one_line(error))})",
            where=without_secrets(url),
            notes=[advice],
        ) from error
