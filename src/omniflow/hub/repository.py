"""The repository that is pushed to: made where there is none, and tried before anything is sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from omniflow.connection.patience import Patience, persistently
from omniflow.errors import UsageError
from omniflow.hub.names import is_commit
from omniflow.hub_access import without_secrets

MAIN = "main"

#: What git takes for no name of a branch.
_NO_BRANCH = re.compile(r"^$|[\x00-\x20\x7f~^:?*\[\\#%]|\.\.|//|@\{|^[-/.]|[/.]$|\.lock$")

#: Roles in an organisation that may make and write repositories.
_WRITERS = frozenset({"admin", "write", "contributor"})


@dataclass(frozen=True)
class Repository:
    """A repository on the Hub that may be written to.

    Args:
        repo: `owner/name`.
        branch: The branch.
        api: The Hub's client, with the token.
        patience: How often is tried again.
    """

    repo: str
    branch: str
    api: Any
    patience: Patience

    @property
    def url(self) -> str:
        """Its page, without a password that its address may have."""
        return without_secrets(f"{self.api.endpoint}/{self.repo}")


def open_repository(
    repo: str,
    *,
    private: bool | None = None,
    branch: str | None = None,
    token: str | None = None,
    patience: Patience | None = None,
) -> Repository:
    """Find or make a repository and its branch, and see that they may be written to.

    Nothing is written but an empty repository or branch, where there is none.

    Args:
        repo: `owner/name`, or a name among one's own.
        private: Whether only its owner may see it; None leaves that to what is set there.
        branch: The branch; None for the main one.
        token: The token; None for that of `hf auth login` or HF_TOKEN.
        patience: How often is tried again.

    Raises:
        UsageError: If there is no token, it is a commit that is to be written to, or the repository
            is public and must not be.
        HTTPError: That of the Hub's client; see `omniflow.hub.refusals`.
    """
    found = _named(repo, branch, token, patience)
    api, patience = found.api, found.patience
    persistently(lambda: api.create_repo(found.repo, private=private, exist_ok=True), patience)
    info = persistently(lambda: api.repo_info(found.repo), patience)
    _refuse_public(found, info, private)
    if found.branch != MAIN:
        persistently(
            lambda: api.create_branch(found.repo, branch=found.branch, exist_ok=True), patience
        )
    _try_writing(found)
    return found


def check_rights(
    repo: str,
    *,
    private: bool | None = None,
    token: str | None = None,
    patience: Patience | None = None,
) -> None:
    """See whether a repository may be written to, or made; nothing is.

    Args:
        repo: `owner/name`, or a name among one's own.
        private: Whether only its owner is to see it.
        token: The token; None for that of `hf auth login` or HF_TOKEN.
        patience: How often is tried again.

    Raises:
        UsageError: If it may not, there is no token, or it is public and must not be.
        HTTPError: That of the Hub's client; see `omniflow.hub.refusals`.
    """
    found = _named(repo, None, token, patience)
    if persistently(lambda: found.api.repo_exists(found.repo), found.patience):
        info = persistently(lambda: found.api.repo_info(found.repo), found.patience)
        _refuse_public(found, info, private)
        _try_writing(found)
        return
    me = persistently(found.api.whoami, found.patience)
    owner = found.repo.partition("/")[0]
    roles = {org["name"]: org.get("roleInOrg", "write") for org in me.get("orgs", ())}
    is_reader = me.get("auth", {}).get("accessToken", {}).get("role") == "read"
    if is_reader or roles.get(owner, "" if owner != me["name"] else "admin") not in _WRITERS:
        raise UsageError(
            f"your token may not write to {found.repo}",
            expected=f"a token with the right to write, and a repository of {me['name']}"
            + "".join(f" or {name}" for name in roles),
        )


def _named(
    repo: str, branch: str | None, token: str | None, patience: Patience | None
) -> Repository:
    """What is meant, by whoever's token it is; it need not exist."""
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    validate_repo_id(repo)
    if branch is not None and is_commit(branch):
        raise UsageError(
            f"{branch} is a commit, which never changes", where="--revision", expected="a branch"
        )
    if branch is not None and _NO_BRANCH.search(branch):
        raise UsageError(
            f"{branch!r} is no name of a branch",
            where="--revision",
            expected="a name without spaces, such as v1, or no --revision for the main branch",
        )
    if not (get_token() if token is None else token):
        raise UsageError(
            f"there is no token to push to {repo} with",
            expected="hf auth login, or HF_TOKEN=TOKEN, with a token that may write",
        )
    api = HfApi(endpoint=constants.ENDPOINT, token=token, library_name="omniflow")
    patience = patience or Patience(attempts=4)
    if "/" not in repo:
        repo = f"{persistently(api.whoami, patience)['name']}/{repo}"
    return Repository(repo, branch or MAIN, api, patience)


def _refuse_public(found: Repository, info: Any, private: bool | None) -> None:
    if private and info.private is False:
        raise UsageError(
            f"{found.repo} is there and public",
            where="--private",
            expected=f"another name, or to make it private at {found.url}/settings",
        )


def _try_writing(found: Repository) -> None:
    """The first thing of every commit, for which it takes the right to write; nothing comes of it.

    Raises:
        HTTPError: If the Hub refuses it.
    """
    from huggingface_hub import CommitOperationAdd

    trial = CommitOperationAdd("README.md", b"")
    persistently(
        lambda: found.api.preupload_lfs_files(found.repo, [trial], revision=found.branch),
        found.patience,
    )
