"""CLIPScore: against transformers' own CLIP, for pictures made and pictures described."""

from pathlib import Path

import pytest
from PIL import Image

from omniflow.errors import CheckpointError, ConfigError, DataError
from omniflow.interfaces.metric import Prediction
from omniflow.metrics.clip_score import CLIPScore

CLIP = Path(__file__).parents[1] / "parity" / "data" / "pipeline_tiny" / "external" / "clip_vit_l"
COLOURS = ("red", "blue")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for colour in COLOURS:
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    return {colour: str(folder / f"{colour}.png") for colour in COLOURS}


@pytest.fixture(scope="module")
def cosines(pictures):
    """Of every picture and both texts, by the joint model of transformers."""
    from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(CLIP)
    texts = CLIPTokenizer.from_pretrained(CLIP)(
        [f"A photo depicts {text}" for text in COLOURS], padding="max_length", max_length=77,
        truncation=True, return_tensors="pt",
    )  # fmt: skip
    processor = CLIPImageProcessorPil.from_pretrained(CLIP)
    pixels = processor([Image.open(pictures[colour]) for colour in COLOURS], return_tensors="pt")
    output = model(**texts, **pixels)
    return (output.image_embeds @ output.text_embeds.T).tolist()


def made(number, pictures, *references):
    return Prediction(str(number), "t2i", "", references, image=pictures[COLOURS[number]])


def scaled(*values):
    # Rounding of another order of operations, in float32.
    return pytest.approx([2.5 * max(value, 0.0) for value in values], abs=1e-5)


def test_a_picture_is_compared_with_the_nearest_of_its_references(pictures, cosines):
    records = [made(0, pictures, "red", "blue"), made(1, pictures, "blue")]
    score = CLIPScore(path=str(CLIP)).compute(records)
    assert score.records.values.tolist() == scaled(max(cosines[0]), cosines[1][1])
    assert score.value == pytest.approx(score.records.values.mean())
    assert score.signature["model"] == str(CLIP)
    assert len(score.signature["weights"]) >= 16


def test_a_text_is_compared_with_the_picture_that_was_given(pictures, cosines):
    record = Prediction("1", "i2t", "blue", ("not read",), image=pictures["red"])
    score = CLIPScore(path=str(CLIP), weight=100).compute([record])
    assert score.value == pytest.approx(100 * max(cosines[0][1], 0), abs=4e-4)


def test_records_without_a_picture_and_models_that_are_none_are_refused(pictures, tmp_path):
    with pytest.raises(DataError, match="record 1: the record has no picture"):
        CLIPScore(path=str(CLIP)).compute([Prediction("1", "i2t", "a", ("a",))])
    with pytest.raises(DataError, match="there is no such file"):
        CLIPScore(path=str(CLIP)).compute([Prediction("1", "i2t", "a", ("a",), image="/none.png")])
    with pytest.raises(ConfigError, match="weight is 0"):
        CLIPScore(path=str(CLIP), weight=0)
    with pytest.raises(CheckpointError, match="there is no such folder"):
        CLIPScore(path=str(tmp_path / "none"))


def test_a_checkpoint_of_another_architecture_is_refused(pictures):
    with pytest.raises(CheckpointError, match="its model_type is 't5', expected clip"):
        CLIPScore(path=str(CLIP.parent / "flan_t5")).compute([made(0, pictures, "red")])
