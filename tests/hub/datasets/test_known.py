"""WikiText, COCO and AudioCaps from a Hub that serves them in their layouts."""

import numpy as np
import pytest

from omniflow.datasets.audiocaps import AudioCapsDataset
from omniflow.datasets.coco import CocoDataset
from omniflow.datasets.wikitext import WikitextDataset
from omniflow.errors import DataError

KNOWN = {"wikitext": WikitextDataset, "coco": CocoDataset, "audiocaps": AudioCapsDataset}
SPLITS = ("train", "validation", "test")


def content(sample):
    picture = None if sample.image is None else sample.image.tobytes()
    sound = (
        None if sample.audio is None else (sample.audio.waveform.tobytes(), sample.audio.rate_hz)
    )
    return sample.id, sample.text, picture, sound, sample.references


def fetched(hub):
    return {path.rpartition("/")[2] for path in hub.sent if path.endswith(".parquet")}


def test_wikitext_has_paragraphs_alone(served):
    splits = {split: WikitextDataset(split=split) for split in SPLITS}
    assert [len(dataset) for dataset in splits.values()] == [40, 12, 12]
    first, *_, last = splits["train"]
    assert first.text == "train paragraph 0 @-@ 0 is here ."
    assert first.id == "train:3"
    assert first.references == (first.text,)
    assert last.text == "train end of 9"
    assert [splits["validation"][n].text for n in (2, 3)] == [
        "validation paragraph 0 @-@ 2 is here .", "validation end of 0",
    ]  # fmt: skip
    assert "60 records left out" in splits["train"].notices()[0]


def test_coco_shares_the_split_that_has_captions(served):
    splits = {split: list(CocoDataset(split=split)) for split in SPLITS}
    ids = [sample.id for samples in splits.values() for sample in samples]
    assert sorted(ids) == [f"COCO_val2014_{number:012}.jpg" for number in range(52)]
    assert len(splits["train"]) > 40
    for sample in splits["train"]:
        number = int(sample.id[-16:-4])
        assert sample.text == f"caption 0 of picture {number}"
        assert sample.references == tuple(f"caption {n} of picture {number}" for n in range(5))
        assert sample.image.size == (24 + number % 5, 20)
        red, green, blue = sample.image.getpixel((9, 9))
        assert max(abs(red - number * 5 % 256), abs(green - 60), abs(blue - 90)) < 8
    # 14 files of the split without captions stay where they are.
    assert fetched(served) == {f"val-{n:05}-of-00013.parquet" for n in range(13)}


def test_audiocaps_brings_the_captions_of_a_sound_together(served):
    train = list(AudioCapsDataset())
    assert [sample.id for sample in train] == [str(1000 + number) for number in range(24)]
    assert train[3].references == ("train sound 3 told 3",)
    assert train[3].audio.rate_hz == 16_000
    for index in (3, 2):  # One is a WAV file, the other a FLAC file.
        expected = np.sin(np.arange(1600) * (index + 1) / 30) / 2
        assert train[index].audio.waveform.shape == (1, 1600)
        np.testing.assert_allclose(train[index].audio.waveform[0], expected, atol=1e-4)
    for split in ("validation", "test"):
        first, second = AudioCapsDataset(split=split)
        assert first.text == f"{split} sound 0 told 0"
        assert first.references == tuple(f"{split} sound 0 told {n}" for n in (0, 2, 4, 6, 8))
        assert second.references == tuple(f"{split} sound 1 told {n}" for n in (1, 3, 5, 7, 9))


@pytest.mark.parametrize("name", KNOWN)
def test_a_stream_has_the_samples_that_are_read_by_position(served, name):
    mapped = [content(sample) for sample in KNOWN[name]()]
    stream = KNOWN[name](streaming=True)
    assert [content(sample) for sample in stream] == mapped
    for start in (17, 3, len(mapped) - 1, len(mapped), len(mapped) + 5):
        found = [content(stream.decode(record)) for record in stream.records(start)]
        assert found == mapped[start:], start


def test_held_out_records_of_a_stream_are_those_of_the_files(served):
    for split in ("validation", "test"):
        options = {"split": split, "validation_share": 0.3, "test_share": 0.3}
        mapped = [content(sample) for sample in CocoDataset(**options)]
        assert len(mapped) > 5
        assert [content(sample) for sample in CocoDataset(**options, streaming=True)] == mapped
    one_a_record = list(AudioCapsDataset(split="test", streaming=True))
    assert len(one_a_record) == 10
    assert one_a_record[2].references == ("test sound 0 told 2",)


def test_a_stream_fetches_what_it_comes_to(served):
    stream = CocoDataset(streaming=True)
    next(iter(stream))
    assert fetched(served) == {"val-00000-of-00013.parquet"}


@pytest.mark.parametrize("name", KNOWN)
def test_what_was_fetched_is_read_without_a_request(served, offline, name):
    before = [content(sample) for sample in KNOWN[name]()]
    offline()
    served.asked.clear()
    assert [content(sample) for sample in KNOWN[name]()] == before
    assert [content(sample) for sample in KNOWN[name](streaming=True)] == before
    assert served.asked == []
    if name != "coco":
        with pytest.raises(DataError, match="split test: its files are not here\n  HF_HUB_OFFLINE"):
            KNOWN[name](split="test")


def test_only_what_is_looked_at_is_decoded(served):
    stream = CocoDataset(streaming=True)
    for dataset in (CocoDataset(), stream):
        dataset.restrict_to({"text"})
        sample = next(iter(dataset))
        assert sample.image is None
        assert sample.text.startswith("caption 0")
    assert next(stream.records())[1].keys() == {"answer", "question_id"}
