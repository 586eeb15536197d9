"""Secrets taken out of what leaves the run's folder: settings and messages."""

from __future__ import annotations

import functools
import html
import json
import os
import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

_WORDS = r"(?:token|secret|password|passwd|credentials?|api_?key|access_?key|private_?key)"

#: Names whose value is nobody's business: `token`, `hf_token`, `HF_TOKEN`, not `max_new_tokens`.
_NAME = re.compile(rf"(?:^|.*[_.-]){_WORDS}$", re.IGNORECASE)

#: What shows itself to be a secret wherever it stands, with what takes its place.
_SHAPES = (
    (re.compile(r"\b(hf|gh[pousr]|sk|wandb_v1)([_-])[A-Za-z0-9]{20,}"), rf"\1\2{HIDDEN}"),
    (re.compile(r"\b(github_pat_|glpat-|sk-(?:[a-z]+-)+?)[\w-]{20,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?<=://)[^/@\s]+(?=@)"), HIDDEN),
    (re.compile(r"(?i)\b(bearer) +[\w.~+/=-]{16,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(rf"(?i)({_WORDS}|signature|(?<=[?&])(?:sig|key|auth))=[^&\s]+"),
        rf"\1={HIDDEN}",
    ),
    # Of a mapping that stands in a text; words of a sentence have no digit in them.
    (re.compile(rf"(?i)({_WORDS}[\"']?: ?[\"']?)(?=[^\s\"']*\d)[^\s\"',]{{8,}}"), rf"\1{HIDDEN}"),
)

#: Shorter values of the environment are too likely to be ordinary words.
_SHORTEST = 8


def without_secrets(value: Any, name: str = "") -> Any:
    """Plain data with its secrets replaced by `***`; a copy, with tuples as lists.

    A secret is a value under a name that says so, a value of the environment under such a name, a
    token of a known form, and a password inside a URL.

    Args:
        value: Mappings, lists and scalars.
        name: What it stands under.
    """
    if isinstance(value, Mapping):
        return {str(key): without_secrets(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item, name) for item in value]
    if value is not None and not isinstance(value, bool) and _says_secret(name):
        return HIDDEN
    return hide(value) if isinstance(value, str) else value


def hide(text: str) -> str:
    """A text with its secrets replaced by `***`."""
    for secret in _of_the_environment():
        # As it is, within HTML and within JSON.
        for written in {secret, html.escape(secret), json.dumps(secret)[1:-1]}:
            text = text.replace(written, HIDDEN)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def _of_the_environment() -> list[str]:
    """Longest first, as one may be part of another."""
    found = {value for name, value in os.environ.items() if _says_secret(name)}
    return sorted((value for value in found if len(value) >= _SHORTEST), key=len, reverse=True)


@functools.lru_cache(1024)
def _says_secret(name: str) -> bool:
    return _NAME.match(name) is not None
