"""Several pictures as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from omniflow.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

#: Pixels between two pictures, and around all of them.
GAP = 4


def picture_grid(images: Sequence[Image], *, columns: int | None = None) -> Image:
    """Lay pictures out row by row on white, each at the top left of its cell.

    Args:
        images: Pictures, at least one; cells are as large as the largest.
        columns: Pictures in a row; as nearly square as it gets when None.

    Raises:
        UsageError: If there is no picture, or no column.
    """
    from PIL import Image as Pictures

    if not images:
        raise UsageError("there is no picture to lay out", expected="at least one")
    if columns is not None and columns < 1:
        raise UsageError(f"a grid of {columns} columns", expected="at least one")
    columns = columns or math.ceil(math.sqrt(len(images)))
    rows = -(-len(images) // columns)
    width = max(image.width for image in images) + GAP
    height = max(image.height for image in images) + GAP
    grid = Pictures.new("RGB", (columns * width + GAP, rows * height + GAP), "white")
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        grid.paste(image.convert("RGB"), (GAP + column * width, GAP + row * height))
    return grid
