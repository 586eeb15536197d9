"""Progress on stderr: bars drawn with rich on a terminal, plain lines in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from omniflow.training.reporter import Reporter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from omniflow.recipe import Recipe
    from omniflow.training.schedule import Plan

#: Lines that `counting` writes in a pipe.
PLAIN_LINES = 10

#: Figures of the log that have a place of their own, or are of no use to who watches.
_NOT_TERMS = frozenset(
    {
        "step",
        "split",
        "epoch",
        "loss",
        "lr",
        "seconds",
        "samples_per_s",
        "texts_cut",
        "grad_norm",
        "records_skipped",
        "records_unserved",
    }
)

#: Beginning of the figures that count what has been drawn of each dataset.
_DRAWN = "samples_"


class LineReporter(Reporter):
    """A line for each log interval, evaluation and checkpoint.

    Args:
        folder: The run's folder; paths are told from there.
        write: Takes a line; stderr by default.
    """

    def __init__(self, folder: Path, write: Callable[[str], None] | None = None) -> None:
        self.folder = folder
        self.write = write or _SafeLines()
        self.plan: Plan | None = None
        self.logged_step = 0

    def assembled(self, recipe: Recipe, summary: Mapping[str, Any]) -> None:
        """Tell what is trained, and what the data had to say."""
        parts = [f"{name} {count:,}" for name, count in summary["parameters"].items() if count]
        self.write(
            f"head {recipe.head.name}, refiner {recipe.refiner.name}, "
            f"backbone {recipe.backbone.name}: {summary['trainable']:,} trained parameters "
            f"({', '.join(parts)})"
        )
        for note in summary["notes"]:
            self.write(f"note: {note}")

    def started(self, plan: Plan, step: int, notices: Sequence[str]) -> None:
        """Tell how long the run is."""
        self.plan = plan
        self.logged_step = step
        for notice in notices:
            self.write(f"note: {notice}")
        resumed = f", {step} of them done before" if step else ""
        if step >= plan.total_steps:
            resumed = ", all of them done before: raise --epochs or --max-steps to go on"
        epoch = "the training split is streamed, so how long an epoch is will be seen"
        if plan.samples is not None:
            epoch = f"an epoch is {plan.steps_per_epoch} steps over {plan.samples} samples"
        self.write(f"{plan.total_steps} steps{resumed}; {epoch}; run {self.folder}")

    def logged(self, figures: Mapping[str, Any]) -> None:
        """One log interval."""
        terms = "  ".join(
            f"{name} {value:.4g}"
            for name, value in figures.items()
            if name not in _NOT_TERMS
            and not name.startswith(_DRAWN)
            and isinstance(value, int | float)
        )
        self.write(
            f"step {self._of_total(figures['step'])}  loss {figures['loss']:.4g}  {terms}  "
            f"lr {figures['lr']:.2e}  {figures['samples_per_s']:.1f} samples/s  "
            f"ETA {self._eta(figures)}"
        )
        self.logged_step = figures["step"]

    def evaluated(self, figures: Mapping[str, Any], *, is_best: bool) -> None:
        """One evaluation."""
        step = self._of_total(figures["step"])
        best = "  (best)" if is_best else ""
        self.write(f"step {step}  {figures['split']}  {_measured(figures)}{best}")

    def stopped_early(self, step: int, best: Mapping[str, Any]) -> None:
        """Why the run ends before its last step."""
        self.write(f"stopped early at step {step}: none has been better since step {best['step']}")

    def saved(self, folder: Path) -> None:
        """A checkpoint."""
        self.write(f"saved {folder}")

    def _of_total(self, step: int) -> str:
        return str(step) if self.plan is None else f"{step}/{self.plan.total_steps}"

    def _eta(self, figures: Mapping[str, Any]) -> str:
        steps = figures["step"] - self.logged_step
        if self.plan is None or steps < 1:
            return "?"
        left = self.plan.total_steps - figures["step"]
        return _clock(left * figures["seconds"] / steps)


class BarReporter(LineReporter):
    """A bar with the latest figures; evaluations stay above it as lines.

    Args:
        folder: The run's folder.
        progress: Where the bar is drawn; has a field `figures`.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        super().__init__(
            folder, lambda line: progress.console.print(line, markup=False, highlight=False)
        )
        self.progress = progress
        self.task: TaskID | None = None
        self.shown: dict[str, str] = {}

    def started(self, plan: Plan, step: int, notices: Sequence[str]) -> None:
        """Draw the bar."""
        super().started(plan, step, notices)
        self.task = self.progress.add_task(
            "training", total=plan.total_steps, completed=step, figures=""
        )
        self._update(**self.shown)

    def stepped(self, step: int) -> None:
        """Move the bar; it is redrawn a few times a second, whatever the number of steps."""
        if self.task is not None:
            self.progress.update(self.task, completed=step)

    def logged(self, figures: Mapping[str, Any]) -> None:
        """Show loss, learning rate and speed beside the bar."""
        self._update(
            loss=f"{figures['loss']:.4g}",
            lr=f"{figures['lr']:.1e}",
            speed=f"{figures['samples_per_s']:.0f} samples/s",
        )

    def evaluated(self, figures: Mapping[str, Any], *, is_best: bool) -> None:
        """A line above the bar, and perplexity and accuracy beside it."""
        super().evaluated(figures, is_best=is_best)
        measured = {name: f"{figures[name]:.4g}" for name in ("ppl", "accuracy") if name in figures}
        self._update(**measured)

    def saved(self, folder: Path) -> None:
        """Nothing: the bar says enough."""

    def _update(self, **figures: str) -> None:
        self.shown.update(figures)
        order = ("loss", "ppl", "accuracy", "lr", "speed")
        text = "  ".join(
            self.shown[name] if name == "speed" else f"{name} {self.shown[name]}"
            for name in order
            if name in self.shown
        )
        if self.task is not None:
            self.progress.update(self.task, figures=text)


