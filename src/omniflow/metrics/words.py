"""Texts as words, for the metrics that no package brings a tokeniser for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, get_args

from omniflow.errors import ConfigError, closest

Tokenizer = Literal["words", "spaces"]
TOKENIZERS: tuple[str, ...] = get_args(Tokenizer)

# Scripts that are written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_PICTOGRAM = (
    "[\u2190-\u21ff\u2300-\u27bf\u2900-\u297f\u2b00-\u2bff\U0001f000-\U0001f1e5"
    "\U0001f200-\U0001faff]"
)
# Skin tones, the choice of a coloured form, and the frame of a keycap.
_MODIFIER = "[\ufe0e\ufe0f\u20e3\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]"
_FLAG = "[\U0001f1e6-\U0001f1ff]{2}"
_PUNCTUATION = (
    r"!-/:-@\[-`{-~"
    "\u00a1\u00a7\u00ab\u00b4\u00b6\u00b7\u00b8\u00bb\u00bf\u037e\u0387\u055a-\u055f\u0589\u05be"
    "\u05c0\u05c3\u05f3\u05f4\u060c\u061b\u061f\u066a-\u066d\u06d4\u0964\u0965\u2000-\u206f"
    "\u2e00-\u2e7f\u3000-\u303f\ufe10-\ufe1f\ufe30-\ufe6f\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40"
    "\uff5b-\uff65"
)
_LETTER = rf"[^\s{_PUNCTUATION}{_UNSPACED}\u2190-\u2bff\U0001f000-\U0001faff]"
_TOKEN = re.compile(
    f"[{_UNSPACED}]"
    f"|{_FLAG}"
    f"|{_PICTOGRAM}{_MODIFIER}*(?:\u200d{_PICTOGRAM}{_MODIFIER}*)*"
    # Within a word: hyphens, apostrophes, and the points and commas of a number.
    rf"|{_LETTER}+(?:(?:[-'\u2019]|(?<=\d)[.,](?=\d)){_LETTER}+)*"
)
_CLITIC = re.compile(r"(.+?)(n't|'(?:s|re|ve|ll|d|m))")


def split_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation.

    Much as the Penn Treebank tokeniser of the caption tools does it: clitics stand apart ("do",
    "n't"; "dog", "'s"), hyphens join. Where a script has no spaces (Chinese, Japanese, Thai, ...)
    every character is a word, and every emoji is one.
    """
    words: list[str] = []
    for word in _TOKEN.findall(text.lower()):
        clitic = _CLITIC.fullmatch(word.replace("\u2019", "'"))
        words += clitic.groups() if clitic else [word]
    return words


def split_at_spaces(text: str) -> list[str]:
    """What stands between spaces, as it is: for texts that were tokenised before."""
    return text.split()


def choose_tokenizer(name: str) -> Callable[[str], list[str]]:
    """The function that a name stands for.

    Raises:
        ConfigError: If there is none.
    """
    if name not in TOKENIZERS:
        raise ConfigError(
            "tokenizer",
            name,
            expected=f"one of {', '.join(TOKENIZERS)}",
            nearest=closest(str(name), TOKENIZERS),
        )
    return split_words if name == "words" else split_at_spaces


def describe_tokenizer(name: str) -> str:
    """What a signature says of it."""
    if name == "spaces":
        return "split at spaces"
    return "omniflow words/1: lower case, no punctuation, clitics apart, CJK by character"


def has_unspaced_script(text: str) -> bool:
    """Whether a text holds characters of a script that puts no spaces between words."""
    return _UNSPACED_CHARACTER.search(text) is not None


_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
