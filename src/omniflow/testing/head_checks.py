"""The contract of a head."""

from __future__ import annotations

import math
from typing import cast

import torch

from omniflow.interfaces import Head, HeadOutput
from omniflow.testing.common_checks import CHECKS as COMMON
from omniflow.testing.contract import named
from omniflow.testing.small_run import trains_in_a_model
from omniflow.testing.subject import Subject
from omniflow.testing.trained_checks import TRAINED, driving
from omniflow.testing.trained_part import HeadPart

#: Names that objectives keep to themselves.
_TAKEN = {"loss", "ce", "mse", "contrastive", "image", "text", "audio"}


def losses_are_named_finite_scalars(subject: Subject) -> None:
    """Each under a name of its own, and under one of `loss_names` where the head has some."""
    part = HeadPart(subject)
    module = part.make()
    output = part.run(module, part.draw())
    subject.expect(
        isinstance(output, HeadOutput),
        f"forward returns a {type(output).__name__}",
        expected="omniflow.interfaces.HeadOutput",
    )
    for name, loss in output.losses.items():
        subject.expect(
            loss.ndim == 0 and bool(loss.isfinite()),
            f"loss {name} has shape {list(loss.shape)}",
            expected="a finite scalar",
        )
        subject.expect(name not in _TAKEN, f"an objective has a loss {name} of its own")
    said = getattr(module, "loss_names", None)
    subject.expect(
        said is None or set(said) == set(output.losses),
        f"loss_names are {sorted(said or ())} and losses {sorted(output.losses)}",
        expected="the same names, or loss_names = None",
    )


def codes_are_whole_numbers_of_each_token(subject: Subject) -> None:
    """[batch, tokens] or [batch, tokens, codebooks], for heads with a codebook."""
    part = HeadPart(subject)
    codes = part.run(part.make(), part.draw(3, 5)).codes
    if codes is None:
        return
    subject.expect(
        codes.ndim in (2, 3) and tuple(codes.shape[:2]) == (3, 5),
        f"codes have shape {list(codes.shape)}",
        expected="[batch, tokens] or [batch, tokens, codebooks]",
    )
    subject.expect(
        not codes.dtype.is_floating_point and codes.dtype != torch.bool,
        f"codes are {codes.dtype}",
        expected="whole numbers",
    )


def statistics_are_finite_numbers(subject: Subject) -> None:
    """What is logged beside the losses."""
    part = HeadPart(subject)
    module = part.make()
    part.train(module)
    for name, value in cast(Head, module).statistics().items():
        subject.expect(
            isinstance(value, int | float) and math.isfinite(value),
            f"statistic {name} is {value!r}",
            expected="a number",
        )


CHECKS = (
    *COMMON,
    *driving(HeadPart, TRAINED),
    *named(
        losses_are_named_finite_scalars,
        codes_are_whole_numbers_of_each_token,
        statistics_are_finite_numbers,
        trains_in_a_model,
    ),
)
