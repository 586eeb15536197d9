"""`omniflow compare` from the command line: what it prints and writes, and what it refuses."""

import json

import pytest

from omniflow.evaluation.predictions import pair_predictions, write_predictions


@pytest.fixture
def predictions(tmp_path):
    """Two files of predictions, one of them all wrong."""
    wanted = [f"a red circle above square {number}" for number in range(30)]
    for name, made in (("right", wanted), ("wrong", ["a blue star"] * 30)):
        file = pair_predictions(made, wanted, task="t2t")
        write_predictions(tmp_path / f"{name}.json", file)


def test_files_are_scored_compared_and_shown(omniflow, predictions, tmp_path):
    done = omniflow("compare", "right.json", "wrong.json", "--metrics", "exact-match,length-ratio")
    assert done.code == 0, done.err
    first, second = done.out.split("\n\n")[:2]
    assert first.splitlines()[0].split()[:2] == ["run", "records"]
    assert "1.0000 [1.0000, 1.0000]" in first
    row = next(line for line in second.splitlines() if "exact-match" in line)
    assert row.split()[2] == "-1.0000"
    assert row.endswith("worse")
    assert "written: report.html" in done.err
    assert "wrong.json" in (tmp_path / "report.html").read_text()


def test_json_and_markdown_stand_alone_on_stdout(omniflow, predictions):
    asked = ("compare", "right.json", "wrong.json", "--metrics", "exact-match", "--resamples", "50")
    content = json.loads(omniflow(*asked, "--json").out)
    assert content["differences"][0]["p_value"] == pytest.approx(2 / 51)
    assert content["report"] == "report.html"
    written = omniflow(*asked, "--markdown", "-").out
    assert written.startswith("| run | records | exact-match |\n| --- | ---: | ---: |\n")


def test_figures_are_pictures(omniflow, predictions, tmp_path):
    from PIL import Image

    done = omniflow(
        "compare", "right.json", "--metrics", "exact-match", "--figures", "out/of/sight"
    )
    assert done.code == 0, done.err
    with Image.open(tmp_path / "out" / "of" / "sight" / "metric-exact-match.png") as picture:
        assert picture.width > 800


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["rigth.json"], ["no such file or folder", "did you mean: right.json"]),
        (["right.json", "--metrics", "exact"], ["no metric is called 'exact'", "exact-match"]),
        (["right.json", "--resamples", "7"], ["--resamples", "0 for no interval, or 40 and more"]),
        (["right.json", "--rows", "0"], ["--rows", "a whole number >= 1"]),
        (["right.json", "--output", "."], ["--output", "is a folder"]),
        (["broken.json"], ["broken.json", "not valid JSON"]),
        ([], ["Missing argument"]),
    ],
)
def test_a_mistake_is_one_message_and_writes_nothing(
    arguments, told, omniflow, predictions, tmp_path
):
    (tmp_path / "broken.json").write_text('{"format": "omniflow.predictions/1", "records": [{')
    done = omniflow("compare", *arguments)
    assert done.code == 2
    assert "Traceback" not in done.err
    for words in told:
        assert words.lower() in done.err.lower()
    assert not (tmp_path / "report.html").exists()


def test_figures_without_matplotlib_say_what_to_install(omniflow, predictions, monkeypatch):
    monkeypatch.setattr("omniflow.evaluation.figures.find_spec", lambda name: None)
    done = omniflow("compare", "right.json", "--figures", "figures")
    assert done.code == 2
    assert 'pip install "omniflow-zoo[report]"' in done.err
