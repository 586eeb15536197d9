"""Everything that the plugin brings."""

import csv

import numpy as np
import pytest
import soundfile
import torch
from omniflow_subtitles.cues import read_cues
from omniflow_subtitles.dataset import SubtitlesDataset
from omniflow_subtitles.encoder import MelStatisticsEncoder, mel_filters
from omniflow_subtitles.ledger import (
    omniflow_evaluated,
    omniflow_run_ended,
    omniflow_run_started,
)
from omniflow_subtitles.metric import WordErrorRate, edit_distance

from omniflow.errors import DataError, RecordError
from omniflow.interfaces import Audio, Prediction, Sample
from omniflow.testing import contract_of

RATE_HZ = 8000


def film(folder):
    """A film of forty lines, a second each; line n has the pitch 100 + 20 n."""
    times = np.arange(40 * RATE_HZ) / RATE_HZ
    pitches = 100 + 20 * (np.arange(40 * RATE_HZ) // RATE_HZ + 1)
    soundfile.write(folder / "film.wav", 0.5 * np.sin(2 * np.pi * pitches * times), RATE_HZ)
    blocks = [
        f"{n}\n00:00:{n - 1:02},000 --> 00:00:{n:02},000\n<i>line</i> number {n}\n"
        for n in range(1, 41)
    ]
    (folder / "film.srt").write_text("\n".join(blocks), encoding="utf-8")
    return {"path": str(folder)}


test_plugin = contract_of("plugin", "omniflow-subtitles")
test_dataset = contract_of("dataset", "subtitles", options=film)
test_encoder = contract_of("encoder", "mel-statistics", options={"bands": 16})
test_metric = contract_of("metric", "wer")


def test_a_line_has_its_words_and_its_piece_of_the_sound(tmp_path):
    dataset = SubtitlesDataset(**film(tmp_path))
    for sample in list(dataset)[:3]:
        number = int(sample.id.removeprefix("film.srt:"))
        assert sample.text == f"line number {number}"
        assert sample.audio.waveform.shape == (1, RATE_HZ)
        spectrum = np.abs(np.fft.rfft(sample.audio.waveform[0]))
        assert spectrum.argmax() == 100 + 20 * number


def test_both_formats_are_read_without_markup(tmp_path):
    file = tmp_path / "a.vtt"
    file.write_text(
        "\ufeffWEBVTT\r\n\r\nNOTE a note\r\n\r\nintro\r\n00:01.500 --> 01:00:02.000 align:left\r\n"
        "<c.yellow>Good</c>\r\nmorning, {\\an8}all.\r\n\r\n00:03.000 --> 00:04.000\r\n<i></i>\r\n",
        encoding="utf-8",
    )
    [cue] = read_cues(file)
    assert (cue.start_s, cue.end_s, cue.text) == (1.5, 3602.0, "Good morning, all.")


def test_what_cannot_be_read_is_told(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        SubtitlesDataset(path=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="0 files have 0 lines, and none is for train"):
        SubtitlesDataset(path=str(tmp_path))
    film(tmp_path)
    soundfile.write(tmp_path / "film.wav", np.zeros(RATE_HZ), RATE_HZ)
    with pytest.raises(RecordError, match=r"film.wav ends before \d+.0 s"):
        list(SubtitlesDataset(path=str(tmp_path)))
    (tmp_path / "film.wav").write_bytes(b"RIFF")
    with pytest.raises(RecordError, match=r"film.wav cannot be read"):
        SubtitlesDataset(path=str(tmp_path))[0]
    (tmp_path / "film.srt").write_bytes(b"1\n00:00:00,000 --> 00:00:01,000\n\xe9t\xe9\n")
    with pytest.raises(DataError, match="it is not UTF-8"):
        SubtitlesDataset(path=str(tmp_path))


def tone(pitch_hz, rate_hz=16000, seconds=0.5):
    times = np.arange(int(rate_hz * seconds)) / rate_hz
    wave = 0.5 * np.sin(2 * np.pi * pitch_hz * times)
    return Sample(id="tone", audio=Audio(wave[None].astype(np.float32), rate_hz))


def test_a_tone_is_loudest_in_its_band_whatever_the_rate():
    encoder = MelStatisticsEncoder(bands=20)
    middles = mel_filters(20, 2048, 16000).argmax(1) * (16000 / 2048)
    for band in (5, 9):
        for rate_hz in (16000, 22050):
            [row] = encoder.encode([tone(float(middles[band]), rate_hz)], "audio")
            assert int(row[:20].argmax()) == band
    short = encoder.encode([tone(440, seconds=0.001)], "audio")
    assert torch.isfinite(short).all()


@pytest.mark.parametrize(
    ("made", "wanted", "edits"),
    [
        ("the cat sat", "the cat sat", 0),
        ("", "the cat", 2),
        ("the big cat", "the cat", 1),
        ("a cat sat on", "the cat sat on the mat", 3),
    ],
)
def test_edits_are_the_fewest(made, wanted, edits):
    assert edit_distance(made.split(), wanted.split()) == edits


def test_the_rate_is_over_all_words_and_the_nearest_reference():
    records = [
        Prediction("a", "a2t", "The cat, sat!", ("the cat sat", "a dog")),
        Prediction("b", "a2t", "dogs", ("the dog barked at night",)),
    ]
    score = WordErrorRate().compute(records)
    assert score.value == pytest.approx(5 / 8)
    strict = WordErrorRate(lowercase=False, ignore_punctuation=False).compute(records[:1])
    assert strict.value == pytest.approx(1.0)


def test_every_run_that_ends_has_a_line_in_the_ledger(tmp_path):
    recipe = {
        "head": {"name": "mlp"}, "refiner": {"name": "none"}, "dataset": [{"name": "subtitles"}],
    }  # fmt: skip
    for name in ("first", "second"):
        folder = tmp_path / name
        omniflow_run_started(folder, recipe)
        figures = {"step": 4, "split": "validation", "ppl": 2.5, "seconds": 1.0}
        omniflow_evaluated(folder, 4, figures, True)
        omniflow_evaluated(folder, 8, {**figures, "ppl": 3.0}, False)
        omniflow_run_ended(folder, "finished", 8, "")
    with (tmp_path / "runs.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["run"], second["run"]) == ("first", "second")
    assert first["best"] == "step=4 ppl=2.5"
    assert (first["head"], first["dataset"], first["how"]) == ("mlp", "subtitles", "finished")
