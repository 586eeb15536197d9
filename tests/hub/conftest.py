"""A Hub on loopback that the real client downloads from, made of the standard library."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

_REVISION = re.compile(r"/api/models/([^/]+/[^/]+)/revision/([^/]+)")
_TREE = re.compile(r"/api/models/([^/]+/[^/]+)/tree/([^/]+)")
_FILE = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class LocalHub:
    """Repositories of models, each a folder with one commit, and what was asked of them."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.asked: list[str] = []
        #: Paths that answer 403, which the client does not try again.
        self.broken: set[str] = set()
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
        """Serve a folder as `owner/name`; its commit."""
        self.repositories[name] = folder
        return self.commit(name)

    def commit(self, name: str) -> str:
        digests = [f"{path} {self.etag(name, path)}" for path in self.files(name)]
        return hashlib.sha1("\n".join(digests).encode()).hexdigest()

    def files(self, name: str) -> list[str]:
        folder = self.repositories[name]
        files = (file for file in folder.rglob("*") if file.is_file())
        return sorted(file.relative_to(folder).as_posix() for file in files)

    def etag(self, name: str, path: str) -> str:
        return hashlib.sha256((self.repositories[name] / path).read_bytes()).hexdigest()

    def environment(self, home: Path) -> dict[str, str]:
        """For a process whose client is to come here."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "127.0.0.1",
        }


class _Handler(BaseHTTPRequestHandler):
    served: LocalHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.served.asked.append(path)
        if path in self.served.broken:
            self.reply(403)
        elif match := _REVISION.fullmatch(path):
            self.revision(*match.groups())
        elif match := _TREE.fullmatch(path):
            self.tree(*match.groups())
        elif match := _FILE.fullmatch(path):
            self.file(*match.groups())
        else:
            self.refuse("EntryNotFound")

    do_HEAD = do_GET  # noqa: N815

    def knows(self, name: str, revision: str) -> bool:
        if name not in self.served.repositories:
            self.refuse("RepoNotFound", 401)
        elif revision not in ("main", self.served.commit(name)):
            self.refuse("RevisionNotFound")
        else:
            return True
        return False

    def revision(self, name: str, revision: str) -> None:
        if self.knows(name, revision):
            siblings = [{"rfilename": path} for path in self.served.files(name)]
            self.as_json({"id": name, "sha": self.served.commit(name), "siblings": siblings})

    def tree(self, name: str, revision: str) -> None:
        if self.knows(name, revision):
            root = self.served.repositories[name]
            self.as_json(
                [
                    {
                        "type": "file",
                        "path": path,
                        "size": (root / path).stat().st_size,
                        "oid": self.served.etag(name, path)[:40],
                    }
                    for path in self.served.files(name)
                ]
            )

    def file(self, name: str, revision: str, path: str) -> None:
        if not self.knows(name, revision):
            return
        commit = {"X-Repo-Commit": self.served.commit(name)}
        if path not in self.served.files(name):
            self.refuse("EntryNotFound", headers=commit)
            return
        content = (self.served.repositories[name] / path).read_bytes()
        headers = {"ETag": f'"{self.served.etag(name, path)}"', "Accept-Ranges": "bytes", **commit}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            self.reply(200, headers, content)
            return
        start, end = int(wanted[1]), int(wanted[2] or len(content) - 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
        self.reply(206, headers, content[start : end + 1])

    def as_json(self, content: object) -> None:
        self.reply(200, {"Content-Type": "application/json"}, json.dumps(content).encode())

    def refuse(self, code: str, status: int = 404, headers: dict[str, str] | None = None) -> None:
        self.reply(status, {"X-Error-Code": code, **(headers or {})})

    def reply(
        self, status: int, headers: dict[str, str] | None = None, content: bytes = b"{}"
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        pass


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
