"""Guidance, and the steps of text, against stored numbers."""

import json
from pathlib import Path

import pytest
import torch

from omniflow.models.flow_scheduler import sigmas_from, velocity_from_x0
from omniflow.sampling.guidance import combine, guidance_rows
from omniflow.sampling.solvers import euler

GOLDEN = json.loads((Path(__file__).parent / "data" / "guidance.json").read_text())


def guided(given, guidance, predictions):
    rows = guidance_rows(given, guidance)
    return combine([predictions[row.inputs] for row in rows], [row.weight for row in rows])


@pytest.mark.parametrize("case", GOLDEN["classifier_free"], ids=lambda case: str(case["scale"]))
def test_a_number_is_classifier_free_guidance(case):
    predictions = {
        frozenset(): torch.tensor(case["uncond"]),
        frozenset({"text"}): torch.tensor(case["cond"]),
    }
    expected = torch.tensor(case["result"])
    for guidance in (case["scale"], {"text": case["scale"]}):
        # Large scales cancel large numbers.
        found = guided(["text"], guidance, predictions)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", GOLDEN["multimodal_guidance"]["cases"])
def test_weights_by_modality_are_the_papers_rule(case):
    names = list(case["alpha"])
    predictions = {
        frozenset(): torch.tensor(case["v_target_alone"]),
        **{
            frozenset({name}): torch.tensor(value)
            for name, value in case["v_target_with_one"].items()
        },
        frozenset(names): torch.tensor(case["v_target_with_all"]),
    }
    found = guided(names, case["alpha"], predictions)
    torch.testing.assert_close(found, torch.tensor(case["result"]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", GOLDEN["euler_with_x0_prediction"])
def test_steps_of_text_follow_the_stored_path(case):
    sigmas = sigmas_from(1.0, case["num_steps"], case["shift"])
    torch.testing.assert_close(sigmas, torch.tensor(case["sigmas"]), rtol=0, atol=0)
    predictions = iter(torch.tensor(case["x0_prediction"]))

    def velocity(state, levels):
        return {"text": velocity_from_x0(state["text"], next(predictions), levels["text"])}

    states = euler(velocity, {"text": torch.tensor(case["x_path"][0])}, {"text": sigmas.tolist()})
    for state, expected in zip(states, case["x_path"][1:], strict=True):
        torch.testing.assert_close(state["text"], torch.tensor(expected), rtol=1e-5, atol=1e-5)
