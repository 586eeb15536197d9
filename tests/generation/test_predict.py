"""Predictions for a dataset: any task that makes text."""

import shutil

import numpy as np
import pytest
from PIL import Image

import omniflow
from omniflow.errors import ConfigError, DataError, RecordError, UsageError
from omniflow.generation.predict import generate_predictions
from omniflow.generation.records import MOST_IN_VAIN
from omniflow.interfaces import Audio, Dataset, Sample
from omniflow.seeds import mixed_seed
from omniflow.tasks import Task

SHORT = {"max_new_tokens": 6, "steps": 2}


class Records(Dataset):
    """Samples from memory."""

    def __init__(self, samples):
        self.samples = samples

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        if isinstance(self.samples[index], RecordError):
            raise self.samples[index]
        return self.samples[index]


def record(index, **changes):
    waveform = np.sin(np.arange(4000) / (5 + index)).astype(np.float32)[None]
    values = {
        "id": str(index),
        "text": f"dog {index}",
        "image": Image.new("RGB", (64, 64), (40 * index, 90, 10)),
        "audio": Audio(waveform, 16000),
    }
    return Sample(**{**values, **changes})


@pytest.fixture(scope="module")
def model(random_backbone, parity_data):
    external = parity_data / "pipeline_tiny" / "external"
    return omniflow.build(
        backbone={
            "name": "folder",
            "path": str(random_backbone),
            "clip": str(external / "clip_vit_l"),
            "audio_encoder": str(external / "languagebind_audio"),
            "audio_vae": str(external / "audioldm2" / "vae"),
        },
        head="linear",
        refiner="none",
    )


@pytest.mark.parametrize("task", ["i2t", "a2t", "ia2t", "t2t", "it2t", "2t"])
def test_predictions_do_not_depend_on_the_batch_size(task, model):
    records = Records([record(index) for index in range(3)])
    parsed = Task.parse(task)
    settings = {**SHORT, "noise_level": 0.8, "seed": 4}
    together, alone = (
        generate_predictions(model, records, task=parsed, batch_size=size, **settings)
        for size in (3, 1)
    )
    for one in together:
        assert one.task == task
        assert one.references == (f"dog {one.id}",)
    # To the last digit of the likelihoods.
    assert together == alone


def test_predictions_are_what_the_model_generates(model):
    records = Records([record(index) for index in range(2)])
    predictions = generate_predictions(
        model, records, task=Task.parse("i2t"), seed=9, settings={"guidance": 2.0}, **SHORT
    )
    generated = model.generate(
        "i2t",
        image=[sample.image for sample in records],
        seeds=[mixed_seed(9, index) for index in range(2)],
        guidance=2.0,
        **SHORT,
    )
    assert [one.prediction for one in predictions] == generated.texts


def test_clean_text_needs_no_steps(model):
    records = Records([record(0)])
    few, many = (
        generate_predictions(model, records, task=Task.parse("t2t"), steps=steps, max_new_tokens=4)
        for steps in (1, 9)
    )
    assert few[0].tokens == many[0].tokens


def test_records_that_cannot_be_read_are_left_out_and_told(model):
    bad = [RecordError(f"bad{number}", "it is damaged") for number in range(3)]
    skipped = []
    settings = {"task": Task.parse("t2t"), "batch_size": 2, "noise_level": 0.8, **SHORT}
    found = generate_predictions(
        model, Records([bad[0], bad[1], record(2), bad[2], record(4)]),
        skipped=skipped.append, **settings,
    )  # fmt: skip
    assert skipped == bad
    whole = generate_predictions(model, Records([record(n) for n in range(5)]), **settings)
    assert [one.id for one in found] == ["2", "4"]
    assert found == whole[2::2]
    with pytest.raises(DataError, match="none of the 3 records can be used"):
        generate_predictions(model, Records(bad), **settings)


def test_what_cannot_be_predicted_is_refused(model):
    records = Records([record(0), record(1, image=None)])
    with pytest.raises(UsageError, match="task t2i makes image, expected a task that makes text"):
        generate_predictions(model, records, task=Task.parse("t2i"))
    skipped = []
    i2t = Task.parse("i2t")
    found = generate_predictions(model, records, task=i2t, skipped=skipped.append, **SHORT)
    assert [one.id for one in found] == ["0"]
    assert [(error.record, error.reason) for error in skipped] == [("1", "it has no image")]
    bare = Records([record(n, text=None) for n in range(MOST_IN_VAIN + 1)])
    with pytest.raises(DataError, match=f"none of the {MOST_IN_VAIN} records") as raised:
        generate_predictions(model, bare, task=i2t, batch_size=10, **SHORT)
    assert raised.value.notes[0] == "record 0: it has no text"
    with pytest.raises(DataError, match="no records"):
        generate_predictions(model, Records([]), task=Task.parse("t2t"))
    with pytest.raises(ConfigError, match="noise_level is 2"):
        generate_predictions(model, records, task=Task.parse("t2t"), noise_level=2)
    with pytest.raises(ConfigError, match="steps is 0"):
        generate_predictions(model, records, task=Task.parse("t2t"), steps=0)


def test_a_backbone_without_the_stream_says_so(random_backbone, tmp_path):
    folder = shutil.copytree(random_backbone, tmp_path / "model")
    shutil.rmtree(folder / "vae")
    model = omniflow.build(
        backbone={"name": "folder", "path": str(folder)}, head="linear", refiner="none"
    )
    with pytest.raises(UsageError, match="i2t needs image, which this backbone cannot"):
        generate_predictions(model, Records([record(0)]), task=Task.parse("i2t"))
