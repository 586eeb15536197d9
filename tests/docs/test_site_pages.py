"""Pages that tell a way: every block of code is run, in one folder, page by page."""

import json
import re
import runpy
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml

from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.resolve import resolve
from omniflow_cli.app import app, main
from omniflow_cli.spellings import modernise, of_scripts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": [
        "--max-steps", "1", "--batch-size", "2", "--workers", "0", "--device", "cpu",
        "--set", "training.eval_batches=1", "--set", "training.samples=0",
    ],
    "generate": ["--limit", "2", "--steps", "2", "--max-new-tokens", "8", "--device", "cpu"],
    "sample": ["--steps", "1", "--set", "sampling.max_new_tokens=8", "--device", "cpu"],
    "evaluate": ["--resamples", "40"],
}  # fmt: skip


def page(name):
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def blocks(name, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page(name), flags=re.MULTILINE | re.DOTALL)


def lines(name, language="bash"):
    """Command lines without remarks; a backslash at the end of a line joins it to the next."""
    text = re.sub(r" *\\\n *", " ", "".join(blocks(name, language)))
    found = [line.split(" #")[0].strip() for line in text.splitlines()]
    return [line for line in found if line]


@cache
def program():
    """All commands, made once: that takes longer than reading a line with them."""
    return typer.main.get_command(app)


def parsed(words):
    """A command line as its command reads it; raises when it would be refused."""
    command, rest = program(), list(words)
    context = typer.Context(command)
    while hasattr(command, "commands"):
        name = rest.pop(0)
        command = command.commands[name]
    return command.make_context(name, rest, parent=context).params


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of somebody who reads the pages one after another."""
    return tmp_path_factory.mktemp("reader")


@pytest.fixture
def reader(folder, monkeypatch, capsys):
    """Runs commands and snippets there."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")

    class Reader:
        def run(self, line):
            words = shlex.split(line)
            assert words[0] == "omniflow"
            if "--dry-run" in words:
                # Those are run by the tests of docs/dry-run.md.
                return parsed(words[1:])
            capsys.readouterr()
            code = main([*words[1:], *SHORTER.get(words[1], [])])
            told = capsys.readouterr()
            assert code == 0, f"{line}\n{told.err}"
            return told

        def snippet(self, code, name):
            exec(compile(code.replace("seed=1", "seed=1, steps=2"), name, "exec"), {})
            return capsys.readouterr().out

    return Reader()


def test_five_minutes(reader):
    make, install, *commands = lines("index")
    assert re.search(rf"^{make.removeprefix('make ')}:", (ROOT / "Makefile").read_text(), re.M)
    extras = re.search(r"\[(.*)\]", install)[1].split(",")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(re.search(rf"^{extra} = \[", project, re.M) for extra in extras)
    # Those are commands of the README, and run by its tests in this order.
    readme = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(commands) == 5
    assert [line for line in readme if line in commands] == commands
    reader.run(commands[0])
    [snippet] = blocks("index", "python")
    assert "'trainable'" in reader.snippet(snippet, "index")
    assert Path("runs/first/report.html").is_file()


def test_concepts(reader):
    [recipe] = blocks("concepts", "yaml")
    assert resolve(Draft.from_mapping(yaml.safe_load(recipe)), load_plugins().registry)
    for command in lines("concepts"):
        reader.run(command)
    first, again = (Path("runs") / name / "final" for name in ("small-codes", "the-same-again"))
    weights = [(run / "model.safetensors").read_bytes() for run in (first, again)]
    assert weights[0] == weights[1]
    table = page("concepts").split("## A run on disk", 1)[1].split("\n\n", 2)[1]
    for name in set(re.findall(r"`([\w.]+)/?`", table.replace("step-N", ""))) - {
        "samples",
        "skipped.jsonl",
    }:
        assert Path("runs/first", name).exists(), name
    assert Path("runs/first/checkpoints/step-1").is_dir()


