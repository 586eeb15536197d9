"""Names of the members of archives."""

from __future__ import annotations

import re

#: Largest member that is read into memory: 64 MiB.
MOST_BYTES = 1 << 26

_DRIVE = re.compile(r"[A-Za-z]:")


def leads_out(name: str) -> bool:
    """Whether a name is absolute or has `..` in it, as names of files on any system are read.

    Members are read in place and never written anywhere; who names one like that means harm, and is
    refused all the same.
    """
    parts = re.split(r"[/\\]", name)
    return not parts[0] or ".." in parts or bool(_DRIVE.match(name)) or "\0" in name
