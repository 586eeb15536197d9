"""`omniflow cache`: whole commands."""

import json
import os
import signal
import subprocess
import sys

import pytest

RECIPE = """
format: omniflow.recipe/1
backbone: tiny
head: linear
dataset: [{name: scenes, size: 40}]
training: {batch_size: 8, eval_batches: 2, device: cpu}
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty cache, and a recipe beside it."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.setenv("OMNIFLOW_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_empty_cache_is_told_as_empty(place, omniflow):
    done = omniflow("cache", "info")
    assert done.code == 0
    assert done.out.splitlines() == [f"folder   {place}", "entries  0", "size     0.0 MB"]
    assert not place.exists()


def test_the_commands_are_listed_without_one(omniflow):
    done = omniflow("cache")
    assert done.code == 0
    for name in ("info", "clear", "build"):
        assert name in done.out


def test_filling_telling_and_clearing(place, omniflow):
    filled = omniflow("cache", "build", "recipe.yaml")
    assert filled.code == 0
    # 40 samples of the training split and two batches of the other, of which some texts are alike.
    assert filled.out.startswith(f"{place}: ")
    assert filled.out.endswith("(56 samples)\n")
    assert "samples: 56/56" in filled.err
    content = json.loads(omniflow("cache", "info", "--json").out)
    [space] = content["spaces"]
    assert content["folder"] == str(place)
    assert (space["component"], space["work"]) == ("backbone tiny", "text_latents")
    assert space["entries"] == content["entries"]
    assert space["bytes"] == content["bytes"] > 56 * 16 * 64
    again = json.loads(omniflow("cache", "build", "recipe.yaml", "--json").out)
    assert again["computed"] == 0
    assert again["found"] == again["samples"] == 56
    shown = omniflow("cache", "info").out.splitlines()
    assert shown[-1].split()[:4] == ["backbone", "tiny", "text_latents", "tiny"]
    assert json.loads(omniflow("cache", "clear", "--older-than", "1", "--json").out)["shards"] == 0
    cleared = omniflow("cache", "clear")
    assert cleared.code == 0
    assert cleared.out.startswith(f"{place}: {content['entries']} entries removed, ")
    assert json.loads(omniflow("cache", "info", "--json").out)["bytes"] == 0


def test_another_folder_can_be_named(place, omniflow, tmp_path):
    other = tmp_path / "other"
    done = omniflow("cache", "build", "recipe.yaml", "--set", f"training.cache_dir={other}")
    assert done.out.startswith(f"{other}: ")
    told = json.loads(omniflow("cache", "info", "--cache-dir", other, "--json").out)
    assert told["entries"] > 0
    assert not place.exists()


@pytest.mark.parametrize("days", ["-1", "0", "soon", "nan", "inf"])
def test_days_that_are_none_are_refused(place, omniflow, days):
    done = omniflow("cache", "clear", "--older-than", days)
    assert done.code == 2
    assert f"--older-than: older_than is '{days}', expected a number of days above 0" in done.err


def test_a_recipe_that_wants_no_cache_is_not_filled(place, omniflow):
    done = omniflow("cache", "build", "recipe.yaml", "--set", "training.cache=false")
    assert done.code == 2
    assert "training.cache is False, expected true, to fill the cache" in done.err


def test_an_unknown_recipe_is_told_with_the_nearest(place, omniflow):
    done = omniflow("cache", "build", "vqq")
    assert done.code == 2
    assert "RECIPE: no recipe or file is called 'vqq'" in done.err
    assert "did you mean: vq" in done.err


def test_a_file_in_the_place_of_the_cache_is_refused(place, omniflow):
    place.write_text("")
    done = omniflow("cache", "build", "recipe.yaml")
    assert done.code == 2
    assert f"{place}: is a file, expected a folder for the cache" in done.err


def test_a_limit_that_is_none_is_refused(place, omniflow):
    done = omniflow("cache", "build", "recipe.yaml", "--set", "training.cache_limit_gb=0")
    assert done.code == 2
    assert "training.cache_limit_gb is 0.0, expected a number above 0" in done.err


def test_filling_goes_on_where_it_was_stopped(place, omniflow, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "omniflow_cli", "cache", "build", "recipe.yaml",
         "--set", "dataset.size=1200"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while "samples: " not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    # What was computed before is there, so less is left than there was.
    kept = json.loads(omniflow("cache", "info", "--json").out)["entries"]
    assert kept >= 80
    rest = json.loads(omniflow("cache", "build", "recipe.yaml", "--json").out)
    assert rest["found"] > 0
    assert list(place.rglob("*.tmp")) == []


def test_help_and_info_need_no_torch(place, tmp_path):
    script = """
import sys
from omniflow_cli.app import main
for words in (["--help"], ["info", "--help"], ["clear", "--help"], ["build", "--help"]):
    main(["cache", *words])
print("numpy" in sys.modules)
main(["cache", "info"])
print("torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    lines = done.stdout.splitlines()
    assert lines.count("False") == 2
