"""What heads and refiners have in common: shapes, gradients, determinism, files, precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from omniflow.checkpoints import read_tensors, write_tensors
from omniflow.testing.contract import Check, named
from omniflow.testing.data_parallel import gradients_in_parallel
from omniflow.testing.subject import Subject
from omniflow.testing.trained_part import LATENT_DIM, TrainedPart, trainable


def latents_have_their_shape(part: TrainedPart) -> None:
    """[batch, tokens, latent_dim] for every batch, in training and in evaluation."""
    for input_dim in part.input_dims:
        module = part.make(input_dim=input_dim)
        for is_training in (True, False):
            module.train(is_training)
            for batch, tokens in ((1, 1), (3, 5)):
                latents = part.run(module, part.draw(batch, tokens, input_dim=input_dim)).latents
                expected = (batch, tokens, LATENT_DIM)
                part.expect(
                    tuple(latents.shape) == expected,
                    f"latents have shape {list(latents.shape)}",
                    expected=f"{list(expected)}, [batch, tokens, latent_dim]",
                )
                part.expect(bool(latents.isfinite().all()), "latents are not finite")


def latents_have_the_dtype_of_the_part(part: TrainedPart) -> None:
    """In float32 as in bfloat16, for those who load a model in half precision."""
    for dtype in (torch.float32, torch.bfloat16):
        latents = part.run(part.make().to(dtype), part.draw().to(dtype)).latents
        part.expect(latents.dtype == dtype, f"latents are {latents.dtype}", expected=str(dtype))


def gradients_reach_every_parameter(part: TrainedPart) -> None:
    """Within a few steps; what has no gradient is not trained, and makes processes wait."""
    module = part.make()
    optimizer = torch.optim.SGD(trainable(module), lr=0.1) if trainable(module) else None
    moved: set[str] = set()
    for step in range(4):
        if optimizer is None:
            return
        optimizer.zero_grad()
        torch.autograd.backward(part.loss(module, part.draw(seed=step)))
        for name, parameter in module.named_parameters():
            part.expect(
                parameter.grad is not None or not parameter.requires_grad,
                f"the loss does not depend on parameter {name}",
                expected="parameters that are used in every step; a buffer for what is not trained",
            )
            # What starts at zero may keep a gradient from others for a step.
            if parameter.grad is not None and bool(parameter.grad.any()):
                moved.add(name)
        optimizer.step()
    idle = [
        name
        for name, parameter in module.named_parameters()
        if parameter.requires_grad and name not in moved
    ]
    part.expect(not idle, f"the gradient of {', '.join(idle)} stays zero over four steps")


def gradients_reach_what_it_reads(part: TrainedPart) -> None:
    """Objective `flow` trains the transformer through head and refiner."""
    module = part.make()
    part.train(module)
    inputs = part.draw().requires_grad_()
    torch.autograd.backward(part.loss(module, inputs))
    part.expect(
        inputs.grad is not None and bool(inputs.grad.any()),
        "no gradient reaches its inputs",
        expected="latents that depend on them by differentiable steps",
    )


def evaluation_is_deterministic_and_changes_nothing(part: TrainedPart) -> None:
    """In evaluation mode the same inputs give the same latents, and state stays as it is."""
    module = part.make()
    part.train(module)
    module.eval()
    before = copy.deepcopy(module.state_dict())
    inputs = part.draw(seed=9)
    with torch.no_grad():
        first, second = (part.run(module, inputs).latents for _ in range(2))
    part.expect(torch.equal(first, second), "in evaluation mode it is random")
    for name, value in module.state_dict().items():
        part.expect(_same(value, before[name]), f"evaluation changes {name}")


def evaluation_takes_each_sample_alone(part: TrainedPart) -> None:
    """What is made of a sample does not depend on which others are in its batch."""
    module = part.make()
    part.train(module)
    module.eval()
    inputs = part.draw(3, seed=9)
    # Both have to be given the same noise level.
    pair = torch.cat([inputs[:1], inputs[2:]])
    with torch.no_grad():
        together = part.run(module, inputs).latents[[0, 2]]
        alone = part.run(module, pair).latents
    part.expect(
        torch.allclose(together, alone, rtol=1e-3, atol=1e-4),
        f"a sample's latents depend on the rest of its batch, by {_gap(together, alone):.2g}",
        expected="statistics of a batch in training alone, as in a batch norm",
    )


def training_depends_on_the_seed_alone(part: TrainedPart) -> None:
    """The same weights, inputs and state of torch's generator give the same step."""
    states = []
    for _ in range(2):
        module = part.make(seed=3)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            part.train(module)
        states.append(module.state_dict())
    for name, value in states[0].items():
        part.expect(
            _same(value, states[1][name]),
            f"training from the same seed gives another {name}",
            expected="random numbers from torch's global generator, so that runs can be resumed",
        )


