"""What the Hub refuses when something is pushed, in one message that says what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from json import JSONDecodeError

from omniflow.errors import OmniFlowError, UsageError
from omniflow.hub.names import nearest_ids
from omniflow.hub_access import is_offline, one_line, status_of, without_secrets

#: How the Hub tells that there is no room, whatever the status: 402, 403, 413 and 422 were seen.
_FULL = re.compile(r"quota|storage (?:limit|pattern)|limit reached|payment required", re.IGNORECASE)
_FULL_STATUS = frozenset({402, 413, 507})

#: What the Hub says of an object among those of a batch.
_BATCH = re.compile(r"with OID \w+: `(.*)", re.DOTALL)


class PushError(OmniFlowError):
    """The Hub did not take what was pushed, and the cause is not a person's mistake."""


@contextmanager
def told_refusals(repo: str, *, again: str) -> Iterator[None]:
    """Tells what the Hub's client raises within; no message shows a token or a password.

    Args:
        repo: What is pushed to.
        again: What to do once the cause is gone, a sentence.

    Raises:
        UsageError: If a name, a token or a right is wrong, or the storage is full.
        PushError: If the Hub is in trouble or cannot be reached.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except HFValidationError as error:
        raise UsageError(
            f"{repo!r} is no name of a repository",
            expected="OWNER/NAME",
            nearest=nearest_ids(repo),
            notes=["a branch is said by --revision"] if "@" in repo else [],
        ) from error
    # RuntimeError is of a transfer, with what it met as its cause, or of the transfer library;
    # ValueError tells what the Hub said of one object or of the card.
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        said = _said(error)
        problem, advice, is_mistake = _judged(repo, error, said)
        kind = UsageError if is_mistake else PushError
        raise kind(
            without_secrets(f"{problem} ({said})" if said else problem),
            where=without_secrets(constants.ENDPOINT),
            notes=[*advice, again],
        ) from error


def _judged(repo: str, error: BaseException, said: str) -> tuple[str, Sequence[str], bool]:
    """What went wrong, what can be done about it, and whether it is a person's mistake."""
    owner = repo.partition("/")[0]
    status = status_of(error)
    if is_offline():
        return f"nothing can be pushed to {repo}", ["HF_HUB_OFFLINE is set: unset it"], True
    if status in _FULL_STATUS or _FULL.search(said):
        return (
            f"the Hub has no room for {repo}",
            [f"the storage of {owner} is full: remove something, or ask for more on its page"],
            True,
        )
    if _is_missing(error):
        return (
            f"there is no repository {repo}, or your token may not see it",
            ["it may have been removed or renamed meanwhile; pushing again makes it anew"],
            True,
        )
    if status == 401:
        return (
            f"the Hub does not know your token, so that {repo} cannot be written",
            ["hf auth login, or set another HF_TOKEN"],
            True,
        )
    if status == 403:
        return (
            f"your token may not write to {repo}",
            ["it takes a token with the right to write, of a member of the owner who has it too"],
            True,
        )
    if isinstance(error, JSONDecodeError):
        problem = f"what answers for {repo} is no Hub, or one in trouble"
        return problem, ["look at HF_ENDPOINT"], False
    if status == 400 or isinstance(error, ValueError):
        return f"the Hub does not accept what is pushed to {repo}", [], True
    if status == 412:
        return f"somebody else has pushed to {repo} meanwhile", [], True
    if status == 429:
        return f"the Hub has had too many requests for {repo}", ["wait some minutes"], False
    if status is not None:
        return f"the Hub is in trouble and did not take {repo}", ["try again later"], False
    return (
        f"{repo} cannot be reached",
        ["HF_ENDPOINT=URL pushes to a mirror, if that takes pushes"],
        False,
    )


def _is_missing(error: BaseException | None) -> bool:
    from huggingface_hub.errors import RepositoryNotFoundError

    while error is not None:
        if isinstance(error, RepositoryNotFoundError):
            return True
        error = error.__cause__
    return False


def _said(error: BaseException) -> str:
    """The Hub's own words, else the status, else what the connection met."""
    found: BaseException | None = error
    while found is not None:
        words = getattr(found, "server_message", None)
        if words:
            return " ".join(str(words).split())[:200]
        found = found.__cause__
    status = status_of(error)
    if status is not None:
        return f"it answered {status}"
    of_batch = _BATCH.search(str(error))
    if of_batch is not None:
        return " ".join(of_batch[1].strip("`").split())[:200]
    return one_line(error.__cause__ or error)
