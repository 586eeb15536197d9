"""Pictures, sounds and texts that stand in a record of a Hub data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from omniflow.datasets.record_media import checked_text, type_name
from omniflow.errors import DataError, RecordError
from omniflow.media.audio import decode_audio
from omniflow.media.image import decode_image

if TYPE_CHECKING:
    from PIL import Image

    from omniflow.interfaces.dataset import Audio

T = TypeVar("T")

#: Reads a file of the data set that a record names; ValueError says why it cannot.
ReadFile = Callable[[str], bytes]


def picture_of(record: str, value: object, read_file: ReadFile) -> Image.Image | None:
    """The picture of a value: its bytes, or bytes and path; None where there is none.

    Args:
        record: Id of the record, for the message.
        value: What the column holds, undecoded.
        read_file: Reads files that stand beside the records, where there is a path alone.

    Raises:
        RecordError: If it is no whole picture of a sensible size, or a path that leads elsewhere.
    """
    return _decoded(record, value, read_file, "image", decode_image)


def sound_of(record: str, value: object, read_file: ReadFile) -> Audio | None:
    """The sound of a value, as pictures are read.

    Raises:
        RecordError: As `picture_of`.
        UsageError: If the package soundfile is not installed.
    """
    return _decoded(record, value, read_file, "audio", decode_audio)


def texts_of(record: str, value: object) -> tuple[str, ...]:
    """The texts of a value, each once: one text, or a list of them; empty where there is none.

    Raises:
        RecordError: If something among them is no text, or blank.
    """
    values = value if isinstance(value, list) else [value] if value is not None else []
    return tuple(dict.fromkeys(checked_text(record, text) for text in values))


def _decoded(
    record: str, value: object, read_file: ReadFile, what: str, decode: Callable[[bytes], T]
) -> T | None:
    if value is None:
        return None
    try:
        return decode(_content(value, read_file, what))
    except ValueError as error:
        raise RecordError(record, str(error)) from error
    except DataError as error:
        expected = f", expected {error.expected}" if error.expected else ""
        raise RecordError(record, f"{what}: {error.problem}{expected}") from error


def _content(value: object, read_file: ReadFile, what: str) -> bytes:
    content: Any = value
    if isinstance(value, Mapping):
        content, path = value.get("bytes"), value.get("path")
        if content is None and not isinstance(path, str):
            raise ValueError(f"{what} has neither bytes nor a path")
        if content is None:
            return read_file(str(path))
    if not isinstance(content, bytes):
        raise ValueError(f"{what} is {type_name(content)}, expected bytes")
    return content
