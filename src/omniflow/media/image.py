"""Pictures from files, or from what stands in them."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from omniflow.errors import DataError
from omniflow.media.source import require_content

if TYPE_CHECKING:
    from PIL.Image import Image

#: Longest side over shortest one; the middle square of a thinner picture shows nothing of it, and
#: bringing its short side to 512 pixels would make the long one enormous.
MOST_SLENDER = 32

#: Formats that Pillow hands to an interpreter outside this process.
_PROGRAMS = ("EPS",)


def read_image(path: str | Path) -> Image:
    """Read a picture as RGB, turned as its EXIF says; of an animation the first frame.

    Transparency is dropped and 16-bit grey brought to 8 bits. Nothing in a file is executed.

    Args:
        path: The file, in any format that Pillow reads.

    Raises:
        DataError: If the file is missing, no picture, damaged, PostScript, of more pixels than
            Pillow's limit (about 89 million), of a mode without a range (floating point), or more
            than 32 times as long as it is short.
    """
    return _read(require_content(path), str(path))


def decode_image(content: bytes, *, where: str | None = None) -> Image:
    """The picture that stands in the bytes of a file, as `read_image` reads it.

    Args:
        content: All of the file.
        where: Its record, for messages.

    Raises:
        DataError: As `read_image`.
    """
    if not content:
        raise DataError("the file is empty", where=where)
    return _read(io.BytesIO(content), where)


def _read(file: Path | io.BytesIO, where: str | None) -> Image:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            # Pillow warns of what it half expects to be a bomb, and refuses from twice that on.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                _require_picture(image, where)
                image.load()
                return _as_rgb(ImageOps.exif_transpose(image), where)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise DataError(
            "the picture is too large", where=where, expected="at most 89 million pixels"
        ) from error
    except DataError:
        raise
    # Pillow's decoders fail in any way: AttributeError, NotImplementedError, RuntimeError, ...
    except Exception as error:
        raise DataError(
            f"cannot be read as a picture ({_without_path(error)})",
            where=where,
            expected="a whole file in a format that Pillow reads",
        ) from error


def _require_picture(image: Image, where: str | None) -> None:
    if image.format in _PROGRAMS:
        raise DataError(
            "PostScript is a program and not a picture", where=where, expected="such as PNG or JPEG"
        )
    width, height = image.size
    if max(width, height) > MOST_SLENDER * min(width, height):
        raise DataError(
            f"the picture is {width} x {height} pixels",
            where=where,
            expected=f"a long side of at most {MOST_SLENDER} times the short one",
        )


def _as_rgb(image: Image, where: str | None) -> Image:
    from PIL import Image as Pictures

    if image.mode == "F":
        raise DataError(
            "the picture has floating-point pixels", where=where, expected="8 or 16 bits a channel"
        )
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255 and makes nearly everything white.
        grey = np.asarray(image).clip(0, 65_535) // 257
        image = Pictures.fromarray(grey.astype(np.uint8))
    return image.convert("RGB")


def _without_path(error: BaseException) -> str:
    """Its message on one line; Pillow repeats the path when it does not know the format."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "its format is not known"
    return " ".join(str(error).split()) or type(error).__name__
