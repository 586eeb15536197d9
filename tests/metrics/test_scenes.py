import pytest

from omniflow.datasets.scenes import ScenesDataset
from omniflow.errors import DataError
from omniflow.interfaces.metric import Prediction
from omniflow.metrics.scenes import Scenes, score_scene, score_scenes

CAPTION = "a red circle above a blue square"


def record(prediction, *references):
    return Prediction("7", "i2t", prediction, references)


def test_other_words_for_the_same_scene_are_right():
    for text in (
        "below a red disc is a blue box",
        "we see a blue square with a red circle higher than it",
        "a medium-sized blue square beneath a red circle on a white background",
    ):
        score = Scenes().compute([record(text, CAPTION)])
        assert score.value == 1.0
        assert score.details["exact"] == 1.0


def test_figures_are_means_over_records_and_shares_over_attributes():
    lone = "a red circle in the middle"
    score = Scenes().compute(
        [
            record("a red circle below a blue star", CAPTION),  # 7 of 9
            record(lone, lone),  # 6 of 6
        ]
    )
    assert score.value == pytest.approx((7 / 9 + 1) / 2)
    assert score.details == pytest.approx(
        {
            "exact": 1 / 2,
            "shape": 2 / 3,
            "colour": 1.0,
            "size": 1.0,
            "relation": 0.0,
            "place": 1.0,
            "background": 1.0,
            "count": 1.0,
        }
    )


def test_an_empty_prediction_scores_nothing():
    assert Scenes().compute([record("", CAPTION)]).value == 0.0


def test_attributes_that_never_apply_have_no_figure():
    assert "place" not in Scenes().compute([record(CAPTION, CAPTION)]).details


def test_of_several_references_the_best_counts():
    references = "a green star in the middle", CAPTION
    assert Scenes().compute([record(CAPTION, *references)]).value == 1.0


def test_the_signature_says_how_the_figure_was_made():
    signature = Scenes().compute([record(CAPTION, CAPTION)]).signature
    assert signature["implementation"] == "omniflow"
    assert "mean over records" in signature["measure"]


def test_captions_pictures_and_sounds_are_scored_alike():
    dataset = ScenesDataset(split="test", size=4, seed=2)
    samples = [dataset[index] for index in range(4)]
    truths = [dataset.scene(index) for index in range(4)]
    for outputs in (
        [sample.text for sample in samples],
        [sample.image for sample in samples],
        [sample.audio for sample in samples],
    ):
        assert score_scenes(outputs, truths).value == 1.0
        assert score_scenes(outputs, [sample.text for sample in samples]).value == 1.0
        shifted = score_scenes(outputs, truths[1:] + truths[:1])
        assert shifted.value < 0.6
        assert shifted.details["exact"] == 0.0


def test_one_output_is_compared_attribute_by_attribute():
    found = score_scene("a small red circle above a blue square", CAPTION)
    assert (found.right["size"], found.total["size"]) == (1, 2)
    assert found.accuracy == pytest.approx(8 / 9)


def test_a_reference_that_is_no_scene_is_refused():
    with pytest.raises(DataError) as caught:
        Scenes().compute([record(CAPTION, "two dogs run across a field")])
    assert "'two dogs run across a field' names no coloured shape" in str(caught.value)
    assert "record 7" in str(caught.value)
    with pytest.raises(DataError, match="names no coloured shape"):
        score_scene(CAPTION, "")


def test_outputs_and_truths_have_to_pair_up():
    with pytest.raises(DataError, match="1 outputs and 0 truths"):
        score_scenes([CAPTION], [])
    with pytest.raises(DataError, match="0 outputs"):
        score_scenes([], [])


def test_there_has_to_be_something_to_score():
    with pytest.raises(DataError, match="no prediction to score"):
        Scenes().compute([])
