"""Train, generate, evaluate, resume and interrupt, on a backbone with random weights."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
from safetensors.numpy import load_file

from omniflow.evaluation.predictions import read_predictions


@pytest.fixture
def train(omniflow, random_backbone, small_head):
    """Train three steps, in this process."""

    def run(*arguments):
        return omniflow(
            "train", "--backbone", random_backbone, *small_head, "--max-steps", "3", *arguments
        )

    return run


def test_a_run_in_a_pipe_is_told_line_by_line_and_summed_up(train, tmp_path):
    outcome = train("--output-dir", "run", "--log-interval", "1", "--eval-interval", "2")
    assert outcome.code == 0, outcome.err
    lines = outcome.err.splitlines()
    assert lines[0].startswith("head mlp, refiner none, backbone folder: ")
    logged = [line for line in lines if " loss " in line]
    assert [line.split()[1] for line in logged] == ["1/3", "2/3", "3/3"]
    assert all("lr " in line and "samples/s" in line and "ETA" in line for line in logged)
    evaluated = [line.split()[1] for line in lines if " validation " in line]
    assert evaluated == ["0", "2/3", "3/3"]
    assert "saved run/checkpoints/step-3" in lines
    summary = outcome.out.splitlines()
    assert [line.split()[0] for line in summary] == [
        "run", "steps", "trained", "perplexity", "accuracy", "texts", "records", "next:",
    ]  # fmt: skip
    assert summary[-1] == "next: omniflow generate --checkpoint run"
    names = load_file(tmp_path / "run" / "best" / "model.safetensors").keys()
    assert {name.partition(".")[0] for name in names} == {"head"}


def test_json_is_all_there_is_on_stdout(train):
    outcome = train("--output-dir", "run", "--json")
    result = json.loads(outcome.out)
    assert result["folder"] == "run"
    assert result["steps"] == 3
    assert result["best"]["ppl"] <= result["first"]["ppl"]
    assert result["trainable"] > 0


def test_the_recipe_that_a_run_wrote_repeats_it_bit_for_bit(train, omniflow, tmp_path):
    train("--output-dir", "first")
    assert omniflow("train", "--recipe", "first/recipe.yaml", "--output-dir", "again").code == 0
    first, again = (tmp_path / name / "final/model.safetensors" for name in ("first", "again"))
    assert first.read_bytes() == again.read_bytes()


def test_a_resumed_run_needs_no_flags_and_continues_in_its_folder(train, omniflow, tmp_path):
    train("--output-dir", "run")
    outcome = omniflow("train", "--resume", "run", "--max-steps", "5", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["steps"] == 5
    assert "3 of them done before" in outcome.err
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").open()]
    assert steps[-1] == 5


def test_runs_without_a_name_are_numbered_and_auto_takes_the_last(train, tmp_path):
    for _ in range(2):
        assert train().code == 0
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"mlp-none", "mlp-none-2"}
    assert json.loads(train("--resume", "auto", "--json").out)["folder"] == "runs/mlp-none-2"


def test_predictions_are_generated_from_the_run_s_own_data_and_scored(train, omniflow, tmp_path):
    train("--output-dir", "run")
    outcome = omniflow(
        "generate", "--checkpoint", "run", "--limit", "5", "--batch-size", "2",
        "--max-new-tokens", "4", "--device", "cpu",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "next: omniflow evaluate predictions.json"
    file = read_predictions(tmp_path / "predictions.json")
    assert (file.model, file.task, len(file.records)) == ("run/best", "t2t", 5)
    assert [record.id for record in file.records] == [f"test-{index}" for index in range(5)]
    assert "generating: 5/5" in outcome.err
    scored = omniflow("evaluate", "predictions.json", "--json")
    assert json.loads(scored.out)["samples"] == 5
    assert "perplexity" in json.loads(scored.out)["metrics"]


def test_what_is_made_of_noise_alone_is_not_to_be_scored(saved_model, omniflow):
    short = ["--limit", "1", "--steps", "1", "--max-new-tokens", "4", "--device", "cpu"]
    blind = omniflow("generate", "--checkpoint", str(saved_model), *short, "--noise-level", "1")
    assert blind.code == 0, blind.err
    assert "evaluate" not in blind.out
    assert "no reference to be scored by" in blind.out.splitlines()[-1]


def test_other_data_can_be_given_to_a_checkpoint(saved_model, omniflow, tmp_path):
    (tmp_path / "lines.txt").write_text("\n".join(f"line {number}" for number in range(80)))
    outcome = omniflow(
        "generate", "--checkpoint", saved_model, "--dataset", "text",
        "--set", "dataset.path=lines.txt", "--split", "validation", "--limit", "2",
        "--max-new-tokens", "2", "--output", "out/p.json", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["records"] == 2
    references = [record.references for record in read_predictions(tmp_path / "out/p.json").records]
    assert all(reference.startswith("line ") for (reference,) in references)


def test_every_model_that_fits_a_pattern_gets_a_file_of_its_own(saved_model, omniflow, tmp_path):
    for name in ("step-9", "step-10"):
        shutil.copytree(saved_model, tmp_path / "run" / name)
    outcome = omniflow(
        "generate", "--checkpoint", "run/step-*", "--limit", "2", "--max-new-tokens", "2",
        "--set", "dataset.size=40", "--device", "cpu", "--output", "p.json", "--json",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)["outputs"]
    assert [one["output"] for one in told] == ["p-step-9.json", "p-step-10.json"]
    first, second = (read_predictions(tmp_path / one["output"]) for one in told)
    assert (first.model, second.model) == ("run/step-9", "run/step-10")
    assert first.records == second.records


def test_the_original_script_s_command_line_trains(omniflow, random_backbone, tmp_path):
    outcome = omniflow(
        "train", "--model_path", random_backbone, "--use_latent_refiner", "--num_epochs", "1",
        "--latent_refiner_hidden_dim", "8", "--latent_refiner_layers", "3", "--max_steps", "1",
        "--text_decoder_head_dim", "8", "--output_dir", "run", "--device", "cpu",
        "--set", "training.eval_batches=1",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert outcome.err.startswith("note: in today's spelling: omniflow train --backbone ")
    config = json.loads((tmp_path / "run" / "final" / "config.json").read_text())
    assert config["head"]["latent_dim"] == 8
    assert config["refiner"] == {"name": "mlp", "hidden_dim": 8, "layers": 3}


def test_a_stopped_run_says_how_to_go_on_and_keeps_its_state(random_backbone, small_head, tmp_path):
    process = subprocess.Popen(
        [
            sys.executable, "-m", "omniflow_cli", "train", "--backbone", str(random_backbone),
            *small_head, "--max-steps", "100000", "--epochs", "100000", "--output-dir", "run",
            "--log-interval", "1", "--eval-interval", "100000",
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    for line in process.stderr:
        if line.startswith("step 2/"):
            process.send_signal(signal.SIGTERM)
            break
    out, err = process.communicate(timeout=120)
    assert process.returncode == 143
    assert "error: stopped by SIGTERM after step" in err
    assert "--resume auto" in err
    assert "Traceback" not in err
    assert out == ""
    assert (tmp_path / "run" / "latest" / "training_state" / "state.json").is_file()


def test_a_run_that_never_beat_the_untrained_model_says_so(omniflow):
    # The linear head starts as the trained projection of tiny; such a rate can only spoil it.
    outcome = omniflow(
        "train", "--head", "linear", "--lr", "0.9", "--max-steps", "2", "--batch-size", "4",
        "--set", "training.eval_batches=1", "--output-dir", "run",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "(best: 0)" in outcome.out
    assert "no evaluation was better than the untrained model's" in outcome.err


def test_resuming_where_there_is_no_run_says_that_one_is_started(train):
    outcome = train("--output-dir", "run", "--resume", "auto")
    assert "there is no run to resume in run; starting one" in outcome.err
    again = train("--output-dir", "run", "--resume", "auto")
    assert "all of them done before: raise --epochs or --max-steps" in again.err


@pytest.mark.parametrize("package", ["omniflow-fsq", "no name; at all", None])
def test_a_recipe_s_unknown_name_tells_the_package_of_the_model_beside_it(
    package, saved_model, omniflow, tmp_path
):
    config = json.loads((saved_model / "config.json").read_text())
    component = {"kind": "head", "name": "fsq", "distribution": package, "version": "0.3"}
    config["components"].append(component)
    (tmp_path / "recipe.yaml").write_text("format: omniflow.recipe/1\nhead: fsq\n")
    (tmp_path / "config.json").write_text(json.dumps(config))
    outcome = omniflow("train", "--recipe", "recipe.yaml")
    assert outcome.code == 2
    assert "recipe.yaml:2: no head is called 'fsq'" in outcome.err
    assert outcome.err.count("pip install") == (package == "omniflow-fsq")
