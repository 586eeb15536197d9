"""list-components, show, list-recipes, help and the version."""

import json
import re
import sys

import pytest

from omniflow.plugins import list_components
from omniflow.recipe import shipped_recipes
from omniflow.version import __version__

COMMANDS = [
    "sample", "demo", "train", "generate", "evaluate", "compare", "experiment", "convert", "push",
    "pull", "list-components", "show", "list-recipes", "new-plugin", "doctor", "download", "cache",
    "data",
]  # fmt: skip

PLUGIN = """
from omniflow import hookimpl
from omniflow.interfaces import Metric, Score


class Length(Metric):
    \"\"\"Mean length of the predictions.

    Args:
        unit: What is counted.
    \"\"\"

    def __init__(self, *, unit: str = "characters") -> None:
        self.unit = unit

    def compute(self, predictions):
        total = sum(len(prediction.prediction) for prediction in predictions)
        return Score(total / len(predictions), {"unit": self.unit})


@hookimpl
def omniflow_register(register):
    register(kind="metric", name="NAME", target=Length, summary="Mean length")
"""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a distribution with one plugin module on the path, as pip would."""
    monkeypatch.delenv("OMNIFLOW_ENABLE_PLUGINS")
    monkeypatch.setenv("OMNIFLOW_DISABLE_PLUGINS", "builtin")

    def put(distribution, source):
        site = tmp_path / f"site-{distribution}"
        module = distribution.replace("-", "_")
        facts = site / f"{module}-0.3.dist-info"
        facts.mkdir(parents=True)
        facts.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.3\n"
        )
        facts.joinpath("entry_points.txt").write_text(f"[omniflow]\n{module} = {module}\n")
        site.joinpath(f"{module}.py").write_text(source)
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return put


def test_the_version_is_that_of_the_distribution(omniflow):
    assert omniflow("--version").out == f"omniflow-zoo {__version__}\n"


def test_the_command_alone_shows_its_help(omniflow):
    outcome = omniflow()
    assert outcome.code == 0
    assert outcome.out == omniflow("--help").out


def test_help_names_the_commands_of_this_release_and_no_other(omniflow):
    lines = omniflow("--help").out.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()
    assert [line.split()[0] for line in lines] == COMMANDS
    assert not any(line.endswith("...") for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(omniflow, name):
    outcome = omniflow(name, "--help")
    assert outcome.code == 0
    assert f"  omniflow {name}" in outcome.out.partition("Examples:")[2]


def test_components_are_listed_on_a_line_each_with_their_origin(omniflow):
    lines = omniflow("list-components").out.splitlines()
    assert [line.split()[:2] for line in lines] == [[c.kind, c.name] for c in list_components()]
    assert all(line.endswith(f"omniflow-zoo {__version__}") for line in lines)


def test_one_kind_is_listed_alone_as_json_too(omniflow):
    listed = json.loads(omniflow("list-components", "--kind", "head", "--json").out)
    assert [entry["name"] for entry in listed] == [c.name for c in list_components("head")]
    assert listed[0]["distribution"] == "omniflow-zoo"


def test_a_plugin_of_somebody_else_is_listed_shown_and_used(omniflow, install, tmp_path):
    install("omniflow-length", PLUGIN.replace("NAME", "length"))
    listed = omniflow("list-components", "--kind", "metric").out
    assert re.search(r"^metric  length +Mean length", listed, flags=re.MULTILINE)
    shown = omniflow("show", "metric", "length").out
    assert "omniflow-length 0.3" in shown
    assert "Mean length of the predictions." in shown
    assert "unit  text  characters  What is counted." in shown
    assert "set them with: --set length.unit=VALUE" in shown
    (tmp_path / "p.json").write_text('[{"id": "1", "prediction": "abcd", "references": ["a"]}]')
    assert omniflow("evaluate", "p.json", "--metrics", "length").out == "length  4.0000\n"


def test_a_name_that_two_claim_is_listed_with_both_spellings(omniflow, install):
    install("omniflow-length", PLUGIN.replace("NAME", "bleu"))
    out = omniflow("list-components", "--kind", "metric").out
    assert "omniflow-zoo:bleu" in out
    assert "omniflow-length:bleu" in out
    assert "claimed twice: metric 'bleu'; say omniflow-length:bleu or omniflow-zoo:bleu" in out
    refused = omniflow("show", "metric", "bleu")
    assert refused.code == 2
    assert "claimed by omniflow-length 0.3 and omniflow-zoo" in refused.err
    assert "omniflow-length 0.3" in omniflow("show", "metric", "omniflow-length:bleu").out


def test_a_plugin_that_fails_is_told_below_the_list_and_once(omniflow, install):
    install("omniflow-broken", "raise RuntimeError('no such moon')")
    outcome = omniflow("list-components", "--kind", "head")
    assert outcome.code == 0
    last = outcome.out.splitlines()[-1]
    assert last.startswith("not loaded: omniflow-broken 0.3: RuntimeError: no such moon")
    assert outcome.err == ""


def test_a_plugin_that_fails_is_a_warning_elsewhere(omniflow, install):
    install("omniflow-broken", "raise RuntimeError('no such moon')")
    outcome = omniflow("show", "metric", "bleu")
    assert outcome.code == 0
    assert outcome.err.startswith("warning: plugin omniflow_broken of omniflow-broken 0.3 is not")
    assert outcome.err.count("warning:") == 1


def test_a_head_is_shown_with_its_options_and_what_the_backbone_fills_in(omniflow):
    out = omniflow("show", "head", "mlp").out
    assert "omniflow.heads.mlp:MLPHead" in out
    assert "Two-layer perceptron over the backbone's text features." in out
    assert "Width of the hidden layer, at least 1." in out
    assert "filled in from the backbone: feature_dim, latent_dim" in out


def test_a_head_as_json_holds_types_and_defaults(omniflow):
    shown = json.loads(omniflow("show", "head", "vq", "--json").out)
    options = {option["name"]: option for option in shown["options"]}
    assert options["codebook_size"]["default"] == 8192
    assert options["codebook_size"]["type"] == "whole number"
    assert options["features"]["type"] == "hidden | x0"
    assert shown["filled_in"] == ["feature_dim", "latent_dim"]
    assert "feature_dim" not in options


def test_an_option_without_default_is_required(omniflow):
    shown = json.loads(omniflow("show", "dataset", "text", "--json").out)
    path = next(option for option in shown["options"] if option["name"] == "path")
    assert path["required"] is True


@pytest.mark.parametrize("component", list_components(), ids=lambda c: f"{c.kind}-{c.name}")
def test_every_built_in_component_can_be_shown(omniflow, component):
    outcome = omniflow("show", component.kind, component.name)
    assert outcome.code == 0, outcome.err
    assert component.summary in outcome.out


def test_recipes_are_listed_with_what_they_are_for(omniflow):
    lines = omniflow("list-recipes").out.splitlines()
    assert [line.split()[0] for line in lines] == list(shipped_recipes())
    assert all(len(line.split()) > 3 for line in lines)


def test_a_recipe_is_shown_as_its_file(omniflow):
    assert omniflow("show", "recipe", "vq").out == shipped_recipes()["vq"].read_text()


def test_a_recipe_as_json_is_plain_data(omniflow):
    shown = json.loads(omniflow("show", "recipe", "vq", "--json").out)
    assert shown["recipe"]["head"]["name"] == "vq"
