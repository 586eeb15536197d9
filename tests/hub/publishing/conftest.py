"""What a Hub does with what is pushed: repositories, branches, commits and large files."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from types import SimpleNamespace

import pytest

TOKEN = "hf_thisIsNobodysTokenAtAll"
READER = "hf_thisTokenMayOnlyReadThings"
OWNER = "acme"

_REPO = r"/api/models/([^/]+/[^/]+)"
_LARGE = (".safetensors", ".png", ".wav", ".zip", ".bin")


class Uploads:
    """Takes what the client pushes to a Hub; every commit stays where its hash is asked for.

    Owners are those of tokens: one owns `acme`, the other may only read.
    """

    def __init__(self, hub, store):
        self.hub = hub
        self.store = store
        self.owners = {TOKEN: OWNER, READER: None}
        #: How often the content of a large file was sent, by its SHA-256, and commits made.
        self.sent = Counter()
        self.commits = []
        hub.routes.append(self.route)

    def route(self, handler, method, path, body):
        """Answer a request if it is one of ours; whether it is."""
        routes = (
            ("GET", r"/api/whoami-v2", self.whoami),
            ("POST", r"/api/validate-yaml", lambda handler, _: handler.as_json({"errors": []})),
            ("POST", r"/api/repos/create", self.create),
            ("POST", _REPO + r"/branch/([^/]+)", self.branch),
            ("POST", _REPO + r"/preupload/([^/]+)", self.preupload),
            ("POST", r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self.batch),
            ("PUT", r"/lfs/([0-9a-f]+)", self.put),
            ("POST", _REPO + r"/commit/([^/]+)", self.commit),
        )
        for wanted, pattern, action in routes:
            found = re.fullmatch(pattern, path)
            if wanted == method and found is not None:
                action(handler, body, *found.groups())
                return True
        return False

    def owner(self, handler):
        """Who asks; None after having refused somebody unknown."""
        token = handler.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.owners:
            handler.reply(401, {"X-Error-Message": "Invalid credentials in Authorization header"})
            return None
        return self.owners[token] or "nobody"

    def may_write(self, handler, name):
        owner = self.owner(handler)
        if owner is None:
            return False
        if name not in self.hub.repositories:
            handler.refuse("RepoNotFound", 404)
        elif name.partition("/")[0] != owner:
            handler.reply(403, {"X-Error-Message": "You don't have the rights to write here"})
        else:
            return True
        return False

    def whoami(self, handler, body):
        if owner := self.owner(handler):
            handler.as_json({"type": "user", "name": owner, "orgs": []})

    def create(self, handler, body):
        said = json.loads(body)
        if (owner := self.owner(handler)) is None:
            return
        name = f"{said['organization'] or owner}/{said['name']}"
        if name in self.hub.repositories:
            said = {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"}
            handler.reply(409, {}, json.dumps(said).encode())
        elif name.partition("/")[0] != owner:
            handler.reply(403, {"X-Error-Message": f"You don't have the rights to create {name}"})
        else:
            if said.get("visibility") == "private" or said.get("private"):
                self.hub.private[name] = TOKEN
            folder = self.store / name / "0"
            folder.mkdir(parents=True)
            (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
            self.settle(name, "main", folder)
            handler.as_json({"url": f"{self.hub.url}/{name}"})

    def settle(self, name, branch, folder):
        """Let a folder be what a branch holds; its commit."""
        if branch == "main":
            self.hub.repositories[name] = folder
        self.hub.revisions[name, branch] = folder
        commit = self.hub.commit(name, branch)
        self.hub.revisions[name, commit] = folder
        return commit

    def branch(self, handler, body, name, branch):
        if self.may_write(handler, name):
            if (name, branch) in self.hub.revisions:
                handler.reply(409, {}, b'{"error": "Reference already exists"}')
                return
            self.settle(name, branch, self.hub.repositories[name])
            handler.as_json({})

    def preupload(self, handler, body, name, branch):
        if not self.may_write(handler, name):
            return
        folder = self.hub.folder(name, branch)
        files = []
        for said in json.loads(body)["files"]:
            path = said["path"]
            is_large = path.endswith(_LARGE)
            oid = None
            if (folder / path).is_file():
                content = (folder / path).read_bytes()
                blob = b"blob %d\0" % len(content) + content
                digest = hashlib.sha256(content) if is_large else hashlib.sha1(blob)
                oid = digest.hexdigest()
            mode = "lfs" if is_large else "regular"
            files.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": oid})
        handler.as_json({"files": files})

    def batch(self, handler, body, name):
        if not self.may_write(handler, name):
            return
        objects = []
        for said in json.loads(body)["objects"]:
            entry = {"oid": said["oid"], "size": said["size"]}
            if not (self.store / said["oid"]).is_file():
                href = f"{self.hub.url}/lfs/{said['oid']}"
                entry["actions"] = {"upload": {"href": href, "header": {}}}
            objects.append(entry)
        handler.as_json({"transfer": "basic", "objects": objects})

    def put(self, handler, body, oid):
        # A store of its own takes these: it gets no token.
        assert "Authorization" not in handler.headers
        assert hashlib.sha256(body).hexdigest() == oid
        self.sent[oid] += 1
        (self.store / oid).write_bytes(body)
        handler.reply(200)

    def commit(self, handler, body, name, branch):
        if not self.may_write(handler, name):
            return
        parent = json.loads(body.splitlines()[0])["value"].get("parentCommit")
        if parent not in (None, self.hub.commit(name, branch)):
            handler.reply(412, {"X-Error-Message": "A commit has happened since. Please refresh"})
            return
        folder = self.store / name / str(len(self.commits) + 1)
        shutil.copytree(self.hub.folder(name, branch), folder, copy_function=os.link)
        for line in body.splitlines():
            said = json.loads(line)
            self.apply(folder, said["key"], said["value"])
        commit = self.settle(name, branch, folder)
        self.commits.append(commit)
        url = f"{self.hub.url}/{name}/commit/{commit}"
        handler.as_json({"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def apply(self, folder, key, value):
        if key == "header":
            return
        path = folder / value["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        if key == "file":
            path.write_bytes(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            os.link(self.store / value["oid"], path)


@pytest.fixture
def uploads(online, tmp_path, monkeypatch):
    """A Hub that takes what is pushed, and a token for it in the environment."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    store = tmp_path / "store"
    store.mkdir()
    return Uploads(online, store)


@pytest.fixture
def hasty(monkeypatch):
    """Waits are told and not waited for; those of the Hub's client are not either."""
    from huggingface_hub.utils import _http

    from omniflow.connection.patience import Patience

    waits = []
    monkeypatch.setattr(Patience, "wait", lambda self, n, why, asked_s=None: waits.append(why))
    monkeypatch.setattr(_http, "time", SimpleNamespace(sleep=waits.append, time=lambda: 0.0))
    return waits


@pytest.fixture(scope="session")
def registry(small_backbone):
    """The built-in components, and a plugin's: a backbone that costs nothing, and a head."""
    from omniflow.heads.mlp import MLPHead
    from omniflow.plugins import PluginSource, hookimpl, load_plugins
    from omniflow.registry import Origin

    @hookimpl
    def omniflow_register(register):
        register(kind="backbone", name="small", target=small_backbone, summary="In memory")
        register(kind="head", name="own", target=MLPHead, summary="Somebody's own")

    plugin = SimpleNamespace(omniflow_register=omniflow_register)
    source = PluginSource("acme", Origin("omniflow-acme", "0.3"), lambda: plugin)
    return load_plugins([source]).registry
