"""A run, or a saved model, to the Hub: in one commit, or not at all."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.connection.patience import Patience, persistently
from omniflow.errors import OmniFlowError
from omniflow.hub.card import CardFacts, model_card
from omniflow.hub.names import HubName
from omniflow.hub.publishable import publishable_text
from omniflow.hub.record import Pushed, remember
from omniflow.hub.refusals import PushError, told_refusals
from omniflow.hub.repository import Repository, open_repository
from omniflow.hub.staging import CARD, Inclusions, Staged, is_ours, stage

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd

log = logging.getLogger(__name__)


def push(
    place: str | Path,
    repo: str,
    *,
    private: bool | None = None,
    revision: str | None = None,
    message: str | None = None,
    licence: str | None = None,
    base_model: HubName | None = None,
    results: str | Path | None = None,
    include: Inclusions | None = None,
    token: str | None = None,
    patience: Patience | None = None,
    again: str | None = None,
) -> Pushed:
    """Publish a model with its card, recipe and figures; the run itself stays as it was.

    Pushing the same again changes nothing. What was sent before a failure is not sent again.

    Args:
        place: A run, whose best model is taken; one of its checkpoints; or any saved model.
        repo: `owner/name`, made if there is none; or a name among one's own.
        private: Whether only its owner may see it, where it is made.
        revision: The branch, made if there is none; None for the main one.
        message: First line of the commit.
        licence: For the card, as the Hub spells it (`apache-2.0`).
        base_model: Where the backbone is on the Hub, if it was read from a folder.
        results: An eval_results.json; that of the run, if it is of this model, when None.
        include: What is published besides.
        token: The token; None for that of `hf auth login` or HF_TOKEN.
        patience: How often is tried again.
        again: What is said to do about a failure, for a model that lies nowhere; it is not
            recorded either. None for a run, whose `hub.json` tells of the push.

    Raises:
        UsageError: If there is no model, or the Hub refuses it.
        PushError: If the Hub is in trouble or cannot be reached.
    """
    staged = stage(
        Path(place),
        base_model=base_model,
        results=None if results is None else Path(results),
        include=include,
    )
    with told_refusals(repo, again=again or _again(staged.run, place, repo)):
        target = open_repository(
            repo, private=private, branch=revision, token=token, patience=patience
        )
        title = publishable_text(message or f"Push {staged.run.name} with omniflow")
        commit, files = persistently(
            lambda: _committed(target, staged, licence, title), target.patience
        )
    pushed = Pushed(
        repo=target.repo,
        revision=target.branch,
        commit=commit,
        url=target.url,
        model=staged.model,
        weights_hash=str(staged.config.get("weights_hash")),
        files=tuple(sorted(files)),
        size=staged.size,
        notes=staged.notes,
    )
    if again is None:
        _remember(staged.run, pushed)
    return pushed


def _committed(
    target: Repository, staged: Staged, licence: str | None, message: str
) -> tuple[str, list[str]]:
    """One attempt; when an earlier one went through unheard, it finds nothing to do.

    Returns:
        The commit, and the paths that it holds of the model.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    api = target.api
    head = api.repo_info(target.repo, revision=target.branch)
    there = {file.rfilename for file in head.siblings or ()}
    files: Mapping[str, Path | bytes] = {
        **staged.files,
        CARD: _card(target, staged, licence, head.sha if CARD in there else None),
    }
    for path, file in files.items():
        if isinstance(file, Path) and not file.is_file():
            raise _replaced(staged, path)
    additions = [
        CommitOperationAdd(path, file if isinstance(file, bytes) else str(file))
        for path, file in files.items()
    ]
    left_over = [path for path in sorted(there - files.keys()) if is_ours(path)]
    try:
        api.preupload_lfs_files(target.repo, additions, revision=target.branch, free_memory=False)
        _refuse_changed(staged, additions)
        commit = api.create_commit(
            target.repo,
            [*additions, *map(CommitOperationDelete, left_over)],
            commit_message=message,
            revision=target.branch,
            # What is left over was found there, and the card was read there.
            parent_commit=head.sha,
        )
    except RuntimeError as error:
        # Of a transfer: what it met may pass, and only the cause tells.
        if isinstance(error.__cause__, Exception):
            raise error.__cause__ from None
        raise
    return commit.oid, list(files)


def _refuse_changed(staged: Staged, additions: Iterable[CommitOperationAdd]) -> None:
    """Refuse weights that are others by now than those that config.json is of.

    Raises:
        PushError: If a run has replaced them while they were sent.
    """
    for addition in additions:
        expected = staged.hashes.get(addition.path_in_repo)
        if expected is not None and addition.upload_info.sha256.hex() != expected:
            raise _replaced(staged, addition.path_in_repo)


def _replaced(staged: Staged, path: str) -> PushError:
    return PushError(
        f"{path} was replaced while it was sent",
        where=str(staged.run),
        expected="a run that is over, or to push it again",
    )


def _card(target: Repository, staged: Staged, licence: str | None, commit: str | None) -> bytes:
    """The card, with what somebody wrote into the one that is there."""
    before = staged.card
    if commit is not None:
        before = Path(target.api.hf_hub_download(target.repo, CARD, revision=commit)).read_text(
            "utf-8"
        )
    facts = CardFacts(
        config=staged.config,
        name=target.repo,
        is_published=True,
        recipe=staged.recipe,
        figures=staged.figures,
        licence=licence,
    )
    return model_card(facts, before).encode()


def _remember(run: Path, pushed: Pushed) -> None:
    try:
        remember(run, pushed)
    except OmniFlowError as error:
        # What was pushed is there, and a run that cannot be written to is no reason to deny it.
        log.warning("the push is not recorded: %s", error)


def _again(run: Path, place: str | Path, repo: str) -> str:
    command = shlex.join(["omniflow", "push", str(place), repo])
    return f"{run.name} is whole and can be pushed again: {command}"
