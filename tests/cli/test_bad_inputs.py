"""What a person can get wrong: one clear message, exit code 2, no traceback, nothing written."""

import json
from pathlib import Path

import pytest
from safetensors.numpy import save_file

RECORD = {"id": "1", "task": "t2t", "prediction": "a b c d", "references": ["a b c d"]}

FILES = {
    "lines.txt": "\n".join(f"line number {number}" for number in range(60)),
    "table.csv": "title,body\n" + "\n".join(f"t{number},b{number}" for number in range(60)),
    "empty.txt": "",
    "predictions.json": json.dumps([RECORD]),
    "cut.json": '{"format": "omniflow.predictions/1", "records": [{"id": "1", "task',
    "none.json": "[]",
    "bare.json": json.dumps([RECORD, {"id": "2", "prediction": "x"}]),
    "full/notes.txt": "not to be lost",
    "stopped/recipe.yaml": "format: omniflow.recipe/1\n",
    "broken.yaml": "format: omniflow.recipe/1\nhead:\n  name: [vq\n",
    "twice.yaml": "head: vq\ntraining:\n  lr: 1e-3\n  seed: 1\n  lr: 1e-4\n",
    "value.yaml": "head:\n  name: vq\ntraining:\n  batch_size: many\n",
    "name.yaml": "refiner: none\nhead:\n  name: vqq\n",
    "section.yaml": "head: vq\ntrainin:\n  lr: 1e-3\n",
    "list.yaml": "- head\n- vq\n",
    "format.yaml": "format: omniflow.recipe/9\nhead: vq\n",
    "blank.yaml": "",
    "best_step1000.pt": "",
    "foreign/config.json": json.dumps({"architectures": ["LlamaForCausalLM"]}),
    "hollow/config.json": json.dumps({"format": "omniflow.model/1"}),
}

