"""Pictures, sounds and texts that a record names by their paths."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import DataError, RecordError
from omniflow.media.audio import read_audio
from omniflow.media.image import read_image

if TYPE_CHECKING:
    from PIL import Image

    from omniflow.interfaces.dataset import Audio

#: What files of a modality end in.
SUFFIXES = {
    "text": (".txt", ".caption"),
    "image": (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".aif", ".aiff"),
}

#: Longest text file that is read as a caption.
MOST_TEXT_BYTES = 1 << 20

_TYPES = {bool: "true or false", int: "a number", float: "a number", list: "a list",
          dict: "an object", type(None): "nothing", str: "text"}  # fmt: skip


class RecordFiles:
    """The files that records name, each opened when it is asked for.

    Args:
        root: The folder that relative paths start from. None of them leads out of it, neither by
            `..` nor through a link.
        is_closed: Whether absolute paths have to lie in it as well.
    """

    def __init__(self, root: Path, *, is_closed: bool) -> None:
        self.root = root.resolve()
        self.is_closed = is_closed

    def picture(self, record: str, name: object) -> Image.Image:
        """The picture at a path.

        Args:
            record: Id of the record, for the message.
            name: The path.

        Raises:
            RecordError: If it is no path, leads out of the root, or there is no whole picture of a
                sensible size.
        """
        path = self._place(record, name, "image")
        try:
            return read_image(path)
        except DataError as error:
            raise RecordError(record, _told(name, error)) from error

    def sound(self, record: str, name: object) -> Audio:
        """The sound at a path.

        Raises:
            RecordError: As for pictures; a sound is never silence in place of one that is lacking.
            UsageError: If the package soundfile is not installed.
        """
        path = self._place(record, name, "audio")
        try:
            return read_audio(path)
        except DataError as error:
            raise RecordError(record, _told(name, error)) from error

    def text(self, record: str, name: str) -> str:
        """What is in a text file.

        Raises:
            RecordError: If it leads out of the root, is blank, too long or not UTF-8.
        """
        path = self._place(record, name, "text")
        try:
            if not path.is_file():
                raise RecordError(record, f"{name!r}: there is no such file")
            with path.open("rb") as file:
                content = file.read(MOST_TEXT_BYTES + 1)
        except OSError as error:
            raise RecordError(record, f"{name!r}: cannot be read ({error.strerror})") from error
        if len(content) > MOST_TEXT_BYTES:
            raise RecordError(record, f"{name!r}: more than {MOST_TEXT_BYTES} bytes of text")
        try:
            return checked_text(record, content.decode("utf-8-sig"))
        except UnicodeDecodeError as error:
            raise RecordError(record, f"{name!r}: byte {error.start} is not UTF-8") from error

    def _place(self, record: str, name: object, what: str) -> Path:
        if not isinstance(name, str):
            raise RecordError(record, f"{what} is {type_name(name)}, expected a path")
        path = Path(name)
        if path.is_absolute() and not self.is_closed:
            return path
        try:
            place = (self.root / path).resolve()
        # A link that leads to itself, a name that is too long, or one with a byte 0 in it.
        except (OSError, RuntimeError, ValueError) as error:
            raise RecordError(record, f"{name!r} is no path ({error})") from error
        if not place.is_relative_to(self.root):
            raise RecordError(record, f"{name!r} lies outside {self.root}")
        return place


def checked_text(record: str, text: object) -> str:
    """A text that can be learnt from, as it is.

    Raises:
        RecordError: If it is no text, blank, or holds half of a surrogate pair.
    """
    if not isinstance(text, str):
        raise RecordError(record, f"text is {type_name(text)}, expected text")
    if not text.strip():
        raise RecordError(record, "the text is empty")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RecordError(record, "the text holds half of a surrogate pair") from error
    return text


def printable(name: str) -> str:
    """A name as an id: what would move a cursor, or is no character at all, is spelled out."""
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in name
    )


def type_name(value: object) -> str:
    """What a value of JSON is called."""
    return _TYPES.get(type(value), type(value).__name__)


def _told(name: object, error: DataError) -> str:
    expected = f", expected {error.expected}" if error.expected else ""
    return f"{name!r}: {error.problem}{expected}"
