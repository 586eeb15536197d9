"""Runs, predictions and results side by side: what is told, tested, and left untold."""

import json
from dataclasses import replace

import pytest

from omniflow.errors import UsageError
from omniflow.evaluation.comparison import compare
from omniflow.evaluation.comparison_table import (
    Table,
    difference_table,
    main_table,
    markdown,
    markdown_table,
)
from omniflow.evaluation.entries import distinct_names, read_entries
from omniflow.evaluation.predictions import write_predictions
from omniflow.evaluation.report import html
from omniflow.evaluation.report.recipes import recipe_table


@pytest.fixture(scope="module")
def comparison(two_runs):
    return compare(read_entries(two_runs), resamples=200)


def test_the_table_holds_what_runs_and_results_tell(comparison):
    table = main_table(comparison)
    half, most = (dict(zip(table.headers, row, strict=True)) for row in table.rows)
    assert half["run"] == "half"
    assert half["parameters"] == "1,000"
    assert half["trained"] == "100"
    assert half["training s"] == "12.5"  # five intervals of 2.5 s, evaluations left out
    assert half["PPL (step)"] == "1.176 (50)"  # 1 + 9 / 51
    assert half["codes"] == "-"
    assert most["codes"] == "60 of 64, 10 dead"
    assert half["exact-match"].startswith("0.5000 [")
    assert most["exact-match"].startswith("0.9500 [")


def test_a_real_difference_is_clear_and_its_direction_told(comparison):
    difference = comparison.differences[1, "exact-match"]
    assert difference.value == pytest.approx(0.45)
    assert difference.interval.low > 0.2
    assert difference.p_value == pytest.approx(2 / 201)
    assert comparison.is_better(1, "exact-match") is True
    # It is nearer to 1, but neither end of it is best.
    assert comparison.is_better(1, "length-ratio") is None
    rows = {row[1]: row for row in difference_table(comparison).rows}
    assert rows["exact-match"][-1] == "better"
    assert rows["exact-match"][4] == "<= 0.00995"


def test_the_same_run_twice_does_not_differ(two_runs):
    found = compare(read_entries([two_runs[0], two_runs[0]]), resamples=100)
    assert found.entries[0].name != found.entries[1].name
    assert found.differences[1, "exact-match"].p_value == 1.0
    assert found.is_better(1, "exact-match") is None


def test_json_is_plain_and_whole(comparison):
    content = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert content["format"] == "omniflow.comparison/1"
    assert [run["name"] for run in content["runs"]] == ["half", "most"]
    assert content["runs"][1]["codes"] == {"perplexity": 60.0, "dead": 10.0, "codebook_size": 64}
    assert content["runs"][0]["ppl"] == {"value": pytest.approx(1 + 9 / 51), "step": 50}
    (first, _) = content["differences"]
    assert (first["run"], first["to"], first["metric"]) == ("most", "half", "exact-match")
    assert first["is_better"] is True


def test_markdown_keeps_cells_apart(two_runs):
    entries = read_entries(two_runs, names=["a|b", "<c>"])
    lines = markdown(compare(entries, resamples=0)).splitlines()
    assert lines[0].startswith("| run | parameters | trained |")
    assert lines[2].startswith("| a\\|b | 1,000 |")
    assert lines[3].startswith("| &lt;c> | 1,000 |")


def test_recipes_differ_where_they_do_and_nowhere_else(comparison):
    table = recipe_table(comparison.entries)
    assert [row[0] for row in table.rows] == ["head.name", "head.hidden_dim", "head.codebook_size"]
    assert table.rows[0][1:] == ["mlp", "vq"]
    assert table.rows[2][1:] == ["-", "64"]


def notes_of(first, second, **settings):
    return " / ".join(compare(read_entries([first, second]), **settings).all_notes())


def test_what_a_run_lacks_is_told(make_run, make_predictions, tmp_path, two_runs):
    bare = make_run(tmp_path / "bare")
    (bare / "metrics.jsonl").write_text('{"step": 5, "split": "train", "loss": 1}\n{"step": 6, "sp')
    (bare / "best" / "config.json").write_text("{}")
    told = notes_of(two_runs[0], bare)
    assert "bare: 1 of the lines of its metrics.jsonl cannot be read" in told
    assert "bare: it has no validation yet" in told
    assert "bare: its checkpoints do not tell how many parameters" in told
    assert "bare: it has no predictions.json, so no predictions are shown" in told
    assert "bare: it has no eval_results.json either, so it has no metrics" in told