def saved_weights_bring_it_back(part: TrainedPart) -> None:
    """Through a file of safetensors into a new instance: bit for bit the same latents."""
    module = part.make(seed=1)
    part.train(module)
    file = part.subject.folder / f"{part.subject.kind}.safetensors"
    # Read back before anything runs, as `omniflow.load` does.
    again = part.make(seed=2)
    try:
        write_tensors(file, module.state_dict())
        again.load_state_dict(read_tensors(file))
    except RuntimeError as error:
        part.subject.fail(
            f"its state cannot be saved and loaded: {' '.join(str(error).split())}",
            expected="a state_dict of tensors, each of its own memory and of a shape that "
            "the options decide",
        )
    inputs = part.draw(seed=9)
    with torch.no_grad():
        before, after = (part.run(each.eval(), inputs).latents for each in (module, again))
    part.expect(
        torch.equal(before, after),
        f"after saving and loading latents differ by {_gap(before, after):.2g}",
        expected="all that shapes them among parameters and buffers",
    )


def works_under_autocast(part: TrainedPart) -> None:
    """`--precision bf16`: forward in half precision, backward, gradients in float32."""
    module = part.make()
    for step in range(2):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = part.loss(module, part.draw(seed=step))
        part.expect(bool(loss.isfinite()), "under autocast the loss is not finite")
        if loss.requires_grad:
            torch.autograd.backward(loss)
    for name, parameter in module.named_parameters():
        is_finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
        part.expect(is_finite, f"under autocast the gradient of {name} is not finite")


def works_without_values(part: TrainedPart) -> None:
    """`--dry-run --device meta`: shapes alone, so that no value is read back in a step."""
    module = part.make().to("meta")
    inputs = part.draw().to("meta").requires_grad_()
    try:
        torch.autograd.backward(part.loss(module, inputs))
    except (RuntimeError, NotImplementedError) as error:
        part.subject.fail(
            f"a step reads values back from the device: {' '.join(str(error).split())[:200]}",
            expected="tensors on the device of the inputs, and no .item()",
        )


def works_in_data_parallel(part: TrainedPart) -> None:
    """Under DistributedDataParallel: two steps with the gradients that it has alone."""
    if not trainable(part.make()):
        return
    try:
        alone, parallel = gradients_in_parallel(part)
    except RuntimeError as error:
        part.subject.fail(f"not under DDP: {' '.join(str(error).split())[:300]}")
    for name, gradient in alone.items():
        part.expect(
            torch.allclose(gradient, parallel[name], rtol=1e-4, atol=1e-6),
            f"under DDP the gradient of {name} is another",
        )


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num())


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())


def driving(
    part: type[TrainedPart], checks: Iterable[Callable[[TrainedPart], None]]
) -> tuple[Check, ...]:
    """Checks of a trained part as checks of a subject.

    Args:
        part: How the subject is driven.
        checks: Functions of a part.
    """

    def driven(check: Callable[[TrainedPart], None]) -> Callable[[Subject], None]:
        return lambda subject: check(part(subject))

    return tuple(Check(one.name, driven(one.run)) for one in named(*checks))


#: In the order in which they are worth looking at.
TRAINED = (
    latents_have_their_shape,
    latents_have_the_dtype_of_the_part,
    gradients_reach_every_parameter,
    gradients_reach_what_it_reads,
    evaluation_is_deterministic_and_changes_nothing,
    evaluation_takes_each_sample_alone,
    training_depends_on_the_seed_alone,
    saved_weights_bring_it_back,
    works_under_autocast,
    works_without_values,
    works_in_data_parallel,
)
