"""Every command and snippet of docs/evaluation.md is run, in its order."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from omniflow import build
from omniflow.plugins import load_plugins
from omniflow_cli.app import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
CLIP = ROOT / "tests" / "parity" / "data" / "pipeline_tiny" / "external" / "clip_vit_l"

MODULE = """
import datasets
import evaluate


class WordCount(evaluate.Metric):
    def _info(self):
        texts = datasets.Sequence(datasets.Value("string"))
        features = {"predictions": datasets.Value("string"), "references": texts}
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features(features),
        )

    def _compute(self, predictions, references):
        return {"word_count": sum(len(text.split()) for text in predictions)}
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reader(tmp_path_factory, random_backbone):
    """A folder with everything that the commands are given, and nltk without its data."""
    import evaluate
    import nltk

    folder = tmp_path_factory.mktemp("reader")
    (folder / "predictions.json").write_text(blocks("json")[0], encoding="utf-8")
    record = {"id": "1", "prediction": "a red circle", "references": ["a red circle"]}
    (folder / "texts.json").write_text(json.dumps([record]))
    backbone = {"name": "folder", "path": str(random_backbone)}
    build(backbone=backbone, options={"head.hidden_dim": 8}).save_pretrained(
        folder / "runs" / "first"
    )
    shutil.copytree(CLIP, folder / "clip-model")
    (folder / "pictures").mkdir()
    Image.new("RGB", (20, 20), "red").save(folder / "pictures" / "0.png")
    record = {"id": "1", "task": "t2i", "image": "0.png", "references": ["a red picture"]}
    (folder / "pictures" / "manifest.json").write_text(
        json.dumps({"format": "omniflow.media/1", "records": [record]})
    )
    (folder / "word_count").mkdir()
    (folder / "word_count" / "word_count.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("OMNIFLOW_ENABLE_PLUGINS", "")
        patch.setattr(nltk.data, "path", [])
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(folder / "modules"))
        patch.syspath_prepend(str(folder / "modules"))
        yield folder


def test_every_command_and_snippet_works_in_its_order(reader, capsys):
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) == 8
    for command in commands:
        code = main(shlex.split(command)[1:])
        output = capsys.readouterr()
        assert code == 0, f"{command}\n{output.err}"
        if "cider" in command:
            printed = output.out
    [shown] = re.findall(r"^```\n(bleu .*?)\n```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert shown.split() == printed.split()
    for snippet in blocks("python"):
        exec(compile(snippet, "docs/evaluation.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[-1] == "0.0 0.0 0.0 1.0"


def test_every_metric_is_in_the_table():
    rows = re.findall(r"^\| (`.*?) \|", PAGE, flags=re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(.+?)`", row)}
    registered = {one.name for one in load_plugins().registry.components("metric")}
    assert registered - {"huggingface"} <= named


def test_the_keys_of_the_results_are_those_of_the_page(reader):
    """What is written has the keys that the page shows, in that order."""
    shown = json.loads(re.sub(r"\[\], \[\]", "[1], [1]", blocks("json")[1]))
    written = json.loads((reader / "eval_results.json").read_text())
    assert list(written) == list(shown)
    assert list(written["metrics"]["bleu"]) == list(shown["metrics"]["bleu"])
    assert list(written["metrics"]["bleu"]["interval"]) == list(
        shown["metrics"]["bleu"]["interval"]
    )
    assert list(written["records"]) == list(shown["records"])
    assert len(written["records"]["statistics"]["bleu"][0]) == len(
        shown["records"]["statistics"]["bleu"][0]
    )
