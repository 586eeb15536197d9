"""Loss arithmetic of the joint training against numbers of the original."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from omniflow.objectives.flow_losses import (
    ORIGINAL_WEIGHTS,
    decoder_loss,
    decoder_weight,
    direction_loss,
    level_weights,
    total_loss,
    velocity_loss,
    weighted_error,
)

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "training.json").read_text())
TENSORS = load_file(DATA / "training.safetensors")
LATENT_DIM = TENSORS["pred_text"].shape[-1]


def kept(case, modality):
    """1 for the samples that count, 0 for the dropped ones."""
    mask = torch.ones(3)
    mask[case["dropped"].get(f"drop_{modality}", [])] = 0
    return mask


def terms_of(case):
    """The terms that are on in a case, and the cross entropy of the true latents."""
    factors, scheme = case["factors"], case["weighting"]
    terms, true_ce = {}, torch.zeros(())
    if factors["image"]:
        weights = level_weights(TENSORS["sigma_img"], scheme) * kept(case, "img")
        terms["image"] = velocity_loss(
            TENSORS["pred_img"], clean=TENSORS["x_img"], noise=TENSORS["noise"], weights=weights
        )
    if factors["text"]:
        clean = TENSORS["x_text"][..., :LATENT_DIM]
        weights = level_weights(TENSORS["t_text"] / 1000, scheme) * kept(case, "text")
        terms["text"] = weighted_error(TENSORS["pred_text"], clean, weights)
        terms["direction"] = direction_loss(TENSORS["pred_text"], clean, weights)
        if case["decoder_loss"]:
            mask, labels = kept(case, "text"), TENSORS["labels"]
            terms["ce"] = decoder_loss(TENSORS["logits_pred"], labels, weights=mask)
            true_ce = decoder_loss(TENSORS["logits_true"], labels, weights=mask)
    if factors["audio"]:
        terms["audio"] = velocity_loss(
            TENSORS["pred_aud"],
            clean=TENSORS["x_aud"],
            noise=TENSORS["noise_aud"],
            weights=level_weights(TENSORS["sigma_aud"], scheme),
        )
    return terms, true_ce


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_terms_and_total_are_those_of_the_original(case):
    terms, true_ce = terms_of(case)
    logs = case["logs"]
    logged = {"image": "loss_img", "text": "loss_text", "audio": "loss_audio", "ce": "decode_loss"}
    for name, term in terms.items():
        expected = logs["loss_text_norm"] / 0.1 if name == "direction" else logs[logged[name]]
        assert term.item() == pytest.approx(expected, rel=1e-5), name
    if case["decoder_loss"]:
        assert true_ce.item() == pytest.approx(logs["decode_loss_tgt"], rel=1e-5)
    # The original adds the true latents' cross entropy, which trains nothing.
    total = total_loss(terms, ORIGINAL_WEIGHTS) + ORIGINAL_WEIGHTS["ce"] * true_ce
    assert total.item() == pytest.approx(logs["loss"], rel=1e-5)


@pytest.mark.parametrize("case", GOLDEN["label_smoothing"], ids=lambda case: str(case["epsilon"]))
def test_label_smoothing_is_that_of_the_original(case):
    loss = decoder_loss(
        TENSORS[case["logits"]],
        TENSORS[case["labels"]],
        weights=torch.tensor(case["sample_weight"]),
        smoothing=case["epsilon"],
    )
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)


def test_decoder_weight_by_level_is_that_of_the_original():
    golden = GOLDEN["decoder_weight_by_level"]
    weights = decoder_weight(torch.tensor(golden["t"]) / 1000)
    torch.testing.assert_close(weights, torch.tensor(golden["weight"]), atol=1e-6, rtol=0)