def test_components_of_the_concepts_are_there():
    registry = load_plugins().registry
    rows = re.findall(r"^\| (\w+) \| .* \| (`.*`) \|$", page("concepts"), flags=re.MULTILINE)
    for kind, names in rows:
        assert set(re.findall(r"`([\w.-]+)`", names)) <= set(registry.names(kind))
    assert [kind for kind, _ in rows] == [
        "backbone", "head", "refiner", "encoder", "dataset", "objective", "metric",
    ]  # fmt: skip


def test_your_own_pictures_and_sounds(reader):
    make, load = blocks("own-data", "python")
    reader.snippet(make, "own-data")
    assert len(list(Path("media").iterdir())) == 180
    for command in lines("own-data"):
        reader.run(command)
    reader.snippet(load, "own-data")
    for written in ("preview.html", "mine.png", "mine.wav", "captions-results.json", "again.png"):
        assert Path(written).stat().st_size > 0
    records = json.loads(Path("captions.json").read_text())["records"]
    assert all(Path("media", f"{record['id']}.png").is_file() for record in records)


def test_a_python_program(reader):
    [snippet] = blocks("api", "python")
    assert int(reader.snippet(snippet, "api")) > 0


def test_several_processes_and_machines(monkeypatch):
    from torch.distributed.run import get_args_parser

    kinds = {}
    for line in lines("several-gpus"):
        words = shlex.split(line)
        launcher = words[0]
        if launcher == "srun":
            assert "torchrun" in words
            words = words[words.index("torchrun") :]
        if words[0] == "torchrun":
            told = get_args_parser().parse_args(words[1:])
            assert (told.nnodes, told.nproc_per_node, told.rdzv_backend) == ("2", "4", "c10d")
            assert (told.module, told.training_script) == (True, "omniflow_cli")
            words = ["omniflow", *told.training_script_args]
        elif words[0] == "accelerate":
            from accelerate.commands.launch import launch_command_parser

            told = launch_command_parser().parse_args(words[2:])
            assert (told.module, told.num_processes) == (True, 4)
            words = ["omniflow", *told.training_script_args]
        kinds[launcher] = parsed(words[1:])
    assert kinds.keys() == {"omniflow", "torchrun", "srun", "accelerate"}
    assert kinds["omniflow"]["shard"] is True
    assert kinds["srun"] == kinds["torchrun"]


