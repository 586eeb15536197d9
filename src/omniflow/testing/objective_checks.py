"""The contract of an objective."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from omniflow.errors import UsageError
from omniflow.interfaces import Batch
from omniflow.tasks import POOLED_ORDER
from omniflow.testing.common_checks import CHECKS as COMMON
from omniflow.testing.contract import named
from omniflow.testing.small_run import SmallRun, saved_and_loaded, small_run
from omniflow.testing.subject import Subject


def what_it_reads_and_wants_is_said(subject: Subject) -> None:
    """Modalities of samples, and tasks with weights above 0."""
    objective = _run(subject).objective
    subject.expect(
        bool(objective.modalities) and objective.modalities <= set(POOLED_ORDER),
        f"its modalities are {objective.modalities!r}",
        expected=f"a frozenset of some of {', '.join(POOLED_ORDER)}",
    )
    for task, weight in objective.task_weights().items():
        subject.expect(weight > 0, f"task {task} has weight {weight}", expected="above 0")


def losses_are_finite_scalars_with_weights(subject: Subject) -> None:
    """Every term a scalar, every weight the name of one that there is or may be."""
    losses = _run(subject).losses()
    subject.expect(bool(losses.terms), "there is no term")
    for name, term in losses.terms.items():
        subject.expect(
            term.ndim == 0 and bool(term.isfinite()),
            f"term {name} has shape {list(term.shape)}",
            expected="a finite scalar",
        )
    for name, weight in losses.weights.items():
        subject.expect(0 <= weight < math.inf, f"{name} weighs {weight}", expected=">= 0")


def a_batch_costs_the_same_each_time(subject: Subject) -> None:
    """Its random numbers are those of its draws, drawn when it was collated."""
    run = _run(subject)
    batch = run.batch()
    first, second = (_terms(run, batch) for _ in range(2))
    subject.expect(first == second, f"one batch costs {first} and then {second}")


def gradients_reach_what_is_trained(subject: Subject) -> None:
    """The head at least; and the transformer, where the objective trains it."""
    run = _run(subject)
    run.model.zero_grad()
    torch.autograd.backward(run.losses().total)
    moved = {
        name.partition(".")[0]
        for name, parameter in run.model.named_trainable()
        if parameter.grad is not None and bool(parameter.grad.any())
    }
    run.model.zero_grad()
    wanted = {"transformer"} if run.objective.trains_backbone else {"head"}
    subject.expect(wanted <= moved, f"no gradient reaches the {next(iter(wanted))}")


def terms_count_for_something(subject: Subject) -> None:
    """`counts` says how much each mean counts beside those of other batches."""
    run = _run(subject)
    counts = run.objective.counts(run.batch())
    subject.expect(bool(counts), "counts is empty", expected="tokens or samples of each term")
    for name, count in counts.items():
        subject.expect(0 <= count < math.inf, f"{name} counts {count}", expected=">= 0")
    subject.expect(any(counts.values()), f"nothing counts: {dict(counts)}")


def validation_sums_add_up(subject: Subject) -> None:
    """Those of a batch are the sums of those of its halves, so batches may have any size."""
    run = _run(subject)
    whole = _whole(subject)
    halves = [_measured(run, slice(0, 2)), _measured(run, slice(2, 4))]
    for name, total in whole.items():
        parts = math.fsum(half.get(name, 0.0) for half in halves)
        subject.expect(
            math.isclose(total, parts, rel_tol=1e-3, abs_tol=1e-3),
            f"{name} is {total} for four samples and {parts} for two and two",
            expected="sums over samples, not means, with random numbers from the draws",
        )


def the_best_is_told_from_the_summary(subject: Subject) -> None:
    """`best_by` is one of the figures that `summarise` makes."""
    run = _run(subject)
    figures = run.objective.summarise(_whole(subject))
    subject.expect(
        run.objective.best_by in figures,
        f"best_by is {run.objective.best_by!r} and the figures are {', '.join(figures)}",
        expected="one of them",
    )
    for name, value in figures.items():
        subject.expect(isinstance(value, float), f"{name} is {value!r}", expected="a float")


def frozen_work_can_be_done_ahead(subject: Subject) -> None:
    """`omniflow cache build`; or it says that it cannot tell."""
    run = _run(subject)
    try:
        run.objective.encode_ahead(run.model, run.samples)
    except UsageError:
        return


def a_step_makes_a_batch_cheaper(subject: Subject) -> None:
    """A small step against the gradient; then the model is saved and comes back."""
    run = small_run(subject, _SMALL)
    run.model.train()
    before = run.losses()
    torch.autograd.backward(before.total)
    with torch.no_grad():
        gradients = [
            (parameter, parameter.grad)
            for parameter in run.model.trainable_parameters()
            if parameter.grad is not None
        ]
        squares = math.fsum(float(gradient.square().sum()) for _, gradient in gradients)
        for parameter, gradient in gradients:
            # Short enough for the loss to be nearly linear along it.
            parameter.sub_(gradient, alpha=1e-3 / max(math.sqrt(squares), 1e-12))
    after = run.losses()
    subject.expect(
        float(after.total.detach()) < float(before.total.detach()),
        f"a small step against the gradient takes the loss from {before.total.item()} "
        f"to {after.total.item()}",
    )
    run.model.eval()
    saved_and_loaded(run, subject)


_SMALL = {"head": "linear", "refiner": "none"}


def _run(subject: Subject) -> SmallRun:
    return subject.once("run", lambda: small_run(subject, _SMALL))


def _terms(run: SmallRun, batch: Batch) -> dict[str, float]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        losses = run.objective.losses(run.model, batch)
    return {name: float(term.detach()) for name, term in losses.terms.items()}


def _whole(subject: Subject) -> Mapping[str, float]:
    """The sums of the whole batch."""
    return subject.once("sums", lambda: _measured(_run(subject), slice(0, 4)))


def _measured(run: SmallRun, rows: slice) -> Mapping[str, float]:
    run.model.eval()
    with torch.no_grad():
        sums = run.objective.measure(run.model, run.batch(rows))
    return {name: float(value) for name, value in sums.items()}


CHECKS = (
    *COMMON,
    *named(
        what_it_reads_and_wants_is_said,
        losses_are_finite_scalars_with_weights,
        a_batch_costs_the_same_each_time,
        gradients_reach_what_is_trained,
        terms_count_for_something,
        validation_sums_add_up,
        the_best_is_told_from_the_summary,
        frozen_work_can_be_done_ahead,
        a_step_makes_a_batch_cheaper,
    ),
)
