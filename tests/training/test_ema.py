import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from omniflow.errors import CheckpointError, ConfigError
from omniflow.training.ema import DecaySchedule, WeightAverage

DATA = Path(__file__).parents[1] / "parity" / "data" / "ema_tiny"
GOLDEN = json.loads((DATA / "structure.json").read_text())
VALUES = load_file(DATA / "values.safetensors")


def golden_parameters():
    frozen = GOLDEN["frozen_parameters"]
    return {
        name: nn.Parameter(VALUES[f"init.{name}"].clone(), requires_grad=name not in frozen)
        for name in GOLDEN["parameter_names_in_order"]
    }


@pytest.mark.parametrize("sample", GOLDEN["decay_formula_samples"], ids=str)
def test_decay_is_that_of_the_published_rule(sample):
    said = sample["constructor"]
    schedule = DecaySchedule(
        said["decay"],
        min_decay=said.get("min_decay", 0.0),
        update_after=said.get("update_after_step", 0),
        has_warmup=said.get("use_ema_warmup", False),
    )
    assert schedule.at(sample["optimization_step"]) == pytest.approx(sample["decay"], rel=1e-12)


def test_averages_are_those_of_the_original_step_by_step():
    parameters = golden_parameters()
    average = WeightAverage(parameters, DecaySchedule(GOLDEN["constructor"]["decay"]))
    for step, decay in enumerate(GOLDEN["decay_used_per_step"], start=1):
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(VALUES[f"step{step}.param.{name}"])
        average.update()
        assert average.schedule.at(average.updates) == pytest.approx(decay)
        for name in parameters:
            expected = VALUES[f"step{step}.shadow.{name}"]
            torch.testing.assert_close(average.shadows[name], expected, atol=1e-6, rtol=0)
    assert average.updates == GOLDEN["scalar_values_after_example"]["optimization_step"]


def counting(start, interval, steps, decay=0.5):
    """The average after steps that set a weight to 1, 2, 3, ..."""
    parameter = nn.Parameter(torch.zeros(1))
    average = WeightAverage({"w": parameter}, DecaySchedule(decay), start=start, interval=interval)
    for step in range(1, steps + 1):
        parameter.data.fill_(step)
        average.after_step(step)
    return average


def test_until_its_start_the_average_is_the_weights():
    average = counting(start=5, interval=1, steps=5)
    assert average.shadows["w"].item() == 5
    assert average.updates == 0


def test_after_its_start_it_is_updated_every_interval():
    average = counting(start=4, interval=3, steps=13)
    assert average.updates == 3
    # Updates at steps 6 (decay 0), 9 (2/11) and 12 (3/12).
    expected = 6.0
    for value, decay in ((9, 2 / 11), (12, 3 / 12)):
        expected = decay * expected + (1 - decay) * value
    assert average.shadows["w"].item() == pytest.approx(expected, rel=1e-6)


def test_applied_exchanges_weights_and_average_and_brings_both_back_to_the_bit():
    torch.manual_seed(0)
    parameters = {"a": nn.Parameter(torch.randn(3)), "b": nn.Parameter(torch.randn(2, 2))}
    average = WeightAverage(parameters, DecaySchedule(0.9))
    for parameter in parameters.values():
        parameter.data.add_(1)
    weights = {name: value.detach().clone() for name, value in parameters.items()}
    shadows = {name: value.clone() for name, value in average.shadows.items()}
    with average.applied():
        assert all(torch.equal(parameters[name], shadows[name]) for name in shadows)
    with pytest.raises(RuntimeError, match="while applied"), average.applied():
        raise RuntimeError("while applied")
    assert all(torch.equal(parameters[name], weights[name]) for name in weights)
    assert all(torch.equal(average.shadows[name], shadows[name]) for name in shadows)


def test_a_restored_average_goes_on_as_the_first():
    whole = counting(start=0, interval=1, steps=6)
    part = counting(start=0, interval=1, steps=4)
    parameter = nn.Parameter(torch.zeros(1))
    rest = WeightAverage({"w": parameter}, DecaySchedule(0.5))
    rest.restore({"sum.x": torch.ones(1), **part.tensors()}, part.updates)
    for step in (5, 6):
        parameter.data.fill_(step)
        rest.after_step(step)
    assert torch.equal(rest.shadows["w"], whole.shadows["w"])


def test_an_average_of_other_weights_is_refused():
    average = counting(start=0, interval=1, steps=1)
    with pytest.raises(CheckpointError, match="average of weights has 0 tensors that do not fit"):
        average.restore({}, 1)


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_a_decay_out_of_range_is_refused(decay):
    with pytest.raises(ConfigError, match="ema_decay is .*expected a number in"):
        DecaySchedule(decay)
