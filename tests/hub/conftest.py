"""A Hub on loopback that the real client downloads from, made of the standard library."""

from __future__ import annotations

import hashlib
import io
import json
import re
import socket
import struct
import threading
import zipfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

_INFO = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)(?:/revision/([^/]+))?")
_TREE = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.+))?")
_PATHS = re.compile(r"/api/(models|datasets)/([^/]+/[^/]+)/paths-info/([^/]+)")
_FILE = re.compile(r"/(datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@cache
def _sha256(file: Path, size: int, changed_ns: int) -> str:
    """Of what is in a file; every request asks for that of all files."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


class LocalHub:
    """Repositories, each a folder with one commit, and what was asked of them.

    Models are called `owner/name`, data sets `datasets/owner/name`.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        #: Earlier commits and other branches, by name and revision; without, there is one commit.
        self.revisions: dict[tuple[str, str], Path] = {}
        #: Who answers requests that are none of downloads; called with the handler, the method, the
        #: path and the body, each says whether it has.
        self.routes: list[Callable[[_Handler, str, str, bytes], bool]] = []
        self.asked: list[str] = []
        #: Bytes of files that were sent, by path in the repository.
        self.sent: Counter[str] = Counter()
        #: Repositories that only those with a token may read, and those whose terms they accept.
        self.private: dict[str, str] = {}
        self.gated: set[str] = set()
        #: Paths that answer 403, which the client does not try again.
        self.broken: set[str] = set()
        #: What goes wrong with the next requests, one after another, by a path in a repository or
        #: one after the host: a status, (status, headers), ("cut", bytes), ("reset", bytes) after
        #: which the connection ends, or "flip" for a wrong byte.
        self.faults: dict[str, list[object]] = {}
        #: Whether stretches of files are sent, as the Hub does.
        self.has_ranges = True
        #: Headers of the requests.
        self.headers: list[dict[str, str]] = []
        hub = self

        class Handler(_Handler):
            served = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=[0.01], daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(self, name: str, folder: Path) -> str:
        """Serve a folder as `owner/name` or `datasets/owner/name`; its commit."""
        self.repositories[name] = folder
        return self.commit(name)

    def folder(self, name: str, revision: str = "main") -> Path:
        """What a repository holds at a revision."""
        return self.revisions.get((name, revision)) or self.repositories[name]

    def commit(self, name: str, revision: str = "main") -> str:
        digests = [
            f"{path} {self.etag(name, path, revision)}" for path in self.files(name, revision)
        ]
        return hashlib.sha1("\n".join(digests).encode()).hexdigest()

    def files(self, name: str, revision: str = "main") -> list[str]:
        folder = self.folder(name, revision)
        files = (file for file in folder.rglob("*") if file.is_file())
        return sorted(file.relative_to(folder).as_posix() for file in files)

    def fault(self, path: str) -> object | None:
        """What goes wrong now."""
        left = self.faults.get(path)
        return left.pop(0) if left else None

    def etag(self, name: str, path: str, revision: str = "main") -> str:
        file = self.folder(name, revision) / path
        status = file.stat()
        return _sha256(file, status.st_size, status.st_mtime_ns)

    def environment(self, home: Path) -> dict[str, str]:
        """For a process whose client is to come here."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "NO_PROXY": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    served: LocalHub
    #: Whether what is answered gets lost.
    is_unheard = False
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.served.asked.append(path)
        self.served.headers.append(dict(self.headers))
        fault = self.served.fault(path)
        if fault is not None:
            self.fail(fault)
        elif path in self.served.broken:
            self.reply(403)
        elif self.is_routed("GET", path, b""):
            pass
        elif match := _INFO.fullmatch(path):
            self.info(_named(*match.group(1, 2)), match[3] or "main")
        elif match := _TREE.fullmatch(path):
            self.tree(_named(*match.group(1, 2)), match[3], match[4] or "")
        elif match := _FILE.fullmatch(path):
            self.file((match[1] or "") + match[2], *match.group(3, 4))
        else:
            self.refuse("EntryNotFound")

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.served.asked.append(path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        match = _PATHS.fullmatch(path)
        fault = self.served.fault(path)
        if fault == "dropped":
            self.reset()
        elif fault == "unheard":
            # Done, and nobody is told.
            self.is_unheard = True
            self.is_routed(self.command, path, body)
        elif fault is not None:
            self.fail(fault)
        elif self.is_routed(self.command, path, body):
            pass
        elif match is None:
            self.refuse("EntryNotFound")
        elif self.knows(name := _named(*match.group(1, 2)), match[3]):
            said = parse_qs(body.decode())
            found = [self.entry(name, each, match[3]) for each in said.get("paths", [])]
            self.as_json([each for each in found if each is not None])

    do_PUT = do_POST  # noqa: N815

    def is_routed(self, method: str, path: str, body: bytes) -> bool:
        return any(route(self, method, path, body) for route in self.served.routes)

    def knows(self, name: str, revision: str) -> bool:
        wanted = self.served.private.get(name)
        if name not in self.served.repositories or (
            wanted is not None and self.headers.get("Authorization") != f"Bearer {wanted}"
        ):
            self.refuse("RepoNotFound", 401)
        elif (
            revision not in ("main", self.served.commit(name))
            and (name, revision) not in self.served.revisions
        ):
            self.refuse("RevisionNotFound")
        else:
            return True
        return False

    def info(self, name: str, revision: str) -> None:
        if self.knows(name, revision):
            files = self.served.files(name, revision)
            siblings = [self.sibling(name, path, revision) for path in files]
            self.as_json(
                {
                    "id": name.removeprefix("datasets/"),
                    "sha": self.served.commit(name, revision),
                    "private": name in self.served.private,
                    "siblings": siblings,
                    "gated": "manual" if name in self.served.gated else False,
                }
            )

    def sibling(self, name: str, path: str, revision: str) -> dict[str, object]:
        """What the Hub says of a file among those of its repository."""
        content = (self.served.folder(name, revision) / path).read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        about: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": blob}
        if Path(path).suffix in (".parquet", ".safetensors", ".bin", ".zip", ".pt"):
            sha256 = hashlib.sha256(content).hexdigest()
            about["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
        return about

    def fail(self, fault: object, content: bytes = b"") -> None:
        """Answer wrongly."""
        if isinstance(fault, int):
            self.reply(fault)
        elif isinstance(fault, tuple) and isinstance(fault[0], int):
            self.reply(*fault)
        elif isinstance(fault, tuple):
            kind, count = fault
            self.send_response(206 if "Range" in self.headers else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[:count])
            self.wfile.flush()
            if kind == "reset":
                self.reset()
            self.close_connection = True

    def reset(self) -> None:
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()
        self.close_connection = True

    def tree(self, name: str, revision: str, inside: str) -> None:
        if not self.knows(name, revision):
            return
        is_deep = "recursive=true" in urlsplit(self.path).query.lower()
        start = f"{inside}/" if inside else ""
        found: dict[str, None] = {}
        for path in self.served.files(name, revision):
            if path.startswith(start):
                parts = path.removeprefix(start).split("/")
                for depth in range(1, len(parts) + 1 if is_deep else 2):
                    found[start + "/".join(parts[:depth])] = None
        if found or not inside:
            self.as_json([self.entry(name, path, revision) for path in found])
        else:
            self.refuse("EntryNotFound")

    def entry(self, name: str, path: str, revision: str) -> dict[str, object] | None:
        """What the Hub says of a file or folder."""
        place = self.served.folder(name, revision) / path
        if place.is_dir():
            return {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
        if not place.is_file():
            return None
        etag = self.served.etag(name, path, revision)
        return {"type": "file", "path": path, "size": place.stat().st_size, "oid": etag[:40]}

    def file(self, name: str, revision: str, path: str) -> None:
        if not self.knows(name, revision):
            return
        if name in self.served.gated:
            self.refuse("GatedRepo", 403)
            return
        commit = {"X-Repo-Commit": self.served.commit(name, revision)}
        if path not in self.served.files(name, revision):
            self.refuse("EntryNotFound", headers=commit)
            return
        content = (self.served.folder(name, revision) / path).read_bytes()
        etag = self.served.etag(name, path, revision)
        headers = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **commit}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        wanted = wanted if self.served.has_ranges else None
        status = 200
        if wanted is not None:
            start = int(wanted[1])
            end = min(int(wanted[2] or len(content) - 1), len(content) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
            content, status = content[start : end + 1], 206
        fault = self.served.fault(path) if self.command == "GET" else None
        if fault == "flip":
            content = bytes([content[0] ^ 1]) + content[1:]
        elif fault is not None:
            self.fail(fault, content)
            return
        if self.command == "GET":
            self.served.sent[path] += len(content)
        self.reply(status, headers, content)

    def as_json(self, content: object) -> None:
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def refuse(self, code: str, status: int = 404, headers: dict[str, str] | None = None) -> None:
        self.reply(status, {"X-Error-Code": code, **(headers or {})})

    def reply(
        self, status: int, headers: dict[str, str] | None = None, content: bytes = b"{}"
    ) -> None:
        if self.is_unheard:
            self.reset()
            return
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


def _named(kind: str, name: str) -> str:
    return f"datasets/{name}" if kind == "datasets" else name


@pytest.fixture
def hub():
    """A Hub without repositories; `hub.add("owner/name", folder)` adds one."""
    served = LocalHub()
    yield served
    served.close()


@pytest.fixture
def online(hub, monkeypatch, tmp_path):
    """Lets the client of this process, which read its environment long ago, come to the Hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    return hub


@pytest.fixture
def nltk_index(online, tmp_path, monkeypatch):
    """A folder with an index like nltk's, and its packages of WordNet; served, and set."""
    folder = tmp_path / "nltk"
    folder.mkdir()
    lines = []
    for name in ("wordnet", "omw-1.4"):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(f"{name}/data.noun", f"a noun of {name}")
        content = packed.getvalue()
        (folder / f"{name}.zip").write_bytes(content)
        lines.append(
            f'<package id="{name}" subdir="corpora" size="{len(content)}" license="Own terms" '
            f'url="{online.url}/acme/nltk/resolve/main/{name}.zip" '
            f'checksum="{hashlib.md5(content).hexdigest()}"/>'
        )
    packages = "<nltk_data><packages>" + "".join(lines) + "</packages></nltk_data>"
    (folder / "index.xml").write_text(packages)
    online.add("acme/nltk", folder)
    monkeypatch.setenv("OMNIFLOW_NLTK_INDEX", f"{online.url}/acme/nltk/resolve/main/index.xml")
    return folder
