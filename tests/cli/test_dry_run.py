"""`omniflow train --dry-run` as a command."""

import json
import os
import subprocess
import sys

MEASURING = """
import resource, sys
from omniflow_cli.app import main
code = main(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(code)
"""

#: Of the published models, and of the experiment with a VQ head and a refiner.
FROZEN = 3_107_482_784 + 1_578_633_856
TRAINED = 64 * 4096 + 4096 + 4096 * 64 + 64 + 49_728


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


def measured(*arguments, cwd):
    done = subprocess.run(
        [sys.executable, "-c", MEASURING, "train", *arguments, "--dry-run", "--device", "meta"],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OMNIFLOW_ENABLE_PLUGINS": ""},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, int(done.stderr.splitlines()[-1]) * 1024


def test_the_published_sizes_are_counted_and_not_allocated(tmp_path):
    said, peak = measured(
        "--recipe", "vq-plus-refiner", "--backbone-config", "published", "--json", cwd=tmp_path
    )
    content = json.loads(said)
    assert content["parameters"] == FROZEN + TRAINED
    assert content["trainable"] == TRAINED
    parts = {part["name"]: part for part in content["parts"]}
    assert parts["transformer"]["parameters"] == 3_107_482_784
    # Beside the parameters: tables of positions, as wide as a token, for images and sounds.
    values = 3_107_482_784 + 2 * 192**2 * 1536
    assert parts["transformer"]["bytes_bf16"] == parts["transformer"]["bytes"] == 2 * values
    assert parts["transformer"]["bytes_fp32"] == 4 * values
    full, half = content["memory"]
    assert (full["precision"], half["precision"]) == ("fp32", "bf16")
    assert full["weights"] > 9.5e9
    # Logits of 16 texts of 256 tokens over 32,001 words, in float32, more than once.
    assert full["activations"] > 2 * 16 * 256 * 32_001 * 4
    assert content["timing"] is None
    assert peak < 1.5e9
    assert list(tmp_path.iterdir()) == []


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