MISTAKES = {
    # Names
    "command": ("trian", "no command is called 'trian'", "did you mean: train"),
    "flag": ("train --hed vq", "omniflow train: there is no flag '--hed'", "did you mean: --head"),
    "flag of a script": (
        "generate --checkpoint {model} --output_json p.json", "no flag '--output-json'",
        "a flag of the research scripts; today: --output FILE",
    ),
    "metrics without commas": (
        "evaluate predictions.json --metrics bleu meteor", "unexpected extra argument",
        "names of metrics are separated by commas",
    ),
    "file of the script": (
        "generate --checkpoint best_step1000.pt", "best_step1000.pt: is a file",
        "omniflow convert best_step1000.pt",
    ),
    "flag of the program": ("--vesion", "there is no flag '--vesion'", "did you mean: --version"),
    "head": ("train --head vqq", "--head: no head is called 'vqq'", "did you mean: vq", "linear"),
    "refiner": ("train --refiner mpl", "--refiner: no refiner is called", "did you mean: mlp"),
    "backbone": ("train --backbone tinny", "--backbone: no backbone is", "did you mean: tiny"),
    "encoder": ("train --encoder clp", "--encoder: no encoder is called", "did you mean: clip"),
    "dataset": ("train --dataset scene", "--dataset: no dataset is", "did you mean: scenes"),
    "objective": (
        "train --objective text-decodr", "--objective: no objective", "did you mean: text-decoder"
    ),
    "dataset to generate": ("generate --checkpoint {model} --dataset txt", "did you mean: text"),
    "metric": (
        "evaluate predictions.json --metrics bleu,meteo",
        "--metrics: no metric is called 'meteo'", "did you mean: meteor",
    ),
    "kind to list": ("list-components --kind heads", "no kind is called", "did you mean: head"),
    "kind to show": ("show haed vq", "no kind is called 'haed'", "did you mean: head"),
    "name to show": ("show head vqq", "no head is called 'vqq'", "did you mean: vq"),
    "recipe to show": ("show recipe baselin", "no recipe is called", "did you mean: baseline"),
    "recipe": ("train --recipe vq-plus-refinr", "--recipe: no recipe", "mean: vq-plus-refiner"),
    "section": ("train --set haed.x=1", "--set: no section of a recipe", "did you mean: head"),
    "option": (
        "train --head vq --set head.codebok_size=4",
        "--set: no option of head vq is called 'codebok_size'", "did you mean: codebook_size",
    ),
    "option of training": (
        "train --set training.batchsize=4", "--set: no option of training", "batch_size"
    ),
    # Shape of the command line
    "set without value": (
        "train --set head.codebook_size", "--set: 'head.codebook_size' says no value",
        "expected section.option=value",
    ),
    "set of a section": ("train --set head=vq", "--set: 'head' names no option"),
    "set of no dataset": (
        "train --set dataset.3.path=x", "--set: dataset.3.path fits no dataset", "scenes"
    ),
    "set of the model's head": (
        "generate --checkpoint {model} --set head.hidden_dim=4",
        "--set: head.hidden_dim is settled by the checkpoint",
    ),
    "flag without value": ("train --head", "omniflow train", "'--head' requires an argument"),
    "missing argument": ("evaluate", "omniflow evaluate: missing argument 'PREDICTIONS'"),
    "missing flag": ("generate", "omniflow generate: missing option '--checkpoint'"),
    "argument too many": ("train vq", "omniflow train: got unexpected extra argument", "vq"),
    # Values
    "whole number": ("train --batch-size many", "--batch-size: ", "'many'", "whole number"),
    "number": ("train --lr fast", "--lr: ", "'fast'", "expected number"),
    "number for a weight": ("train --ce-weight heavy", "--ce-weight: ", "heavy"),
    "choice": ("train --precision bf61", "--precision: ", "fp32 | bf16", "did you mean: bf16"),
    "choice of a component": (
        "train --set objective.levels=unifrm", "--set: ", "did you mean: uniform"
    ),
    "half a sample": ("train --batch-size 2.5", "--batch-size: ", "whole number"),
    "endless batch": ("train --batch-size 10000000", "--batch-size: ", "at most 65536 samples"),
    "no batch": ("train --batch-size 0", "--batch-size: training.batch_size is 0", ">= 1"),
    "high learning rate": ("train --lr 2", "--lr: training.lr is 2.0", "(0, 1)"),
    "negative steps": ("train --max-steps -3", "--max-steps: training.max_steps is -3"),
    "several at once": (
        "train --head vqq --refiner mpl --keep x", "3 things", "'vqq'", "'mpl'", "--keep"
    ),
    "codebook of one": (
        "train --head vq --set head.codebook_size=1 --backbone {backbone} --output-dir out",
        "--set: head.codebook_size is 1",
    ),
    "dropout": (
        "train --set head.dropout=1.5 --backbone {backbone} --output-dir out",
        "--set: head.dropout is 1.5, expected a number in [0, 1)",
    ),
    "refiner of one layer": (
        "train --refiner mlp --set refiner.layers=1 --backbone {backbone}",
        "--set: refiner.layers is 1",
    ),
    "latent of no width": (
        "train --latent-dim 0 --backbone {backbone}", "--latent-dim: head.latent_dim is 0"
    ),
    "noise level": (
        "train --set objective.contrastive_temperature=-2 --backbone {backbone}",
        "--set: objective.contrastive_temperature is -2.0, expected a number above 0",
    ),
    "negative weight": (
        "train --mse-weight -1 --backbone {backbone}",
        "--mse-weight: objective.weights.mse is -1.0, expected a number >= 0",
    ),
    "length": ("train --max-length 1 --backbone {backbone}", "--max-length: objective.max_length"),
    "device": ("train --device gpu --backbone {backbone}", "--device: ", "'gpu'", "auto, cpu"),
    "size of scenes": (
        "train --set dataset.size=0 --backbone {backbone}", "--set: dataset.size is 0"
    ),
    "limit": ("generate --checkpoint {model} --limit 0", "--limit: limit is 0", ">= 1"),
    "limit in words": ("generate --checkpoint {model} --limit all", "--limit: ", "'all'"),
    "noise to generate": ("generate --checkpoint {model} --noise-level 2", "--noise-level: ", "2"),
    "device to generate": ("generate --checkpoint {model} --device gpu", "--device: ", "'gpu'"),
    "split": ("generate --checkpoint {model} --split tset", "'tset'", "did you mean: test"),
    "task": ("generate --checkpoint {model} --task t3t", "--task: task is 't3t'", "t2t"),
    "media in a file": (
        "generate --checkpoint {model} --task t2i --output p.json", "--output: p.json is not",
        "a folder",
    ),
    "draws and beams": (
        "generate --checkpoint {model} --num-beams 3 --temperature 1", "--num-beams: num_beams is 3"
    ),
    "likeliest of none": (
        "generate --checkpoint {model} --temperature 0 --top-k 4", "--top-k: top_k is 4",
        "a temperature above 0",
    ),
    "text settings for pictures": (
        "generate --checkpoint {model} --task t2i --top-p 0.5", "task t2i makes no text"
    ),
    "processes": ("generate --checkpoint {model} --num-processes 0", "--num-processes"),
    "backbone of a checkpoint": (
        "generate --checkpoint {model} --backbone tiny", "--backbone: the backbone is settled"
    ),
    "pattern without a model": (
        "generate --checkpoint full/*", "--checkpoint full/*: no model fits the pattern",
    ),
    "no metric": ("evaluate predictions.json --metrics ,", "there is no metric to compute"),
    # Files to read
    "no predictions": ("evaluate nothing.json", "nothing.json: there is no such file"),
    "predictions cut off": ("evaluate cut.json", "cut.json:1", "not valid JSON", "cut off"),
    "no records": ("evaluate none.json", "none.json: the file holds no records"),
    "record without references": ("evaluate bare.json", "bare.json, record 2", "no references"),
    "no token scores": ("evaluate predictions.json --metrics accuracy", "no token scores"),
    "no text file": (
        "train --dataset text --set dataset.path=line.txt --backbone {backbone}",
        "line.txt: there is no such file", "did you mean: lines.txt",
    ),
    "empty text file": (
        "train --dataset text --set dataset.path=empty.txt --backbone {backbone}",
        "empty.txt: is empty",
    ),
    "text without a path": ("train --dataset text", "path", "text"),
    "column": (
        "train --dataset text --set dataset.path=table.csv --set dataset.column=bodi "
        "--backbone {backbone}",
        "table.csv", "'bodi'", "did you mean: body",
    ),
    "backbone's folder": ("train --backbone ./nowhere", "nowhere"),
    "folder that is no backbone": ("train --backbone ./full", "full"),
    # Recipes
    "recipe that is not YAML": ("train --recipe broken.yaml", "broken.yaml:4", "YAML"),
    "key given twice": ("train --recipe twice.yaml", "twice.yaml:5: 'lr' is given twice"),
    "value in a recipe": ("train --recipe value.yaml", "value.yaml:4: ", "batch_size", "'many'"),
    "name in a recipe": ("train --recipe name.yaml", "name.yaml:3: no head is called 'vqq'"),
    "section of a recipe": ("train --recipe section.yaml", "section.yaml:3", "mean: training"),
    "recipe that is a list": ("train --recipe list.yaml", "not a recipe"),
    "recipe of another format": ("train --recipe format.yaml", "format.yaml:1", "recipe/1"),
    "empty recipe": ("train --recipe blank.yaml", "blank.yaml: the file is empty"),
    # Folders and files to write
    "folder in use": (
        "train --output-dir full --backbone {backbone}", "full: the folder is not empty", "--resume"
    ),
    "folder that is a file": ("train --output-dir lines.txt --backbone {backbone}", "lines.txt"),
    "folder below a file": (
        "train --output-dir lines.txt/run --backbone {backbone}", "lines.txt/run", "written"
    ),
    "predictions below a file": (
        "generate --checkpoint {model} --output lines.txt/p.json", "--output: ", "cannot be written"
    ),
    "predictions into a folder": (
        "generate --checkpoint {model} --output full", "--output: full is a folder"
    ),
    "results below a file": (
        "evaluate predictions.json --output-json lines.txt/e.json", "--output-json: ", "written"
    ),
    # Checkpoints and runs
    "no checkpoint": ("generate --checkpoint modle", "modle: there is no such folder", "Hub id"),
    "folder without a model": ("generate --checkpoint full", "full: no model in this folder"),
    "model of others": ("generate --checkpoint foreign", "foreign/config.json", "model/1"),
    "hollow model": ("generate --checkpoint hollow", "hollow/config.json: it lacks", "backbone"),
    "no run to resume": ("train --resume nothing", "--resume: there is no nothing"),
    "nothing to resume": ("train --resume full", "--resume: there is no checkpoint", "full"),
    "resume elsewhere": (
        "train --resume full --output-dir other", "--output-dir: other is not the run to resume"
    ),
}  # fmt: skip