def commands_of(document):
    """Every command of omniflow in its blocks of code, whoever runs it."""
    text = document.read_text(encoding="utf-8")
    found = "".join(re.findall(r"^```\w*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL))
    for line in re.sub(r" *\\\n *", " ", found).splitlines():
        command = re.match(r"(?:.* -m omniflow_cli|omniflow) (?!\[)(.*)", line)
        # Brackets around flags are a manner of telling what there is.
        if command and "[--" not in line:
            yield shlex.split(command[1], comments=True)


def test_commands_of_all_documents_are_spelt_right():
    documents = [*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("plugins_example/*/*.md")]
    commands = [(path.name, words) for path in documents for words in commands_of(path)]
    assert len(commands) > 100
    wrong = []
    for name, words in commands:
        try:
            parsed(modernise(words))
        except Exception as error:  # noqa: BLE001
            wrong.append(f"{name}: {shlex.join(words)}: {error}")
    assert wrong == []


def test_what_is_pushed_is_spelt_right():
    [line] = lines("own-data", "sh")
    assert parsed(shlex.split(line)[1:])["repo"] == "you/mine"


#: Flags of the scripts, in their spelling.
SCRIPTS = {
    "train_text.py": (
        "model_path use_text_decoder_head use_vq_codebook text_decoder_head_dim use_latent_refiner "
        "latent_refiner_hidden_dim latent_refiner_layers data_config max_length batch_size "
        "num_workers num_epochs lr weight_decay warmup_steps ce_weight mse_weight "
        "contrastive_weight use_contrastive output_dir device seed log_interval eval_interval "
        "save_interval"
    ),
    "generate_text.py": (
        "model_path checkpoint use_text_decoder_head use_vq_codebook text_decoder_head_dim "
        "data_config split batch_size max_length num_workers max_batches output_json device seed"
    ),
    "eval_text.py": "predictions metrics output_json",
    "download_data.py": (
        "data-root coco audiocaps llava-cc3m wikitext subset-fraction max-samples streaming "
        "hf-cache-dir download-max-retries download-num-proc force-download"
    ),
    "download_models.py": "models_dir models skip_existing force",
}
TODAY = {
    "train_text.py": "train", "generate_text.py": "generate", "eval_text.py": "evaluate",
    "download_data.py": "download data", "download_models.py": "download models",
}  # fmt: skip


def flags_of(command):
    found = program()
    for name in command.split():
        found = found.commands[name]
    context = typer.Context(found)
    return {spelling for each in found.get_params(context) for spelling in each.opts}


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_flag_of_the_scripts_has_its_row(script):
    section = page("moving").split(f"## {script}", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| (.*?) \| ?(.*?) \|.*\|$", section.split("\n### ")[0], re.MULTILINE)
    told = {flag for row, _ in rows for flag in re.findall(r"--(\w[\w-]*)", row)}
    assert told == set(SCRIPTS[script].split())
    today = {flag for _, row in rows for flag in re.findall(r"--\w[\w-]*", row)}
    assert today <= flags_of(TODAY[script])


@pytest.mark.parametrize("script", ["generate_text.py", "eval_text.py"])
def test_flags_of_the_scripts_that_a_command_lacks_are_told_apart(script):
    flags = {"--" + flag.replace("_", "-") for flag in SCRIPTS[script].split()}
    lacking = flags - flags_of(TODAY[script])
    assert lacking
    assert all(of_scripts(f"omniflow {TODAY[script]}", flag) for flag in lacking)


def test_moving(reader, folder, random_backbone):
    import torch

    import omniflow
    from datasets import Dataset

    (folder / "models").mkdir()
    (folder / "models" / "OmniFlow-v0.5").symlink_to(random_backbone)
    texts = [f"line number {number} of a text" for number in range(60)]
    (folder / "lines.txt").write_text("\n".join(texts))
    Dataset.from_dict({"text": texts}).save_to_disk(folder / "data")
    entry = {"type": "hf_dataset", "path": "data", "text_field": "text"}
    (folder / "config").mkdir()
    splits = {split: {"datasets": [entry]} for split in ("train", "val")}
    (folder / "config" / "data_config.json").write_text(json.dumps(splits))
    projection = omniflow.build(backbone="tiny", head="linear", refiner="none").head
    weights = {name.split(".")[-1]: tensor for name, tensor in projection.state_dict().items()}
    torch.save({"global_step": 1000, "state_dict": weights}, folder / "best_step1000.pt")
    old = [{"id": 0, "reference": "a red circle", "prediction": "a red circle"}]
    (folder / "old_predictions.json").write_text(json.dumps(old))

    train, *commands = lines("moving")
    told = reader.run(train)
    assert "in today's spelling: omniflow train --backbone models/OmniFlow-v0.5" in told.err
    config = json.loads(Path("checkpoints/vq_head_plus_refiner/final/config.json").read_text())
    assert (config["head"]["name"], config["head"]["latent_dim"]) == ("vq", 64)
    for command in commands:
        reader.run(command)
    assert "bleu" in Path("val_metrics.json").read_text()
    [rewrite] = blocks("moving", "python")
    reader.snippet(rewrite, "moving")
    assert "1.0" in reader.run("omniflow evaluate new_predictions.json --metrics rouge").out


def test_defaults_that_are_compared_with_the_scripts(registry):
    recipe = resolve(Draft.from_mapping({"backbone": "published-sizes", "head": "vq"}), registry)
    training = recipe.training
    assert (training.batch_size, training.epochs, training.lr) == (16, 3, 1e-4)
    assert (training.weight_decay, training.warmup_steps, training.seed) == (0.01, 500, 42)
    intervals = training.log_interval, training.eval_interval, training.save_interval
    assert intervals == (100, 1000, 5000)
    assert (recipe.head.options["hidden_dim"], recipe.head.options["codebook_size"]) == (4096, 8192)
    assert recipe.objective.options["max_length"] == 256


def test_the_recipes_of_the_four_experiments():
    table = page("moving").split("| script | recipe |", 1)[1].split("\n\n", 1)[0]
    for switches, name in re.findall(r"^\| `(--.*?)` \| `(.*)` \|$", table, re.MULTILINE):
        words = modernise(["train", *switches.split()])
        said = dict(zip(words[1::2], words[2::2], strict=True))
        recipe = resolve(Draft.from_file(name), load_plugins().registry)
        assert recipe.head.name == said["--head"]
        assert recipe.refiner.name == said.get("--refiner", "none")


def test_troubleshooting(reader, capsys, tmp_path):
    import torch

    from omniflow.errors import TrainingError
    from omniflow.training.failures import failures_told

    for command in lines("troubleshooting"):
        reader.run(command)
    memory, layout = blocks("troubleshooting", "text")
    kept = memory.splitlines()[1].strip()
    with (
        pytest.raises(TrainingError) as caught,
        failures_told(torch.device("cuda:0"), "after step 812", lambda: kept),
    ):
        raise torch.OutOfMemoryError
    assert f"error: {caught.value.render()}\n" == memory
    Path("OmniFlow-v0.5").mkdir()
    words = ["--prompt", "x", "--output", "x.png", "--backbone", "./OmniFlow-v0.5"]
    assert main(["sample", *words]) == 2
    assert capsys.readouterr().err == layout


def test_messages_that_are_quoted_are_those_of_the_code():
    source = "".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))
    for message in re.findall(r"^\| `([a-z][^`]* [^`]*)` \|", page("troubleshooting"), re.M):
        if not message.startswith("--"):
            assert message.removesuffix(" ...") in source, message


def test_settings_that_are_named_exist(registry):
    from omniflow.options import options_of, signature_options
    from omniflow.recipe import TrainingOptions
    from omniflow.sampling.settings import SamplingSettings

    text = "".join(page(name) for name in ("troubleshooting", "own-data", "several-gpus", "moving"))
    known = {
        "training": signature_options(TrainingOptions),
        "sampling": signature_options(SamplingSettings),
        "bleu": options_of(registry.get("metric", "bleu")),
        "rouge": options_of(registry.get("metric", "rouge")),
        "head": options_of(registry.get("head", "vq")),
        "refiner": options_of(registry.get("refiner", "mlp")),
    }
    for section, options in known.items():
        named = set(re.findall(rf"\b{section}\.(\w+)", text)) - {"md", "trainer"}
        assert named <= {option.name for option in options}, section


def test_the_site_holds_every_flag_and_turns_links(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "site"))
    reference = runpy.run_path(str(ROOT / "scripts/site/command_reference.py"))
    text = reference["command_reference"]()
    for command in ("train", "download data", "cache build", "show"):
        section = text.split(f"## omniflow {command}\n", 1)[1].split("\n## ", 1)[0]
        flags = {flag for flag in flags_of(command) if flag.startswith("--")}
        assert flags <= set(re.findall(r"--[\w-]+", section))

    outside = runpy.run_path(str(ROOT / "scripts/site/outside_links.py"))["Outside"]
    (tmp_path / "docs").mkdir()
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "a.py").write_text("x = 1\n")
    source = tmp_path / "docs" / "page.md"
    source.write_text("[plugin](../plugin) [itself](page.md#a) [away](https://a.b) [no](../no)")
    links = outside(tmp_path / "docs", tmp_path)
    made = links.pages([source])
    assert "## `a.py`\n\n`````python\nx = 1\n`````" in made["source/plugin/index.md"]
    turned = links.turned(source.read_text(), source, "page.md")
    expected = (
        "[plugin](source/plugin/index.md) [itself](page.md#a) [away](https://a.b) [no](../no)"
    )
    assert turned == expected

    requests = runpy.run_path(str(ROOT / "scripts/site/requests_out.py"))["requests_out"]
    (tmp_path / "a.html").write_text('<a href="https://a.b"></a><script src="//c.d/e.js"></script>')
    assert requests(tmp_path) == ["a.html: <script> //c.d/e.js"]
