"""Training steps and sampling on the meta device, where no value can be read back.

There, a mistake that a graphics card would show as an error (two devices meet) or as lost time
(the host waits for a value) raises. `OneDevice` adds what meta lets pass.
"""

import json
from importlib.resources import files

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from omniflow.assembly import assemble_shapes, construct_component
from omniflow.draft import Draft
from omniflow.draws import Draws
from omniflow.objectives.flow import DEFAULT_TASKS, FlowObjective
from omniflow.plugins import load_plugins
from omniflow.resolve import resolve
from omniflow.sampling.noise import SeededNoise
from omniflow.sampling.sampler import sample_latents
from omniflow.sampling.settings import resolve_settings
from omniflow.sampling.solvers import SOLVERS
from omniflow.tasks import Task
from omniflow.training.ema import DecaySchedule, WeightAverage

META = torch.device("meta")

#: The only operations that may see two devices: they bring something from one to the other.
COPIES = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default}


class OneDevice(TorchDispatchMode):
    """Raises where tensors of two devices meet; numbers as tensors without dimensions may."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in tensors if tensor.dim()}
        if len(devices) > 1 and func not in COPIES:
            raise RuntimeError(f"two devices meet in {func}: {', '.join(sorted(devices))}")
        return func(*args, **(kwargs or {}))


def there(*shape):
    return torch.ones(shape, device="meta")


@pytest.mark.parametrize(
    "mistake",
    [
        lambda: there(3).sum().item(),
        lambda: float(there()),
        lambda: bool(there(3).sum() > 0),
        lambda: there(3).cpu(),
        lambda: there(3).tolist(),
        lambda: there(3)[there(3) > 0],
        lambda: there(3).nonzero(),
        lambda: torch.ones(3).copy_(there(3)),
        lambda: there(3) + torch.ones(3),
        lambda: torch.cat([there(3), torch.ones(3)]),
        lambda: F.linear(there(2, 3), torch.ones(4, 3)),
        lambda: there(2, 3) @ torch.ones(3, 4),
        lambda: F.embedding(torch.tensor([1]), there(2, 3)),
        lambda: there(3)[torch.tensor([0, 1])],
    ],
)
def test_a_rehearsal_stops_at_every_kind_of_mistake(mistake):
    with pytest.raises((RuntimeError, NotImplementedError)), OneDevice():
        mistake()


@pytest.fixture(scope="module")
def registry():
    return load_plugins().registry


def build(registry, **said):
    """Model, objective and three samples; of tiny's transformer two blocks are enough."""
    path = files("omniflow") / "assets/tiny/transformer/config.json"
    sizes = {**json.loads(path.read_text()), "num_layers": 2}
    backbone = {"name": "tiny", "transformer_config": sizes}
    recipe = resolve(Draft.from_mapping({"backbone": backbone, **said}), registry)
    objective = construct_component(registry, "objective", recipe.objective)
    model = assemble_shapes(recipe, registry)
    objective.check(model)
    dataset = construct_component(registry, "dataset", recipe.dataset[0], split="train")
    dataset.restrict_to(objective.modalities)
    return model, objective, [dataset[index] for index in range(3)]


def take_step(model, objective, samples):
    """A whole step: forward, backward, clipping, optimizer, average of the weights."""
    named = dict(model.named_trainable())
    optimizer = torch.optim.AdamW(named.values())
    average = WeightAverage(named, DecaySchedule(0.99))
    model.train()
    batch = objective.collate(model, samples, Draws.at(0, range(len(samples))))
    with OneDevice():
        counts = objective.counts(batch)
        losses = objective.losses(model, batch)
        losses.total.backward()
        norm = torch.nn.utils.clip_grad_norm_(named.values(), 1.0)
        optimizer.step()
        average.update()
    assert {losses.total.device, norm.device} == {META}
    assert all(isinstance(count, int | float) for count in counts.values())
    assert all(term.device == META and term.dim() == 0 for term in losses.terms.values())
    return losses


