import io
from pathlib import Path

import pytest

from omniflow.training.schedule import Plan
from omniflow_cli.progress import BarReporter, LineReporter, counting

PLAN = Plan(samples=100, steps_per_epoch=10, total_steps=40, warmup_steps=0, peak_lr=1e-3)
LOGGED = {
    "step": 10, "split": "train", "epoch": 1.0, "loss": 2.5, "ce": 2.0, "lr": 1e-3, "grad_norm": 1,
    "texts_cut": 0, "seconds": 20.0, "samples_per_s": 5.0,
}  # fmt: skip
EVALUATED = {"step": 10, "split": "validation", "ppl": 7.25, "accuracy": 0.5, "seconds": 1.0}


def test_a_log_line_holds_terms_rate_speed_and_the_time_that_is_left():
    lines = []
    reporter = LineReporter(Path("run"), lines.append)
    reporter.started(PLAN, 0, ["3 texts cut"])
    reporter.logged(LOGGED)
    reporter.evaluated(EVALUATED, is_best=True)
    # 30 steps are left, at 2 s each.
    assert lines == [
        "note: 3 texts cut",
        "40 steps; an epoch is 10 steps over 100 samples; run run",
        "step 10/40  loss 2.5  ce 2  lr 1.00e-03  5.0 samples/s  ETA 0:01:00",
        "step 10/40  validation  ppl 7.25  accuracy 0.5  (best)",
    ]


def test_a_resumed_run_says_how_far_it_was():
    lines = []
    LineReporter(Path("run"), lines.append).started(PLAN, 10, [])
    assert lines == [
        "40 steps, 10 of them done before; an epoch is 10 steps over 100 samples; run run"
    ]


def test_the_bar_shows_the_latest_figures():
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(width=120, file=io.StringIO())
    with Progress(TextColumn("{task.fields[figures]}"), console=console) as progress:
        reporter = BarReporter(Path("run"), progress)
        reporter.evaluated(EVALUATED, is_best=False)
        reporter.started(PLAN, 0, [])
        reporter.logged(LOGGED)
        reporter.stepped(11)
        (task,) = progress.tasks
    assert task.completed == 11
    assert task.total == 40
    assert task.fields["figures"] == ("loss 2.5  ppl 7.25  accuracy 0.5  lr 1.0e-03  5 samples/s")


@pytest.mark.parametrize("total", [1, 7, 500])
def test_counting_in_a_pipe_writes_ten_lines_at_most(total, capsys):
    with counting("generating") as count:
        for done in range(1, total + 1):
            count(done, total)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == min(total, 10)
    assert lines[-1] == f"generating: {total}/{total}"
