"""docs/plugins.md is followed from the empty folder on, and its tables are those of the code."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from omniflow.hooks import LIFECYCLE
from omniflow.plugins import API_VERSION, installed_plugins
from omniflow.testing.contract import CONTRACTS
from omniflow_cli.app import main
from omniflow_cli.plugin_files import BRINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")

#: Whole models are trained by the commands of the page.
SHORTER = [
    "--max-steps", "1", "--batch-size", "2", "--device", "cpu",
    "--set", "training.eval_batches=1", "--set", "training.samples=0",
]  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}[^\n]*\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def rows(heading):
    """Cells of the table below a heading row."""
    head = rf"^\| {re.escape(heading)} \|.*\n\|[ -|]+\n"
    table = re.search(head + r"((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [re.split(r" *\| *", line.strip("| ")) for line in table[1].splitlines()]


@pytest.fixture
def site(tmp_path, monkeypatch):
    """What `pip install -e` leaves, without its minutes: metadata, and the way to the sources."""
    facts = tmp_path / "site" / "omniflow_fsq-0.1.0.dist-info"
    facts.mkdir(parents=True)
    facts.joinpath("METADATA").write_text(
        "Metadata-Version: 2.1\nName: omniflow-fsq\nVersion: 0.1.0\nRequires-Dist: omniflow-zoo\n"
    )
    facts.joinpath("entry_points.txt").write_text("[omniflow]\nfsq = omniflow_fsq\n")
    monkeypatch.delenv("OMNIFLOW_ENABLE_PLUGINS", raising=False)
    yield facts.parent
    for name in [name for name in sys.modules if name.partition(".")[0] == "omniflow_fsq"]:
        del sys.modules[name]
    installed_plugins.cache_clear()


def test_the_way_from_an_empty_folder(site, own_tests, tmp_path, monkeypatch, capsys):
    create, change, install, test = blocks("bash")[0].splitlines()
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(create)[1:]) == 0
    monkeypatch.chdir(change.removeprefix("cd "))
    assert (install, test) == ('pip install -e ".[dev]"', "pytest")
    registration = Path("src/omniflow_fsq/__init__.py").read_text()
    for title, code in re.findall(r'^```python title="(.*?)"\n(.*?)^```', PAGE, re.M | re.S):
        assert Path(title).is_file(), title
        Path(title).write_text(code)
    assert Path("src/omniflow_fsq/__init__.py").read_text() == registration

    for folder in (site, Path("src").absolute()):
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{site}:{Path('src').absolute()}")
    importlib.invalidate_caches()
    installed_plugins.cache_clear()
    assert own_tests(Path.cwd(), "-k", "not trains-in-a-model") > 25

    doctor, show, train, generate = (
        shlex.split(line)[1:] for line in blocks("bash")[1].splitlines()
    )
    capsys.readouterr()
    assert main(doctor) == 0
    assert "omniflow-fsq 0.1.0" in capsys.readouterr().out
    assert main(show) == 0
    assert re.search(r"levels +list of whole number", capsys.readouterr().out)
    assert main([*train, *SHORTER]) == 0, capsys.readouterr().err

    # Removed again, its model says what to install.
    site.joinpath("omniflow_fsq-0.1.0.dist-info", "entry_points.txt").unlink()
    importlib.invalidate_caches()
    installed_plugins.cache_clear()
    capsys.readouterr()
    assert main([*generate, "--limit", "1"]) == 2
    [message] = blocks("text")
    assert message.strip() in " ".join(capsys.readouterr().err.splitlines())
    assert main(["train", "--output-dir", "runs/fsq", "--resume", "auto"]) == 2
    assert "from omniflow-fsq 0.1.0: pip install omniflow-fsq==0.1.0" in capsys.readouterr().err


def test_the_tables_of_kinds_and_contracts_are_those_of_the_code():
    kinds = [row[0] for row in rows("kind")]
    assert sorted(kinds) == sorted(BRINGS)
    named = {name for row in rows("kind") for name in re.findall(r"`(omniflow_\w+)`", row[2])}
    assert named <= set(LIFECYCLE)
    told = {kind for row in rows("contract") for kind in row[0].split(", ")}
    assert told - {"every kind"} == set(CONTRACTS)
    for row in rows("kind"):
        assert all((ROOT / path).is_dir() for path in re.findall(r"plugins_example/[\w-]+", row[3]))


def test_the_names_that_stay_exist_and_the_level_is_that_of_the_code():
    assert f"plugin API**, {API_VERSION} in\nthis release" in PAGE
    for where, names in rows("where"):
        if where.startswith("`omniflow"):
            module = importlib.import_module(where.strip("`"))
            for name in re.findall(r"`(\w+)`", names):
                assert hasattr(module, name), f"{where}.{name}"