@pytest.fixture
def files(tmp_path):
    """A folder with good and bad files in it, and how it looks."""
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


def state_of(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_once_and_changes_nothing(
    mistake, omniflow, files, saved_model, random_backbone
):
    line, *expected = MISTAKES[mistake]
    arguments = line.format(model=saved_model, backbone=random_backbone).split()
    if "--backbone" in arguments:
        # Should a mistake go unnoticed, the run that follows is short.
        arguments += ["--set", "training.max_steps=1"]
    before = state_of(files)
    outcome = omniflow(*arguments)
    assert outcome.code == 2, outcome.err
    for text in expected:
        assert text in outcome.err
    assert outcome.err.count("error: ") == 1
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert state_of(files) == before


def test_there_are_enough_of_them():
    assert len(MISTAKES) >= 25


def test_a_truncated_checkpoint_is_told_with_its_size(omniflow, copied_model):
    weights = copied_model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:500])
    outcome = omniflow("generate", "--checkpoint", "model")
    assert outcome.code == 2
    assert "model/model.safetensors: not a whole safetensors file" in outcome.err
    assert "its size is 500 bytes" in outcome.err
    assert not Path("predictions.json").exists()


def test_foreign_tensors_are_told_by_name(omniflow, copied_model):
    import numpy as np

    save_file({"lm_head.weight": np.zeros((2, 2))}, copied_model / "model.safetensors")
    outcome = omniflow("generate", "--checkpoint", "model")
    assert outcome.code == 2
    assert "the tensors are not those of this model" in outcome.err
    assert "unexpected: lm_head.weight" in outcome.err
    assert "missing: head." in outcome.err


def test_a_mistake_is_json_too_when_asked_for(omniflow):
    outcome = omniflow("train", "--head", "vqq", "--json")
    assert outcome.code == 2
    told = json.loads(outcome.out)
    assert told["error"] == "UnknownNameError"
    assert told["where"] == "--head"
    assert told["nearest"][0] == "vq"
    assert "no head is called 'vqq'" in outcome.err


def test_an_unknown_flag_is_json_too_when_asked_for(omniflow):
    outcome = omniflow("list-components", "--knd", "head", "--json")
    assert json.loads(outcome.out)["nearest"][0] == "--kind"
