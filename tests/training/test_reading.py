"""Samples read ahead by other processes: the same run, and nobody left behind."""

import multiprocessing
import os
import signal
import threading
import time

import pytest

from omniflow.datasets.scenes import ScenesDataset
from omniflow.errors import ConfigError, DataError, TrainingError, UsageError
from omniflow.recipe import TrainingOptions
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.order import SampleOrder
from omniflow.training.reading import SampleReader
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train


class Watcher(Reporter):
    """Knows the workers of the run, and does something at a step."""

    def __init__(self, step=None, action=lambda workers: None):
        self.step = step
        self.action = action
        self.workers = set()

    def stepped(self, step):
        workers = {child.pid for child in multiprocessing.active_children()}
        self.workers |= workers
        if step == self.step:
            self.action(workers)


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def reader(size=12, *, batches=4, workers=1, order_size=None):
    order = SampleOrder(ScenesDataset(size=size, image=False, audio=True), seed=3)
    return SampleReader(order, (range(3 * n, 3 * n + 3) for n in range(batches)), workers)


def test_a_run_with_workers_is_the_same_run_also_when_it_was_stopped(
    short_recipe, runs, small_registry, tmp_path
):
    alone = short_recipe("flow", grad_accum=2, batch_size=2)
    train(alone, output_dir=tmp_path / "alone", registry=small_registry)
    helped = short_recipe("flow", grad_accum=2, batch_size=2, workers=2)
    stopper = Watcher(4, lambda workers: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(InterruptedRunError, match="after step 4"):
        train(helped, output_dir=tmp_path / "run", registry=small_registry, reporter=stopper)
    assert len(stopper.workers) == 2
    # They had been reading what comes after the stop.
    assert not any(map(is_alive, stopper.workers))
    train(helped, output_dir=tmp_path / "run", registry=small_registry, resume=True)
    runs.assert_same(tmp_path / "alone", tmp_path / "run")


def test_a_worker_that_dies_ends_the_run_with_what_is_kept(short_recipe, small_registry, tmp_path):
    def kill(workers):
        for worker in workers:
            os.kill(worker, signal.SIGKILL)

    watcher = Watcher(2, kill)
    recipe = short_recipe(workers=1, epochs=10, max_steps=30)
    with pytest.raises(TrainingError, match="a loader worker is gone") as caught:
        train(recipe, output_dir=tmp_path / "run", registry=small_registry, reporter=watcher)
    assert "step-" in str(caught.value)
    assert "fewer --workers" in str(caught.value)


def test_workers_are_out_of_the_reach_of_ctrl_c():
    with reader() as ahead:
        ahead.read()
        [worker] = multiprocessing.active_children()
        assert os.getpgid(worker.pid) != os.getpgid(0)
    deadline = time.monotonic() + 10
    while is_alive(worker.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(worker.pid)


def test_what_goes_wrong_in_a_worker_is_raised_in_its_turn():
    with reader() as ahead:
        expected = ahead.order.samples(range(3))
        # Of this split the worker gets four samples, and the order thinks there are twelve.
        ahead.order.dataset.size = 4
        good = [place for place in range(12) if ahead.order.records([place])[0] < 4]
        ahead.batches = iter([range(good[0], good[0] + 1), range(12)])
        [sample] = ahead.read()
        assert sample.id == f"train-{ahead.order.records([good[0]])[0]}"
        with pytest.raises(IndexError, match=r"is not in \[0, 4\)") as caught:
            ahead.read()
    assert "in a loader worker:" in caught.value.__notes__[0]
    assert len(expected) == 3


def test_an_error_of_ours_keeps_its_facts_on_the_way(monkeypatch):
    with reader() as ahead:

        def fail(positions):
            if positions[0]:
                raise DataError("no such record", where="texts.txt", expected="one")
            return [0] * len(positions)

        monkeypatch.setattr(ahead.order, "records", fail)
        assert len(ahead.read()) == 3
        with pytest.raises(DataError, match=r"texts.txt: no such record, expected one"):
            ahead.read()


def test_a_dataset_that_cannot_be_sent_is_told_before_the_first_step():
    with reader() as ahead:
        ahead.order.dataset.lock = threading.Lock()
        with pytest.raises(UsageError, match="training.workers: the dataset cannot be sent"):
            ahead.read()


def test_fewer_than_no_workers_are_refused():
    with pytest.raises(ConfigError, match="workers is -1, expected a whole number >= 0"):
        TrainingOptions(workers=-1)
