"""Samples to files: which kind of file holds what, and writing it whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omniflow.errors import UsageError
from omniflow.files import check_name, check_new_folder, replacing, write_text, writing_folder
from omniflow.generation.grid import picture_grid
from omniflow.generation.sheet import Section, write_sheet
from omniflow.interfaces import Sample
from omniflow.media.audio import write_wav
from omniflow.tasks import Task

if TYPE_CHECKING:
    from PIL.Image import Image

    from omniflow.sampling.generate import Generated

#: The file that holds each modality.
SUFFIXES = {"image": ".png", "audio": ".wav", "text": ".txt"}
#: The file that holds anything.
SHEET = ".html"


def check_output(path: str | Path, task: Task, *, where: str | None = None) -> None:
    """Refuse a place that cannot hold what a task makes, before it is made.

    Files: `.png` for pictures, `.wav` for sounds, `.txt` for texts, `.html` for anything. A name
    without a suffix is a folder.

    Args:
        path: A file or folder.
        task: What is made.
        where: Where it was said, for the message.

    Raises:
        UsageError: If the suffix does not fit, a folder stands where a file should be, the folder
            has something in it or cannot be replaced, or the name is none.
    """
    check_name(path, where=where)
    target = Path(path)
    fitting = [SHEET] if len(task.made) > 1 else [SUFFIXES[task.made[0]], SHEET]
    if not _is_folder(target) and target.suffix.lower() not in fitting:
        raise UsageError(
            f"{path} cannot hold {' and '.join(task.made)}, which {task} makes",
            where=where,
            expected=f"a name that ends in {' or '.join(fitting)}, or a folder: a name without "
            "a suffix",
        )
    if not _is_folder(target):
        if target.is_dir():
            raise UsageError(f"{path} is a folder", where=where, expected="a file")
    elif target.is_file():
        raise UsageError(f"{path} is a file", where=where, expected="a new or empty folder")
    elif target.is_dir() and any(target.iterdir()):
        raise UsageError(
            f"the folder {path} is not empty", where=where, expected="a new or empty folder"
        )
    else:
        check_new_folder(target, where=where)


def output_files(path: str | Path, task: Task, count: int) -> list[Path]:
    """The files that `write_samples` writes.

    Several pictures become one grid, anything becomes one sheet; several sounds or texts get
    numbers: `out-1.wav`, `out-2.wav`.

    Args:
        path: As `check_output` let it pass.
        task: What is made.
        count: Number of samples.
    """
    target = Path(path)
    numbers = range(1, count + 1)
    if _is_folder(target):
        return [target / f"{n}{SUFFIXES[name]}" for n in numbers for name in task.made]
    if count == 1 or target.suffix.lower() in (SHEET, SUFFIXES["image"]):
        return [target]
    return [target.with_name(f"{target.stem}-{n}{target.suffix}") for n in numbers]


def write_samples(
    path: str | Path,
    task: Task,
    made: Generated,
    *,
    given: Sequence[Sample] = (),
    labels: Sequence[str] = (),
) -> list[Path]:
    """Write samples to a file or folder by its suffix; see `check_output` and `output_files`.

    Args:
        path: A file or folder.
        task: What was made.
        made: The samples.
        given: What was given, shown on a sheet: one record for all samples, or one a sample.
        labels: What a sheet says below each sample.

    Returns:
        The files that were written, each whole; a folder is replaced as a whole.

    Raises:
        UsageError: If the place does not fit or cannot be written to.
        OmniFlowError: If writing fails (a full disk).
    """
    check_output(path, task)
    target = Path(path)
    count = max(len(made.texts), len(made.images), len(made.sounds))
    files = output_files(target, task, count)
    if target.suffix.lower() == SHEET:
        write_sheet(target, str(task), [Section(_heading(task), given, made, labels)])
    elif _is_folder(target):
        with writing_folder(target) as folder:
            _write_each([folder / file.name for file in files], made)
    elif made.images:
        image = made.images[0] if count == 1 else picture_grid(made.images)
        _write_picture(target, image)
    else:
        _write_each(files, made)
    return files


def _write_each(files: Sequence[Path], made: Generated) -> None:
    """One file a sample and modality."""
    images, sounds, texts = iter(made.images), iter(made.sounds), iter(made.texts)
    for file in files:
        suffix = file.suffix.lower()
        if suffix == SUFFIXES["image"]:
            _write_picture(file, next(images))
        elif suffix == SUFFIXES["audio"]:
            write_wav(file, next(sounds))
        else:
            write_text(file, next(texts) + "\n")


def _write_picture(file: Path, image: Image) -> None:
    with replacing(file) as temporary:
        image.save(temporary, format="PNG")


def _heading(task: Task) -> str:
    given = " and ".join(task.given) or "nothing"
    return f"{given} to {' and '.join(task.made)}"


def _is_folder(target: Path) -> bool:
    return not target.suffix
