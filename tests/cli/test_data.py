"""`omniflow data check` and `omniflow data preview` as commands."""

import json

import pytest


@pytest.fixture
def book(tmp_path):
    (tmp_path / "book.txt").write_text("".join(f"line {number}\n" for number in range(90)))
    return ["--dataset", "text", "--set", "dataset.path=book.txt"]


def test_usable_data_exit_0_and_write_nothing(omniflow, book, tmp_path):
    outcome = omniflow("data", "check", *book, "--max-length", "3")
    assert outcome.code == 0, outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]
    lines = [line.split() for line in outcome.out.splitlines()]
    assert lines[0] == ["dataset", "split", "records", "readable", "bring", "serve"]
    count = lines[1][2]
    assert lines[1] == ["text", "train", count, count, "of", count, "text", count, "t2t", count]
    [tokens] = [line for line in lines if line[1:3] == ["train", "tokens"]]
    # "line 12" and what begins and ends it: more than three tokens.
    assert (tokens[3], tokens[-1]) == (count, "100.0%")
    assert lines[-2:] == [["duplicates", "none,", "everything", "compared"], ["verdict", "usable"]]


def test_json_holds_the_same(omniflow, book):
    outcome = omniflow("data", "check", "vq", *book, "--records", "5", "--texts", "7", "--json")
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.out)
    assert content["usable"] is True
    report = content["splits"][0]
    assert (report["dataset"], report["split"], report["read"]) == ("text", "train", 7)
    assert report["modalities"] == {"text": 7}
    assert {each["modality"] for each in content["repeats"]} == {"text"}


def test_what_cannot_be_used_exits_2_with_the_reason(omniflow, tmp_path):
    rows = "".join(f"a pet,{number}.png\n" for number in range(30))
    (tmp_path / "pets.csv").write_text("caption,image\n" + rows)
    pets = ["--dataset", "csv", "--set", "dataset.path=pets.csv"]
    outcome = omniflow("data", "check", *pets, "--modalities", "text,image")
    assert outcome.code == 2
    assert "records cannot be read, expected at most 0.01 of them" in outcome.err
    assert "'0.png': there is no such file" in outcome.out
    assert "(--json)" in outcome.out
    missing = omniflow("data", "check", "--dataset", "text", "--set", "dataset.path=no.txt")
    assert missing.code == 2
    assert missing.err.count("error: ") == 1
    assert "no.txt: there is no such file" in missing.err
    assert "not usable, 1 to put right" in missing.out


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (["check", "scenes"], "did you mean: --dataset scenes"),
        (["check", "vqq"], "RECIPE: no recipe or file is called 'vqq'"),
        (["check", "--records", "0"], "--records: records is 0"),
        (["check", "--texts", "many"], "--texts: texts is 'many'"),
        (["check", "--modalities", "text,picture"], "--modalities: 'picture' is no modality"),
        (["preview", "--limit", "-1"], "--limit: limit is -1"),
        (["preview", "--output", "page.pdf"], "--output: page.pdf is no page"),
        (["preview", "--split", "trian"], "there is no split 'trian'"),
        (["check", "--dataset", "scenes", "--data-config", "c.json"], "datasets are said twice"),
        (["chekc"], "no command is called 'chekc'"),
    ],
)
def test_mistakes_exit_2(omniflow, said, message, tmp_path):
    outcome = omniflow("data", *said)
    assert outcome.code == 2
    assert message in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_a_preview_is_one_page(omniflow, tmp_path):
    outcome = omniflow("data", "preview", "--output", "new/preview.html", "--limit", "4")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "new/preview.html: 4 records\n"
    page = (tmp_path / "new/preview.html").read_text()
    assert page.count("<figure>") == page.count("<img") == page.count("<audio") == 4
    assert "serves t2t" in page
