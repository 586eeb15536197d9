"""The page's contents, without a browser: which rows, how large, and no text let loose."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from omniflow.evaluation.comparison import compare
from omniflow.evaluation.entries import Entry, read_entries
from omniflow.evaluation.predictions import PredictionFile, write_predictions
from omniflow.evaluation.report.page import report, verdicts
from omniflow.evaluation.report.row_data import MediaBudget
from omniflow.evaluation.report.rows import choose_rows
from omniflow.evaluation.report.scales import Scale, around_zero, spanning, tick_text
from omniflow.evaluation.run_samples import RunSample, to_json
from omniflow.interfaces.dataset import Audio
from omniflow.interfaces.metric import Prediction
from omniflow.media.audio import write_wav

NASTY = '</script><script>alert("x")</script><img src=http://example.org/x.png> & <!-- \u2028'


def rows_of(page):
    found = re.search(r'<script type="application/json" id="rows">(.*?)</script>', page, re.DOTALL)
    return json.loads(found[1])


@pytest.fixture(scope="module")
def comparison(two_runs):
    return compare(read_entries(two_runs), resamples=100)


def test_every_section_has_its_place(comparison):
    page = report(comparison)
    assert re.findall(r'<section id="(\w+)"', page) == [
        "summary", "metrics", "curves", "codes", "predictions", "recipes", "signatures",
    ]  # fmt: skip
    assert verdicts(comparison) == [
        "exact-match: most clearly better than half.",
        # Nearer to 1 is not for a figure to say.
        "length-ratio: most clearly different from half.",
    ]


def test_worst_best_and_most_different_rows_are_those(comparison):
    chosen = choose_rows(comparison, most=4)
    by_kind = {}
    for row in chosen.rows:
        for kind in row.kinds:
            by_kind.setdefault(kind, []).append(row.id)
    assert chosen.metric == "exact-match"
    # Right in neither: place 1 and 21; right in one alone: every other odd place.
    assert {"r1", "r21"} <= set(by_kind["worst"])
    assert all(int(name[1:]) % 2 == 0 for name in by_kind["best"])
    assert by_kind["different"] == ["r3", "r5", "r7", "r9"]
    assert 3 <= len(by_kind["other"]) <= 4
    assert (chosen.total, len(chosen.rows)) == (40, len({row.id for row in chosen.rows}))


def test_without_figures_rows_differ_by_their_words(make_predictions, tmp_path):
    for name, right in (("a", lambda place: True), ("b", lambda place: place != 7)):
        write_predictions(tmp_path / f"{name}.json", make_predictions(100, right=right))
    entries = read_entries([tmp_path / "a.json", tmp_path / "b.json"])
    chosen = choose_rows(compare(entries), most=5)
    assert chosen.metric is None
    assert [row.id for row in chosen.rows if "different" in row.kinds] == ["r7"]
    assert len([row for row in chosen.rows if "other" in row.kinds]) == 5


def test_twenty_thousand_predictions_stay_a_small_page(make_predictions, tmp_path):
    long = "word " * 1000
    file = make_predictions(20_000, made=lambda place, text: long if place == 0 else text)
    entries = [Entry(name, tmp_path, predictions=file) for name in ("a", "b")]
    page = report(compare(entries))
    assert len(page) < 200_000
    assert "of 20,000 records are in this page" in page
    assert len(rows_of(page)["rows"]) <= 200
    assert "3,000 more letters" in rows_of(page)["rows"][0]["made"][0]["text"]


def test_no_text_gets_out_of_its_place(make_predictions, make_run, tmp_path):
    predictions = make_predictions(3, made=lambda place, text: NASTY)
    predictions = replace(
        predictions,
        records=tuple(replace(one, references=(NASTY,)) for one in predictions.records),
    )
    run = make_run(tmp_path / "run", predictions, hidden_dim=NASTY)
    (run / "samples").mkdir()
    sample = RunSample(NASTY, "t2t", {"text": NASTY}, {"text": NASTY}, NASTY)
    (run / "samples" / "step-5.json").write_text(json.dumps(to_json(5, [sample])))
    page = report(compare(read_entries([run], names=[NASTY])), title=NASTY, lead=NASTY)
    # The data of the rows, and the page's own script.
    assert page.count("</script>") == page.count("<script") == 2
    assert "<img" not in page.split("<script>")[0]
    assert rows_of(page)["rows"][0]["made"][0]["text"] == NASTY


def test_lone_surrogates_and_other_scripts_are_shown(make_predictions, tmp_path):
    texts = ["\ud800 half", "红色的圆 🔴", "", "مرحبا"]
    file = make_predictions(4, made=lambda place, text: texts[place])
    page = report(compare([Entry("a", tmp_path, predictions=file)]))
    page.encode("utf-8")
    assert [row["made"][0]["text"] for row in rows_of(page)["rows"]][1:] == texts[1:]


@pytest.fixture
def media(tmp_path):
    Image.new("RGB", (400, 200), "red").save(tmp_path / "a.png")
    write_wav(tmp_path / "a.wav", Audio(np.zeros((2, 48_000), np.float32), 48_000))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    record = Prediction("1", "t2ia", "", ("a red thing",))
    records = (
        replace(record, image=str(tmp_path / "a.png"), audio=str(tmp_path / "a.wav")),
        replace(record, id="2", image=str(tmp_path / "broken.png")),
        replace(record, id="3", image=str(tmp_path / "missing.png")),
    )
    return PredictionFile("m", "t2ia", records)


def test_pictures_and_sounds_are_inside_reduced(media, tmp_path):
    page = report(compare([Entry("a", tmp_path, predictions=media)]))
    whole, broken, missing = (row["made"][0] for row in rows_of(page)["rows"])
    assert whole["image"].startswith("data:image/png;base64,")
    assert whole["audio"].startswith("data:audio/wav;base64,")
    # One second of one channel at 16,000 Hz, two bytes each.
    assert len(whole["audio"]) < 44_000
    assert "broken.png: cannot be read as a picture" in broken["broken"]
    assert missing["broken"].startswith("missing.png: ")


def test_media_without_room_are_counted(media):
    budget = MediaBudget(most=1)
    assert set(budget.of(media.records[0].image, media.records[0].audio)) == {"image"}
    assert budget.left_out == 1


def test_nothing_to_show_is_no_error(tmp_path):
    page = report(compare([Entry("empty", tmp_path, notes=("it has nothing",))]))
    assert "empty: it has nothing" in page


def test_scales_put_values_where_they_belong():
    scale = spanning([0.0, 10.0], 100, 0)
    assert scale.place(-0.5) == 100
    assert scale.place(10.5) == 0
    assert scale.place(5) == pytest.approx(50)
    log = spanning([1.0, 100.0], 0, 100, may_be_log=True)
    assert log.is_log
    assert log.place(10) == pytest.approx(50)
    assert log.place(0.0) == 0
    assert around_zero([0.0, 0.0], 0, 10).place(0.0) == 5
    assert [tick_text(x) for x in (0.00075, 0.25, 1500, 2e6, 0)] == [
        "7.5e-4", "0.25", "1.5k", "2M", "0",
    ]  # fmt: skip
    assert Scale(0, 1, 0, 1).ticks() == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert Scale(2, 40, 0, 1, is_log=True).ticks() == [2, 5, 10, 20]
    assert Scale(1, 1e6, 0, 1, is_log=True).ticks() == [1, 100, 1e4, 1e6]
