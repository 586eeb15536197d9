"""`omniflow train --push-to-hub`: rights looked at before the run, the push after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import UsageError

if TYPE_CHECKING:
    from omniflow.hub.record import Pushed

FLAG = "--push-to-hub"


def check_push(repo: str | None, *, private: bool, is_dry: bool = False) -> None:
    """Look before a run whether it can be pushed, and make the repository.

    Of several processes that share a run, the main one looks.

    Args:
        repo: Where to; None for nowhere.
        private: Whether only its owner may see it.
        is_dry: Whether nothing may be made.

    Raises:
        UsageError: If a token, a right or a name is wrong.
        PushError: If the Hub cannot be reached.
    """
    if repo is None:
        if private:
            raise UsageError("nothing is pushed", where="--private", expected=f"{FLAG} REPO")
        return
    if os.environ.get("RANK", "0") != "0":
        return
    from omniflow.hub.refusals import told_refusals
    from omniflow.hub.repository import check_rights, open_repository

    with told_refusals(repo, again=f"nothing has been trained yet; without {FLAG} it is"):
        if is_dry:
            check_rights(repo, private=private or None)
        else:
            open_repository(repo, private=private or None)


def push_run(folder: Path, repo: str, *, private: bool) -> Pushed:
    """Push a run that is done; errors as `omniflow.hub.push.push`."""
    from omniflow.hub.push import push

    return push(folder, repo, private=private or None)