def test_other_test_sets_are_not_compared(make_run, make_predictions, renamed, tmp_path, two_runs):
    other = make_run(tmp_path / "other", renamed(make_predictions(), "x"))
    found = compare(read_entries([two_runs[0], other]))
    assert not found.differences
    assert "no record is in both, so they are of different test sets" in found.notes[0]


def test_ids_that_stand_for_other_records_are_not_compared(
    make_run, make_predictions, tmp_path, two_runs
):
    file = make_predictions()
    others = [replace(one, references=("something else",)) for one in file.records[:3]]
    file = replace(file, records=(*others, *file.records[3:]))
    other = make_run(tmp_path / "other", file)
    told = notes_of(two_runs[0], other)
    assert "3 records of one id have other references: different test sets" in told


def test_shared_records_alone_are_compared(make_run, make_predictions, tmp_path, two_runs):
    part = make_run(tmp_path / "part", make_predictions(25))
    found = compare(read_entries([two_runs[0], part]), resamples=100)
    assert found.differences[1, "exact-match"].samples == 25
    assert any("25 records in common, of 25 and 40" in note for note in found.notes)


def test_figures_of_changed_predictions_are_told(make_run, make_predictions, tmp_path, two_runs):
    run = make_run(tmp_path / "run", make_predictions())
    write_predictions(run / "predictions.json", make_predictions(right=lambda place: False))
    entry = read_entries([run])[0]
    assert entry.predictions is None
    assert entry.evaluation is not None
    assert any("it has changed since" in note for note in entry.notes)


def test_files_are_compared_like_runs(two_runs, tmp_path, monkeypatch):
    half, most = two_runs
    predictions, results = half / "predictions.json", most / "eval_results.json"
    first, second = read_entries([predictions, results])
    assert (first.name, second.name) == ("predictions.json", "eval_results.json")
    assert first.evaluation is None
    assert len(first.predictions.records) == 40
    # Results say where the predictions are that they were made of.
    assert second.evaluation.samples == len(second.predictions.records) == 40


def test_names_are_as_long_as_they_have_to_be(tmp_path):
    places = [tmp_path / "a" / "final", tmp_path / "b" / "final"]
    assert distinct_names(places) == ["a/final", "b/final"]
    assert distinct_names([tmp_path / "x", tmp_path / "y"]) == ["x", "y"]


@pytest.mark.parametrize("kind", ["missing", "model", "empty"])
def test_what_is_no_run_is_refused(kind, two_runs, tmp_path, monkeypatch):
    half, _ = two_runs
    monkeypatch.chdir(half.parent)
    if kind == "missing":
        place, expected, near = "halv", "there is no such file or folder", "half"
    elif kind == "model":
        (half / "final").mkdir(exist_ok=True)
        for name in ("config.json", "model.safetensors"):
            (half / "final" / name).write_text("{}")
        place, expected, near = "half/final", "the folder is a saved model, not a run", "half"
    else:
        (tmp_path / "nothing").mkdir()
        place, expected, near = tmp_path / "nothing", "the folder is no run", None
    with pytest.raises(UsageError) as caught:
        read_entries([place])
    assert caught.value.problem == expected
    assert list(caught.value.nearest) == ([near] if near else [])


def test_columns_of_words_are_aligned_at_their_left():
    rows = [["a", "vq", "0.41 [0.40, 0.42]", ""], ["b", "-", "[0.1, 0.2]", "better"]]
    table = Table(["run", "metric", "minus a", "clearly"], rows)
    assert table.figures() == [2]
    assert markdown_table(table).splitlines()[1] == "| --- | --- | ---: | --- |"
    page = html.table(table)
    assert '<th class="word">metric</th><th>minus a</th><th class="word">clearly</th>' in page
    assert '<td class="word">vq</td>' in page
