"""Which rows are evaluated, and what each of them sees."""

import pytest
import torch

from omniflow.sampling.guidance import guidance_rows


def seen(rows):
    return [(sorted(row.inputs), row.weight) for row in rows]


@pytest.mark.parametrize("guidance", [1, 1.0, {}, {"text": 1.0}])
def test_guidance_1_is_one_row(guidance):
    assert seen(guidance_rows(["text"], guidance)) == [(["text"], 1.0)]


def test_one_scale_compares_all_inputs_with_none():
    rows = guidance_rows(["image", "text"], 3.0)
    assert seen(rows) == [([], -2.0), (["image", "text"], 3.0)]


def test_weights_ask_for_single_inputs_where_they_are_not_1():
    rows = guidance_rows(["image", "text"], {"text": 3.0, "image": 1.5})
    assert seen(rows) == [([], -2.5), (["image"], 0.5), (["text"], 2.0), (["image", "text"], 1.0)]
    rows = guidance_rows(["image", "text"], {"text": 3.0})
    assert seen(rows) == [([], -2.0), (["text"], 2.0), (["image", "text"], 1.0)]


def test_rows_that_cancel_are_left_out():
    rows = guidance_rows(["image", "text"], {"text": 1.5, "image": 0.5})
    assert [] not in [sorted(row.inputs) for row in rows]
    assert seen(guidance_rows(["text"], 0.0)) == [([], 1.0)]
    assert seen(guidance_rows([], 1.0)) == [([], 1.0)]


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5, {"text": 4.0, "image": -1.0}])
def test_weights_add_up_to_1(guidance):
    total = sum(row.weight for row in guidance_rows(["image", "text"], guidance))
    assert total == pytest.approx(1.0)


def test_guidance_1_costs_one_row_in_the_network(model, calls):
    model.generate("t2i", prompt=["a", "b"], guidance=1, steps=3)
    assert [len(call.pooled) for call in calls] == [2, 2, 2]
    calls.clear()
    model.generate("t2i", prompt=["a", "b"], guidance=2, steps=3)
    assert [len(call.pooled) for call in calls] == [4, 4, 4]


def test_a_weight_for_the_only_input_is_classifier_free_guidance(model):
    told = {"prompt": "a dog", "steps": 4, "seed": 3}
    number = model.generate("t2i", guidance=3.0, **told).latents["image"]
    mapping = model.generate("t2i", guidance={"text": 3.0}, **told).latents["image"]
    unguided = model.generate("t2i", guidance=1.0, **told).latents["image"]
    torch.testing.assert_close(mapping, number)
    assert not torch.allclose(number, unguided)


def test_rows_of_mode_new_hold_noise_where_they_do_not_see_an_input(model, calls):
    model.generate("t2i", prompt="cat", guidance=2, steps=2)
    text, level = calls[0].streams.text, calls[0].timesteps.text
    assert level.tolist() == [1000.0, 0.0]
    assert not calls[0].pooled[0].any()
    assert calls[0].pooled[1].any()
    # CLIP rows: noise all over; those of the text VAE: none beyond the width of the latents.
    assert (text[0, :-2] != 0).all()
    assert (text[0, -2:, :3] != 0).all()
    assert not text[0, -2:, 3:].any()
    assert torch.equal(calls[0].streams.text, calls[1].streams.text)


def test_rows_of_mode_old_hold_an_encoded_nothing(model, calls, pictures):
    model.generate("i2a", image=pictures[3], guidance=2, guidance_mode="old", steps=1)
    assert calls[0].timesteps.image.tolist() == [0.0, 0.0]
    assert not calls[0].streams.image[0].any()
    assert calls[0].pooled[0].tolist() == [-0.5] * 4
    calls.clear()
    model.generate("t2a", prompt="cat", guidance=2, guidance_mode="old", steps=1)
    blank = model.generate("t2a", prompt="", guidance=1, steps=1)
    assert torch.equal(calls[0].streams.text[0], calls[1].streams.text[0])
    assert blank.latents["audio"].shape == (1, 1, 4, 2)


def test_a_negative_prompt_takes_the_place_of_the_empty_one(model, calls):
    model.generate("t2i", prompt=["cat", "dog"], negative_prompt="fog", guidance=2, steps=1)
    model.generate("t2i", prompt="fog", guidance=1, steps=1)
    guided, plain = calls
    for row in (0, 1):
        assert torch.equal(guided.streams.text[row], plain.streams.text[0])
        assert torch.equal(guided.pooled[row], plain.pooled[0])
    assert guided.timesteps.text.tolist() == [0.0] * 4


def test_dropped_rows_lack_the_stream_and_are_a_batch_of_their_own(model, calls, pictures):
    model.generate(
        "it2a", prompt="cat", image=pictures[1], absent="drop", steps=1,
        guidance={"text": 3.0, "image": 2.0},
    )  # fmt: skip
    passed = [
        [name for name, part in call.streams._asdict().items() if part is not None]
        for call in calls
    ]
    assert passed == [["audio"], ["image", "audio"], ["text", "audio"], ["image", "text", "audio"]]


def test_dropping_and_noise_compute_different_numbers_of_tokens(model, calls):
    def tokens(absent):
        calls.clear()
        model.generate("t2i", prompt="cat", guidance=3, absent=absent, steps=1)
        return sum(part.numel() for call in calls for part in call.streams.present())

    assert tokens("drop") < tokens("noise")
    assert all(call.streams.audio is not None for call in calls)
