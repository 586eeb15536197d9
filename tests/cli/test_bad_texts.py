"""Lines of a text file that cannot be read, through whole commands."""

import json

import pytest

#: Line number to what is wrong with it.
BAD = {
    7: "byte 0xff is not UTF-8",
    23: "not JSON (Expecting value at column 1)",
    41: "nothing where text was expected",
}


@pytest.fixture
def texts(tmp_path):
    lines = [json.dumps({"text": f"line {number}"}).encode() for number in range(1, 61)]
    lines[6], lines[22], lines[40] = b'{"text": "\xff"}', b"words", b'{"text": null}'
    (tmp_path / "book.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return [
        "--dataset", "text", "--set", "dataset.path=book.jsonl", "--set", "dataset.test_share=0",
        "--set", "dataset.validation_share=0.5",
    ]  # fmt: skip


@pytest.mark.parametrize("streaming", ["false", "true"])
def test_a_run_skips_counts_and_lists_them(omniflow, texts, tmp_path, random_backbone, streaming):
    outcome = omniflow(
        "train", *texts, "--set", f"dataset.streaming={streaming}", "--output-dir", "run",
        "--backbone", random_backbone, "--head", "mlp", "--set", "head.hidden_dim=8", "--no-cache",
        "--batch-size", "4", "--max-length", "8", "--max-steps", "16", "--device", "cpu",
        "--set", "training.samples=0", "--set", "training.eval_batches=16",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    lines = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").open()]
    assert {line["id"]: line["reason"] for line in lines} == {
        f"book:{number}": reason for number, reason in BAD.items()
    }
    assert len(lines) == len(BAD)
    told = "book.jsonl: 3 of 60 records cannot be read, the first one in line 7: byte 0xff"
    assert outcome.err.count(told) == (streaming == "false")


def test_others_treat_them_as_any_bad_record(omniflow, texts, tmp_path, saved_model):
    checked = omniflow("data", "check", *texts, "--json")
    assert checked.code == 2
    content = json.loads(checked.out)
    listed = {
        split["split"]: {each["id"]: each["reason"] for each in split["failures"]}
        for split in content["splits"]
    }
    assert listed["train"] | listed["validation"] == {
        f"book:{number}": reason for number, reason in BAD.items()
    }
    allowed = omniflow("data", "check", *texts, "--set", "training.bad_records=0.2")
    assert allowed.code == 0, allowed.err
    for split in ("train", "validation"):
        said = ["--split", split, "--limit", "60", "--output", f"{split}.html"]
        shown = omniflow("data", "preview", *texts, *said)
        assert shown.code == 0, shown.err
        assert f"{len(listed[split])} of them cannot be read" in shown.out
        page = (tmp_path / f"{split}.html").read_text()
        assert all(reason in page for reason in listed[split].values())
    made = omniflow(
        "generate", "--checkpoint", saved_model, "--task", "t2t", *texts, "--split", "validation",
        "--max-new-tokens", "2", "--output", "p.json", "--device", "cpu",
    )  # fmt: skip
    assert made.code == 0, made.err
    predictions = json.loads((tmp_path / "p.json").read_text())
    skipped = {each["id"]: each["reason"] for each in predictions["skipped"]}
    assert skipped == listed["validation"]
    assert all(record in made.err for record in skipped)
    [read] = [split["read"] for split in content["splits"] if split["split"] == "validation"]
    assert len(predictions["records"]) == read - len(skipped)
