"""Any task: what is passed to the network, and what comes out."""

import pytest
import torch
from PIL import Image
from torch import nn

from omniflow.errors import ConfigError, OmniFlowError, UnknownNameError, UsageError
from omniflow.interfaces import Audio, Encoder
from omniflow.model import OmniFlowModel
from omniflow.sampling.noise import PURPOSES, SeededNoise
from omniflow.tasks import LETTERS, Task

TASKS = (
    "t2i", "t2a", "i2t", "a2t", "i2a", "a2i", "it2a", "at2i", "ia2t",
    "t2ia", "i2ta", "a2it", "2i", "2t", "2a", "2it", "2iat", "t2t", "it2t", "i2i", "ia2i",
)  # fmt: skip
ARGUMENTS = {"text": "prompt", "image": "image", "audio": "audio"}
TEXTS = ["cat", "a dog", "", "two", "red", "blue sky", "x", "wet"]


def inputs(task, pictures, sounds, index=slice(None)):
    values = {"text": TEXTS, "image": pictures, "audio": sounds}
    return {ARGUMENTS[name]: values[name][index] for name in Task.parse(task).given}


def passed(call):
    return [name for name, part in call.streams._asdict().items() if part is not None]


@pytest.mark.parametrize("absent", ["noise", "drop"])
@pytest.mark.parametrize("task", TASKS)
def test_a_batch_is_what_its_samples_are_alone(task, absent, model, pictures, sounds):
    settings = {"steps": 3, "absent": absent, "noise_level": 0.7}
    if set(Task.parse(task).given) - set(Task.parse(task).made):
        settings["guidance"] = 2.5
    together = model.generate(
        task, **inputs(task, pictures, sounds), seeds=list(range(40, 48)), **settings
    )
    for index in range(8):
        alone = model.generate(
            task, **inputs(task, pictures, sounds, index), seeds=[40 + index], **settings
        )
        assert alone.latents.keys() == set(Task.parse(task).made)
        for name, latents in alone.latents.items():
            torch.testing.assert_close(
                latents[0], together.latents[name][index], rtol=1e-5, atol=1e-5
            )


@pytest.mark.parametrize("task", TASKS)
def test_what_is_made_comes_out_and_nothing_else(task, model, pictures, sounds):
    made = Task.parse(task).made
    result = model.generate(task, **inputs(task, pictures, sounds), seeds=range(8), steps=2)
    assert len(result.texts) == (8 if "text" in made else 0)
    assert len(result.images) == (8 if "image" in made else 0)
    assert len(result.sounds) == (8 if "audio" in made else 0)
    assert all(isinstance(text, str) for text in result.texts)
    assert all(isinstance(image, Image.Image) for image in result.images)
    assert all(isinstance(sound, Audio) for sound in result.sounds)


@pytest.mark.parametrize("task", [task for task in TASKS if not task.startswith("2")])
def test_streams_have_the_levels_of_what_they_are(task, model, calls, pictures, sounds):
    model.generate(task, **inputs(task, pictures, sounds), guidance=None, steps=2, absent="noise")
    parsed = Task.parse(task)
    last_row = {
        name: level[-1].item()
        for name, level in calls[0].timesteps._asdict().items()
        if level is not None
    }
    for name, level in last_row.items():
        if name in parsed.made or name not in parsed.given:
            assert level == 1000.0
        else:
            assert level == 0.0
    moved = {
        name
        for name, level in calls[-1].timesteps._asdict().items()
        if level is not None and level[-1].item() not in (0.0, 1000.0)
    }
    assert moved == set(parsed.made)


@pytest.mark.parametrize("task", TASKS)
def test_text_is_predicted_only_where_it_is_made(task, model, calls, pictures, sounds):
    model.generate(task, **inputs(task, pictures, sounds), seeds=range(8), steps=2)
    assert {call.predict_text for call in calls} == {"text" in Task.parse(task).made}


def test_modalities_made_together_move_together(model, calls):
    model.generate("t2ia", prompt="cat", steps=3, guidance=1)
    for call in calls:
        assert torch.equal(call.timesteps.image, call.timesteps.audio)
        assert call.timesteps.text.tolist() == [0.0]
    assert len({call.timesteps.image.item() for call in calls}) == 3


def test_absent_streams_are_the_same_noise_in_all_rows_and_steps(model, calls):
    model.generate("t2i", prompt="cat", steps=3, guidance=2)
    sounds = [row for call in calls for row in call.streams.audio]
    assert all(torch.equal(row, sounds[0]) for row in sounds)
    assert sounds[0].std() > 0.3