@contextmanager
def reporting(folder: Path) -> Iterator[Reporter]:
    """A reporter that suits where stderr goes."""
    if not sys.stderr.isatty():
        yield LineReporter(folder)
        return
    with _bars("figures") as progress:
        yield BarReporter(folder, progress)


@contextmanager
def counting(title: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with (done, total), shown as a bar or a line at every tenth.

    Where nobody knows the total, None, a line comes whenever twice as many are done.
    """
    if not sys.stderr.isatty():
        yield _TenthLines(title)
        return
    with _bars() as progress:
        task = progress.add_task(title, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _TenthLines:
    """A line whenever another tenth is done."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.write = _SafeLines()
        self.told = 0

    def __call__(self, done: int, total: int | None) -> None:
        if total is None:
            if done >= 2 * self.told:
                self.told = done
                self.write(f"{self.title}: {done}")
            return
        tenths = done * PLAIN_LINES // max(1, total)
        if tenths > self.told:
            self.told = tenths
            self.write(f"{self.title}: {done}/{total}")


class _SafeLines:
    """Lines on stderr until its reader has gone; a run goes on without one."""

    def __init__(self) -> None:
        self.is_read = True

    def __call__(self, line: str) -> None:
        if not self.is_read:
            return
        try:
            typer.echo(line, err=True)
        except BrokenPipeError:
            self.is_read = False
            # Python flushes stderr once more at its end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


@contextmanager
def _bars(*fields: str) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.fields[" + field + "]}") for field in fields]
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        *columns,
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        refresh_per_second=4,
    ) as progress:
        yield progress


def _measured(figures: Mapping[str, Any]) -> str:
    return "  ".join(
        f"{name} {value:.4g}"
        for name, value in figures.items()
        if name not in ("step", "split", "seconds") and isinstance(value, int | float)
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