def evaluate(model, objective, samples):
    model.eval()
    batch = objective.collate(model, samples, Draws.at(0, range(len(samples))))
    with OneDevice(), torch.no_grad():
        return objective.measure(model, batch)


@pytest.mark.parametrize(
    ("head", "terms"),
    [
        ("linear", {"ce", "mse", "contrastive"}),
        ({"name": "mlp", "latent_dim": 32, "dropout": 0.1}, {"ce", "mse", "contrastive"}),
        ("vq", {"ce", "mse", "contrastive", "vq"}),
        ({"name": "vq", "gradient": "rotation"}, {"ce", "mse", "contrastive", "vq"}),
    ],
)
def test_a_step_of_the_text_decoder_never_leaves_the_device(registry, head, terms):
    weights = {"weights": {"contrastive": 0.1}, "levels": "logit-normal"}
    model, objective, samples = build(
        registry, head=head, refiner="mlp", objective={"name": "text-decoder", **weights}
    )
    assert take_step(model, objective, samples).terms.keys() == terms
    for name, parameter in model.named_trainable():
        assert parameter.grad is not None, name
    assert all(value.device == META for value in evaluate(model, objective, samples).values())


def test_an_encoder_of_the_recipe_goes_along(registry, parity_data):
    clip = {"name": "clip", "path": str(parity_data / "pipeline_tiny/external/clip_vit_l")}
    model, objective, samples = build(registry, head="linear", encoder=[clip])
    take_step(model, objective, samples)
    assert model.adapters[0].weight.grad is not None


@pytest.fixture(scope="module")
def flow(registry):
    return build(registry, head="vq", refiner="mlp", objective="flow")


#: Task and what its losses are made with: every task once, each way of the two for every modality.
FLOW_STEPS = [
    (task, {"absent_noise_share": share, "weighting": weighting})
    for number, task in enumerate([*DEFAULT_TASKS, "t2t", "iat2t"])
    for share, weighting in [((0.0, "cosmap"), (1.0, "sigma_sqrt"))[number % 2]]
]


@pytest.mark.parametrize(("task", "said"), FLOW_STEPS)
def test_a_step_of_the_flow_never_leaves_the_device(flow, task, said):
    model, _, samples = flow
    objective = FlowObjective(
        tasks=[task], drop_probability=0.5, weights={"ce": 0.1}, text_coupling="matched", **said
    )
    terms = take_step(model, objective, samples).terms
    made = Task.parse(task).made
    if made == ("text",):
        assert terms.keys() == {"text", "direction", "ce", "vq"}
    elif len(made) == 1:
        assert terms.keys() == {*made}


def test_evaluating_the_flow_never_leaves_the_device(flow):
    model, objective, samples = flow
    sums = evaluate(model, objective, samples)
    assert {f"{task}.image.error" for task in ("t2i", "a2i", "at2i", "2iat")} <= sums.keys()
    assert all(value.device == META for value in sums.values())


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        *(("i2t", {"solver": solver, "guidance": 2.0}) for solver in SOLVERS),
        ("t2i", {"guidance": 3.0, "guidance_mode": "new", "absent": "noise"}),
        ("t2a", {"guidance": 3.0, "guidance_mode": "old"}),
        ("ia2t", {"guidance": {"image": 2.0, "audio": 1.5}}),
        ("2iat", {}),
        ("t2t", {"noise_level": 0.5}),
    ],
)
def test_sampling_never_waits_for_a_value(flow, task, settings):
    model, _, samples = flow
    model.eval()
    task = Task.parse(task)
    said = {"steps": 3, **settings}
    resolved = resolve_settings(task, model.backbone.sampling_defaults, said)
    with OneDevice():
        latents = sample_latents(model, task, samples, resolved, SeededNoise([1, 2, 3], META))
    assert latents.keys() == set(task.made)
    for name, made in latents.items():
        assert made.device == META
        assert tuple(made.shape) == (3, *model.backbone.latent_shape(name))
