"""Groups of parameters: what decays, and which part learns how fast."""

import pytest
import torch
from safetensors.torch import load_file

from omniflow.assembly import assemble
from omniflow.draft import Draft
from omniflow.errors import ConfigError
from omniflow.recipe import TrainingOptions
from omniflow.resolve import resolve
from omniflow.training.optimizer import make_optimizer, set_lr
from omniflow.training.trainer import train


@pytest.fixture
def model(small_registry, short_recipe):
    def make(objective="text-decoder"):
        return assemble(short_recipe(objective), small_registry, device=torch.device("cpu"))

    return make


def groups(optimizer):
    """Every parameter's name -> its group."""
    return {name: group for group in optimizer.param_groups for name in group["param_names"]}


@pytest.mark.parametrize("objective", ["text-decoder", "flow"])
def test_matrices_decay_and_nothing_else(model, objective):
    built = model(objective)
    placed = groups(make_optimizer(built, TrainingOptions(weight_decay=0.1)))
    named = dict(built.named_trainable())
    assert placed.keys() == named.keys()
    for name, parameter in named.items():
        assert placed[name]["weight_decay"] == (0.1 if parameter.ndim > 1 else 0.0), name
    assert any(name.endswith("bias") for name in placed)


def test_embeddings_and_codebooks_do_not_decay(model):
    built = model()
    built.refiner.table = torch.nn.Embedding(4, 3)
    built.refiner.codebook = torch.nn.Parameter(torch.ones(4, 3))
    placed = groups(make_optimizer(built, TrainingOptions(weight_decay=0.1)))
    assert placed["refiner.table.weight"]["weight_decay"] == 0.0
    assert placed["refiner.codebook"]["weight_decay"] == 0.0


def test_a_part_has_its_own_share_of_the_rate_at_every_step(model):
    options = TrainingOptions(lr=0.1, lr_scale={"refiner": 0.5})
    optimizer = make_optimizer(model(), options)
    for lr in (0.1, 0.02):
        set_lr(optimizer, lr)
        rates = {name.split(".")[0]: group["lr"] for name, group in groups(optimizer).items()}
        assert rates == {"head": lr, "refiner": lr / 2}


def test_a_scaled_part_moves_less_in_its_first_step(short_recipe, small_registry, tmp_path):
    moved = {}
    for scale in (1.0, 0.25):
        recipe = short_recipe(
            max_steps=1, lr_scale={"refiner": scale}, weight_decay=0.0, warmup_steps=0
        )
        train(recipe, output_dir=tmp_path / str(scale), registry=small_registry)
        state = assemble(recipe, small_registry, device=torch.device("cpu")).trained_state()
        final = load_file(tmp_path / str(scale) / "final/model.safetensors")
        moved[scale] = {name: float((final[name] - state[name]).abs().max()) for name in state}
    # The first step of AdamW moves every weight by its rate, whatever its gradient.
    name = "refiner.down.weight"
    assert moved[0.25][name] == pytest.approx(moved[1.0][name] / 4, rel=1e-3)
    assert moved[0.25]["head.layers.0.weight"] == moved[1.0]["head.layers.0.weight"] > 0


def test_a_name_that_is_no_part_is_refused_with_the_nearest(registry):
    draft = Draft.from_mapping({}).with_setting("training.lr_scale.refinr", 0.5, where="--lr-scale")
    with pytest.raises(ConfigError, match="did you mean: refiner") as caught:
        resolve(draft, registry)
    assert str(caught.value).startswith("--lr-scale: training.lr_scale is {'refinr': 0.5}")


def test_a_factor_that_is_not_above_zero_is_refused():
    with pytest.raises(ConfigError, match="lr_scale is {'head': 0.0}, expected numbers above 0"):
        TrainingOptions(lr_scale={"head": 0.0})


def test_a_part_that_is_not_trained_is_refused_before_anything_is_written(
    short_recipe, small_registry, tmp_path
):
    recipe = short_recipe(lr_scale={"transformer": 0.5})
    with pytest.raises(ConfigError, match="parts that this run trains: head, refiner"):
        train(recipe, output_dir=tmp_path / "run", registry=small_registry)
    assert not (tmp_path / "run").exists()


def test_groups_may_change_when_a_run_goes_on(short_recipe, runs, small_registry, tmp_path):
    train(short_recipe(max_steps=4), output_dir=tmp_path / "run", registry=small_registry)
    slower = short_recipe(max_steps=6, lr_scale={"head": 0.5})
    result = train(slower, output_dir=tmp_path / "run", registry=small_registry, resume=True)
    assert result.steps == 6