def test_dropped_streams_are_not_passed(model, calls, pictures):
    model.generate("i2t", image=pictures[0], steps=1, guidance=1, absent="drop")
    model.generate("2t", steps=1, absent="drop")
    assert [passed(call) for call in calls] == [["image", "text"], ["text"]]


def test_clip_rows_stand_before_text_when_a_modality_is_absent(model, calls, pictures):
    model.generate("t2i", prompt="cat", steps=1, guidance=1)
    model.generate("it2a", prompt="cat", image=pictures[0], steps=1, guidance=1)
    model.generate("t2i", prompt="cat", steps=1, guidance=1, clip_tokens=False)
    model.generate("it2a", prompt="cat", image=pictures[0], steps=1, guidance=1, clip_tokens=True)
    model.generate("t2i", prompt="cat", steps=1, guidance=1, t5_tokens=7)
    assert [call.streams.text.shape[1] for call in calls] == [5, 2, 2, 5, 12]
    assert torch.equal(calls[0].streams.text[:, -2:], calls[2].streams.text)


def test_clip_rows_are_standardised_unless_told_otherwise(model, calls):
    model.generate("t2i", prompt="a dog in fog", steps=1, guidance=1)
    rows = calls[0].streams.text[0, :3, :4]
    torch.testing.assert_close(rows.mean(1), torch.zeros(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(rows.std(1), torch.ones(3))
    model.generate("t2i", prompt="a dog in fog", steps=1, guidance=1, standardise=False)
    states = model.backbone.condition_text(["a dog in fog"]).states[0]
    assert torch.equal(calls[1].streams.text[0, :3, :4], states)
    # CLIP rows wider than T5's are cut to its width.
    model.generate(
        "t2i", prompt="a dog in fog", steps=1, guidance=1, standardise=False, t5_tokens=2
    )
    assert torch.equal(calls[2].streams.text[0, :3, :2], states[:, :2])
    assert not calls[2].streams.text[0, :5, 2:].any()


def test_the_pooled_slot_is_filled_by_text_then_image_then_audio(model, calls, pictures, sounds):
    picture, sound = pictures[2], sounds[4]
    told = {"steps": 1, "guidance": 1}
    backbone = model.backbone
    model.generate("it2a", prompt="cat", image=picture, **told)
    model.generate("ia2t", image=picture, audio=sound, **told)
    model.generate("a2t", audio=sound, **told)
    model.generate("it2a", prompt="cat", image=picture, pooled_from="image", **told)
    model.generate("t2i", prompt="cat", drop_pool=True, **told)
    model.generate("t2t", prompt="cat", **told)
    expected = [
        backbone.condition_text(["cat"]).pooled,
        backbone.pool_image([picture]),
        backbone.pool_audio([sound]),
        backbone.pool_image([picture]),
        torch.zeros(1, 4),
        torch.zeros(1, 4),
    ]
    for call, pooled in zip(calls, expected, strict=True):
        torch.testing.assert_close(call.pooled, pooled)


class Brightness(Encoder):
    """Stands in for an encoder that a person chose."""

    modalities = ("text", "image")
    width = 4

    def load_weights(self):
        pass

    def encode(self, samples, modality):
        return torch.full((len(samples), 4), 9.0 if modality == "image" else 8.0)


def test_a_chosen_encoder_takes_the_place_of_the_backbones_own(model, calls, pictures):
    chosen = OmniFlowModel(
        backbone=model.backbone,
        head=model.head,
        refiner=model.refiner,
        encoders=[Brightness()],
        features="hidden",
        head_dim=3,
        parts=model.parts,
    )
    assert isinstance(chosen.adapters[0], nn.Identity)
    chosen.generate("i2t", image=pictures[0], steps=1, guidance=2)
    chosen.generate("t2t", prompt="cat", steps=1)
    assert calls[0].pooled.tolist() == [[0.0] * 4, [9.0] * 4]
    assert calls[1].pooled.tolist() == [[8.0] * 4]


def test_a_modality_given_and_made_starts_at_its_noise_level(model, calls, pictures):
    model.generate("i2i", image=pictures[1], noise_level=0.4, steps=2, seed=5)
    clean = model.backbone.encode_image([pictures[1]])
    noise = SeededNoise([5], torch.device("cpu")).draw("image", (2, 4, 4))
    torch.testing.assert_close(calls[0].streams.image, 0.4 * noise + 0.6 * clean)
    assert calls[0].timesteps.image.item() == pytest.approx(400.0)
    assert passed(calls[0]) == ["image"]


def test_clean_text_is_predicted_once(model, calls):
    result = model.generate("t2t", prompt="cat", noise_level=0.0, steps=9)
    assert len(calls) == 1
    assert calls[0].timesteps.text.tolist() == [0.0]
    clean = model.backbone.encode_text(model.backbone.tokenise(["cat"], max_length=2).prompt_ids, 0)
    torch.testing.assert_close(calls[0].streams.text, clean)
    direct = model(clean, torch.zeros(1)).latents
    torch.testing.assert_close(result.latents["text"], direct)


def test_the_last_step_of_text_is_its_predicted_latents(model, calls):
    result = model.generate("2t", steps=3, absent="drop")
    last = calls[-1]
    predicted = model(last.streams.text, last.timesteps.text, last.pooled).latents
    torch.testing.assert_close(result.latents["text"], predicted, rtol=1e-5, atol=1e-6)


def test_empty_text_can_stand_for_an_absent_one(model, calls, pictures):
    model.generate("i2a", image=pictures[0], steps=1, guidance=1, absent_text="empty")
    tokens = model.backbone.tokenise([""], max_length=2)
    assert torch.equal(
        calls[0].streams.text, model.backbone.encode_text(tokens.prompt_ids, tokens.is_empty)
    )
    assert calls[0].timesteps.text.tolist() == [1000.0]


def test_the_posterior_is_sampled_on_request(model, calls, pictures):
    model.generate("i2a", image=pictures[0], steps=1, guidance=1)
    model.generate("i2a", image=pictures[0], steps=1, guidance=1, sample_posterior=True)
    assert calls[0].streams.image.std() == 0
    assert calls[1].streams.image.std() > 0.3


def test_seeds_decide_and_count_upwards(model):
    first = model.generate("2i", count=3, seed=7, steps=2).latents["image"]
    again = model.generate("2i", count=3, seed=7, steps=2).latents["image"]
    third = model.generate("2i", seed=9, steps=2).latents["image"]
    assert torch.equal(first, again)
    torch.testing.assert_close(first[2], third[0])
    assert not torch.allclose(first[0], first[1])


def test_purposes_and_seeds_have_unrelated_draws():
    noise = SeededNoise([1, 2], torch.device("cpu"))
    draws = [noise.draw(purpose, (50,)) for purpose in PURPOSES]
    rows = torch.cat(draws)
    assert len({tuple(row.tolist()) for row in rows}) == 2 * len(PURPOSES)
    assert torch.equal(draws[0], SeededNoise([1, 2], torch.device("cpu")).draw("image", (50,)))


def test_progress_and_steps_are_told(model):
    told, steps = [], []
    result = model.generate(
        "2iat", steps=4, progress=lambda *done: told.append(done), on_step=steps.append
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert [step.index for step in steps] == [0, 1, 2, 3]
    for name in LETTERS.values():
        assert torch.equal(steps[-1].latents[name], result.latents[name])


def test_pictures_get_the_size_that_is_asked_for(model, calls):
    result = model.generate("2i", height=12, width=16, steps=1)
    assert result.latents["image"].shape == (1, 2, 6, 8)


def test_latents_alone_are_left_undecoded(model):
    result = model.generate("2iat", steps=1, decode=False)
    assert (result.texts, result.images, result.sounds) == ([], [], [])
    assert result.latents.keys() == {"image", "text", "audio"}


def test_encoders_can_be_offloaded_once_all_is_encoded(model):
    model.generate("t2i", prompt="cat", steps=1, offload=True)
    assert model.backbone.offloaded == 1
    model.generate("t2i", prompt="cat", steps=1)
    assert model.backbone.offloaded == 1


def test_generation_happens_in_evaluation_mode_and_leaves_the_mode_alone(model):
    model.train()
    seen = []
    model.generate("2t", steps=1, on_step=lambda step: seen.append(model.head.training))
    assert seen == [False]
    assert model.head.training


def test_defaults_come_from_the_backbone_below_what_is_said(model, calls):
    model.backbone.sampling_defaults = {
        "steps": 5, "absent": "drop", "tasks": {"t2a": {"steps": 2, "guidance": 1.0}},
    }  # fmt: skip
    model.generate("2i")
    assert len(calls) == 5
    calls.clear()
    model.generate("t2a", prompt="cat")
    assert [passed(call) for call in calls] == [["text", "audio"]] * 2
    calls.clear()
    model.generate("t2a", prompt="cat", steps=1, absent="noise")
    assert [passed(call) for call in calls] == [["image", "text", "audio"]]


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("t2i", {}, "prompt: task t2i needs text, and none is given"),
        ("i2t", {"prompt": "x"}, "image: task i2t needs image"),
        ("2t", {"prompt": "x"}, "prompt: task 2t has no use for text"),
        ("t2i", {"prompt": 3}, "prompt: it is a int, expected a text"),
        ("i2t", {"image": "cat.png"}, "image: it is a str, expected a picture of Pillow"),
        ("a2t", {"audio": [b"x"]}, "audio: it is a bytes, expected an omniflow Audio"),
        ("t2i", {"prompt": []}, "there is no sample to make"),
        ("t2i", {"prompt": "a \udc80"}, "prompt: character 3 of the text is '\\udc80'"),
        (
            "t2i",
            {"prompt": "x", "negative_prompt": "\ud800"},
            "negative_prompt: character 1 of the text",
        ),
        ("t2i", {"prompt": ["a", "b"], "seeds": [1]}, "prompt 2, seeds 1"),
        ("t2i", {"prompt": ["a", "b"], "count": 3}, "prompt 2, count 3"),
        ("2i", {"count": 0}, "count is 0, expected a whole number >= 1"),
        ("2i", {"seed": 1.5}, "seeds is 1.5, expected whole numbers"),
        ("i2t", {"negative_prompt": "x"}, "image: task i2t needs image"),
        ("2i", {"negative_prompt": "x"}, "expected none: task 2i has no use for it"),
        (
            "t2i",
            {"prompt": "x", "negative_prompt": "y", "guidance": 1},
            "expected guidance above 1",
        ),
        (
            "t2i",
            {"prompt": "x", "negative_prompt": "y", "guidance_mode": "new"},
            "negative_prompt is 'y', expected guidance_mode old: new compares with noise",
        ),
        ("t2i", {"prompt": "x", "negative_prompt": ["y", "z"]}, "expected one, or 1, not 2"),
        ("t2a", {"prompt": "x", "height": 8}, "task t2a makes no picture"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(task, arguments, message, model, calls):
    with pytest.raises(UsageError) as caught:
        model.generate(task, **arguments)
    assert message in str(caught.value)
    assert calls == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", 0, "a whole number >= 1"),
        ("steps", 2.5, "a whole number >= 1"),
        ("steps", 10**30, "a whole number <= 100000"),
        ("t5_tokens", 10**6, "a whole number <= 4096"),
        ("shift", float("inf"), "a number above 0"),
        ("guidance", "much", "a number"),
        ("guidance", float("nan"), "a number"),
        ("guidance", {"audio": 2.0}, "given by t2i: text"),
        ("guidance_mode", "newer", "new or old"),
        ("solver", "eular", "euler or heun or ab2"),
        ("absent", "skip", "noise or drop"),
        ("shift", 0, "a number above 0"),
        ("noise_level", 1.5, "a number in [0, 1]"),
        ("pooled_from", "image", "given by t2i: text"),
        ("height", -8, "a whole number >= 1"),
        ("standardise", "yes", "True or False"),
        ("max_new_tokens", 0, "a whole number >= 1"),
    ],
)
def test_impossible_settings_are_refused(name, value, expected, model, calls):
    with pytest.raises(ConfigError) as caught:
        model.generate("t2i", prompt="x", **{name: value})
    assert str(caught.value).startswith(name)
    assert expected in str(caught.value)
    assert calls == []


def test_further_mistakes_are_told_with_what_is_near(model, pictures):
    with pytest.raises(UnknownNameError, match="did you mean: steps"):
        model.generate("2i", step=3)
    with pytest.raises(ConfigError, match="did you mean: euler"):
        model.generate("2i", solver="eular")
    with pytest.raises(ConfigError, match="task is 'x2y'"):
        model.generate("x2y")
    with pytest.raises(ConfigError, match="2i has no input to be guided by"):
        model.generate("2i", guidance=3)
    with pytest.raises(ConfigError, match="only text can start clean"):
        model.generate("i2i", image=pictures[0], noise_level=0.0)
    model.backbone.modalities = ("text",)
    with pytest.raises(UsageError, match="t2i needs image.*expected tasks of text"):
        model.generate("t2i", prompt="x")


def test_what_is_no_number_any_more_is_not_decoded(model):
    for parameter in model.head.parameters():
        nn.init.constant_(parameter, float("nan"))
    with pytest.raises(OmniFlowError, match="the latents of text are not finite") as caught:
        model.generate("2t", steps=2)
    assert caught.value.exit_code == 1
