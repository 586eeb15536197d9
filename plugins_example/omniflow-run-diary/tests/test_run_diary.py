"""The diary of a run."""

from omniflow_run_diary import omniflow_evaluated, omniflow_run_ended, omniflow_run_started

from omniflow.testing import contract_of

test_plugin = contract_of("plugin", "omniflow-run-diary")


def test_the_diary_tells_the_best_and_the_end(tmp_path):
    recipe = {"head": {"name": "mlp"}, "refiner": {"name": "none"}}
    omniflow_run_started(tmp_path, recipe, 0, 8)
    omniflow_evaluated(tmp_path, 4, {"step": 4, "split": "validation", "ppl": 2.5}, True)
    omniflow_evaluated(tmp_path, 8, {"step": 8, "split": "validation", "ppl": 3.0}, False)
    omniflow_run_ended(tmp_path, "failed", 8, "the disk is full")
    lines = (tmp_path / "diary.md").read_text(encoding="utf-8").split("\n")
    assert lines[1] == "# Step 0 of 8: head mlp, refiner none"
    assert lines[2].startswith("- step 4: best so far, ppl 2.5 (")
    assert lines[3].startswith("- step 8: failed, the disk is full (")
