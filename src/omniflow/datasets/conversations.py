"""Conversations about pictures, as LLaVA's JSON files hold them: one list of objects."""

from __future__ import annotations

import json
from array import array
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from omniflow.datasets.byte_files import ByteFile, LocalFile
from omniflow.datasets.json_list import Item, list_items
from omniflow.datasets.record_media import checked_text, type_name
from omniflow.datasets.splits import text_place
from omniflow.errors import DataError, RecordError

#: Who speaks where the text is that is learnt.
_SPEAKER = "gpt"


class ConversationIndex:
    """Where conversations lie in their file: 20 bytes of memory each.

    Args:
        file: The file, which is read once to its end.
        seed: Another seed, other places.

    Attributes:
        starts: First byte of each.
        lengths: Bytes of each.
        places: Where each stands in [0, 1), by a hash of its id.

    Raises:
        DataError: If it is no list of JSON, is damaged or empty.
        OSError: If it cannot be read.
    """

    def __init__(self, file: ByteFile, seed: int) -> None:
        starts, lengths, places = array("q"), array("i"), array("d")
        for number, item in enumerate(list_items(file)):
            starts.append(item.offset)
            lengths.append(len(item.content))
            places.append(conversation_place(item, number, seed))
        if not starts:
            raise DataError("is empty", where=file.name, expected="a list of conversations")
        self.starts = np.array(starts, np.int64)
        self.lengths = np.array(lengths, np.int32)
        self.places = np.array(places)

    def __len__(self) -> int:
        return len(self.starts)


#: Indices in use: the splits of a file share one.
_IN_USE: WeakValueDictionary[tuple[object, ...], ConversationIndex] = WeakValueDictionary()


def index_conversations(file: LocalFile, seed: int) -> ConversationIndex:
    """The index of a file, made unless it is in use already and the file is as it was then.

    Raises:
        DataError: As `ConversationIndex`, or if the file cannot be read.
    """
    try:
        key = (*file.state(), seed)
        index = _IN_USE.get(key)
        if index is None:
            index = _IN_USE[key] = ConversationIndex(file, seed)
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=file.name) from error
    return index


def conversation_place(item: Item, number: int, seed: int) -> float:
    """Where a conversation stands in [0, 1): by its id, or by its number where it has none."""
    value = item.value
    if value is None:
        try:
            value = json.loads(item.content)
        except (ValueError, RecursionError):
            value = None
    return text_place(conversation_id(value) or numbered(number), seed)


def conversation_id(value: object) -> str | None:
    """What an item says that its id is; None where that is nothing."""
    said = value.get("id") if isinstance(value, dict) else None
    text = str(said).strip() if isinstance(said, str | int) else ""
    return text if text and text.isprintable() else None


def numbered(number: int) -> str:
    """The id of a conversation that has none, by its number in the file."""
    return f"chat:{number}"


def parsed(number: int, content: bytes) -> dict[str, Any]:
    """The object that stands in the bytes of an item.

    Raises:
        RecordError: If there is none.
    """
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise RecordError(numbered(number), f"not JSON ({' '.join(str(error).split())})") from error
    if not isinstance(value, dict):
        raise RecordError(numbered(number), f"{type_name(value)} where an object was expected")
    return value


def answer(record: str, value: dict[str, Any]) -> str:
    """What the model says first.

    Raises:
        RecordError: If it says nothing, or what is said is no conversation.
    """
    turns = value.get("conversations")
    if not isinstance(turns, list):
        raise RecordError(record, f"conversations is {type_name(turns)}, expected a list")
    for turn in turns:
        if isinstance(turn, dict) and turn.get("from") == _SPEAKER:
            return checked_text(record, turn.get("value"))
    raise RecordError(record, f"nothing in its conversation is said by {_SPEAKER!r}")
