"""`omniflow train --dry-run` as a command."""

import json


def test_a_run_that_is_ready_exits_0_and_writes_nothing(
    omniflow, random_backbone, small_head, tmp_path
):
    outcome = omniflow("train", "--backbone", random_backbone, *small_head, "--dry-run")
    assert outcome.code == 0, outcome.err
    assert list(tmp_path.iterdir()) == []
    lines = outcome.out.splitlines()
    assert lines[0].split() == ["dataset", "split", "records", "readable", "brought"]
    assert lines[1].split() == ["scenes", "train", "40", "8", "of", "8", "text", "8"]
    words = [line.split()[0] for line in lines if line]
    assert {"transformer", "text_vae", "head", "fp32", "step", "evaluation", "run"} <= {*words}
    assert lines[-1].split() == ["verdict", "ready"]


def test_all_findings_come_at_once_and_exit_2(omniflow, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("years of work")
    outcome = omniflow("train", "--head", "vqq", "--lr", "5", "--output-dir", "run", "--dry-run")
    assert outcome.code == 2
    assert outcome.err.count("error: ") == 3
    assert "error: --head: no head is called 'vqq'" in outcome.err
    assert "error: --lr: training.lr is 5.0" in outcome.err
    assert "error: run: the folder is not empty" in outcome.err
    assert outcome.out.split() == ["verdict", "not", "ready,", "3", "to", "put", "right"]


def test_data_that_cannot_be_read_are_told_once(omniflow, random_backbone):
    outcome = omniflow(
        "train", "--backbone", random_backbone, "--dataset", "text", "--device", "cpu",
        "--set", "dataset.path=none.txt", "--batch-size", "4", "--dry-run", "--json",
    )  # fmt: skip
    assert outcome.code == 2
    content = json.loads(outcome.out)
    assert content["ready"] is False
    (finding,) = content["findings"]
    assert finding["problem"] == "there is no such file"
    assert {check["size"] for check in content["data"]} == {0}
    # The model was looked at all the same.
    assert content["parameters"] > 0


def test_json_holds_what_the_tables_show(omniflow, random_backbone, small_head):
    outcome = omniflow("train", "--backbone", random_backbone, *small_head, "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    content = json.loads(outcome.out)
    assert content["ready"] is True
    assert content["findings"] == []
    assert content["trainable"] == sum(part["trained"] for part in content["parts"])
    (estimate,) = content["memory"]
    assert estimate["total"] == sum(
        estimate[name] for name in ("weights", "gradients", "optimizer", "average", "activations")
    )
    assert content["timing"]["step"] > 0
    assert content["disk"]["needed"] > content["disk"]["checkpoint"]


def test_a_run_that_would_be_continued_is_tried_in_its_folder(
    omniflow, random_backbone, small_head, tmp_path
):
    run = ["--output-dir", "run", "--max-steps", "2"]
    assert omniflow("train", "--backbone", random_backbone, *small_head, *run).code == 0
    before = sorted(path for path in tmp_path.rglob("*"))
    outcome = omniflow("train", "--output-dir", "run", "--resume", "auto", "--dry-run")
    assert outcome.code == 0, outcome.err
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_published_sizes_do_not_fit_around_another_model(omniflow, tmp_path):
    outcome = omniflow("train", "--objective", "flow", "--backbone-config", "published")
    assert outcome.code == 2
    assert "transformer_config.in_channels is 16, expected 8, as the parts around" in outcome.err
    assert list(tmp_path.iterdir()) == []


def test_meta_goes_with_a_dry_run_only(omniflow, tmp_path):
    outcome = omniflow("train", "--device", "meta")
    assert outcome.code == 2
    assert "--device: training.device is 'meta'" in outcome.err
    assert list(tmp_path.iterdir()) == []
