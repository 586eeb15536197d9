"""What goes wrong between us and the Hub, in words that say what to do."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omniflow.connection.hub_cache import fill_cache, missing_files
from omniflow.connection.listing import Kind, list_repository
from omniflow.connection.patience import Patience, passing, persistently
from omniflow.errors import OmniFlowError, UsageError

log = logging.getLogger(__name__)


class UnreachedHubError(UsageError):
    """The Hub is in trouble or did not answer, which is no mistake of whoever asked."""

    exit_code = OmniFlowError.exit_code


def fetch_files(
    hub_id: str,
    revision: str | None,
    patterns: Sequence[str],
    *,
    kind: Kind = "model",
    is_quiet: bool = True,
) -> Path:
    """A local folder, named after the commit, with the files that fit the patterns.

    Files that are there already are not asked for again, large ones that were begun are gone on
    with, and what goes wrong and may pass is tried again. With `HF_HUB_OFFLINE` nothing is asked
    for, and the folder has what was fetched before.

    Args:
        hub_id: `owner/name`.
        revision: Branch, tag or commit; None for the main branch.
        patterns: As of a shell.
        kind: `model` or `dataset`.
        is_quiet: Show no progress bar.

    Raises:
        UsageError: If the Hub cannot be reached or does not have it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    with reaching_hub(hub_id, revision, kind=kind):
        is_known = _is_cached(hub_id, revision, patterns, kind)
        # With a snapshot at hand, nobody has to wait for a Hub in trouble.
        patience = Patience(attempts=1) if is_known else Patience()
        if not is_offline():
            try:
                _bring_large_files(hub_id, revision, patterns, kind, is_quiet, patience)
            except (HTTPError, OSError, RuntimeError) as error:
                if not is_known or passing(error) is None:
                    raise
                log.warning("%s: %s; what was fetched before is used", hub_id, one_line(error))
        fetched = persistently(
            lambda: snapshot_download(
                hub_id,
                repo_type=kind,
                revision=revision,
                allow_patterns=[*patterns],
                tqdm_class=_silent_bar(),
            ),
            patience,
        )
    return Path(fetched)


def _is_cached(hub_id: str, revision: str | None, patterns: Sequence[str], kind: Kind) -> bool:
    """Whether the cache has a snapshot of it, whole or not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        snapshot_download(
            hub_id,
            repo_type=kind,
            revision=revision,
            allow_patterns=[*patterns],
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        return False
    return True


def _bring_large_files(
    hub_id: str,
    revision: str | None,
    patterns: Sequence[str],
    kind: Kind,
    is_quiet: bool,
    patience: Patience,
) -> None:
    """Bring those that the cache has not, with a bar on a terminal that shows how far that is."""
    listing = list_repository(hub_id, revision, kind=kind, patience=patience)
    files = missing_files(listing, listing.matching(patterns))
    if not files:
        return
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    total = sum(file.size or 0 for file in files)
    with tqdm(total=total, unit="B", unit_scale=True, desc=hub_id, disable=is_quiet) as bar:
        fill_cache(listing, files, patience=patience, received=bar.update)


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` is set."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


@contextmanager
def reaching_hub(hub_id: str, revision: str | None, *, kind: str = "model") -> Iterator[None]:
    """Tells what the Hub's client raises within; no message shows a token or a password.

    Args:
        hub_id: What is asked for.
        revision: Which revision of it.
        kind: `model` or `dataset`.

    Raises:
        UsageError: Whatever the client raises about ids, access and disk.
        UnreachedHubError: What it raises about the connection.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        GatedRepoError,
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = without_secrets(constants.ENDPOINT)
    local = "a local folder with its files works without the Hub"
    try:
        yield
    except HFValidationError as error:
        raise UsageError(
            f"{hub_id!r} is neither a folder nor a Hub id", expected="FOLDER or OWNER/NAME"
        ) from error
    except GatedRepoError as error:
        raise UsageError(
            f"{hub_id} wants its conditions accepted",
            where=where,
            notes=["accept them on its page, then: hf auth login, or set HF_TOKEN", local],
        ) from error
    except RepositoryNotFoundError as error:
        raise UsageError(
            f"there is no {kind} {hub_id}, or it is private",
            where=where,
            notes=[f"a private {kind} needs a token: hf auth login, or set HF_TOKEN", local],
        ) from error
    except RevisionNotFoundError as error:
        raise UsageError(
            f"{hub_id} has no revision {revision!r}",
            where=where,
            expected="a branch, tag or commit of it",
        ) from error
    # HTTPError is that of the HTTP library, whichever the Hub's client uses; its transfer library
    # raises RuntimeError, and a cache that cannot be written to OSError.
    except (HTTPError, OSError, RuntimeError) as error:
        refused = UnreachedHubError if _is_trouble(error) else UsageError
        raise refused(
            f"{hub_id} cannot be fetched ({without_secrets(one_line(error.__cause__ or error))})",
            where=where,
            notes=[*_advice(error), local],
        ) from error


def _is_trouble(error: BaseException) -> bool:
    """Whether it is the Hub's or the connection's: too many requests, 5xx, or no answer at all."""
    status = status_of(error)
    if status is None:
        return not is_offline() and passing(error) is not None
    return status == 429 or status >= 500


def _advice(error: BaseException) -> list[str]:
    """What can be done about a failure that the client tells, by what the Hub answered."""
    if is_offline():
        return ["HF_HUB_OFFLINE is set, so that only what was fetched before is there"]
    elsewhere = "HF_ENDPOINT=URL asks a mirror"
    status = status_of(error)
    if status == 401:
        return ["the Hub does not know your token: hf auth login, or set another HF_TOKEN"]
    if status == 403:
        return ["your token may not read it: accept its conditions on its page, or set HF_TOKEN"]
    if status == 404:
        return [f"the Hub does not have it, or this mirror has not; {elsewhere}"]
    if status == 429:
        return ["too many requests: try again in some minutes; with HF_TOKEN set more are allowed"]
    if status is not None and status >= 500:
        return [f"the Hub is in trouble: try again later; {elsewhere}"]
    return [
        f"{elsewhere}, HF_TOKEN=TOKEN is your name there",
        "HF_HUB_OFFLINE=1 reads what was fetched before",
    ]


def status_of(error: BaseException | None) -> int | None:
    """What the Hub answered; None where it did not."""
    while error is not None:
        response = getattr(error, "response", None)
        if response is not None:
            return int(response.status_code)
        error = error.__cause__
    return None


def one_line(error: BaseException, *, limit: int = 200) -> str:
    """The message of an error, or its name where it has none, on one line."""
    line = " ".join(str(error).split()) or type(error).__name__
    return line if len(line) <= limit else line[:limit] + "..."


def without_secrets(text: str) -> str:
    """A text that can be shown: without the token, and what stands before the `@` of a URL."""
    from huggingface_hub import get_token

    token = get_token()
    if token:
        text = text.replace(token, "***")
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _silent_bar() -> Any:
    from tqdm.auto import tqdm

    class Silent(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)
            super().__init__(*args, **{**kwargs, "disable": True})

    return Silent
