"""Trackers: every line with its step, once, however often a run is continued."""

import json
import os
import sys
import time
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from omniflow.draft import Draft
from omniflow.errors import ConfigError
from omniflow.interfaces import Dataset, Sample
from omniflow.options import signature_options
from omniflow.recipe import TRACKERS, TrainingOptions
from omniflow.redaction import without_secrets
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training import trackers
from omniflow.training.processes import Processes
from omniflow.training.reporter import Reporter
from omniflow.training.tracking import TrackerReporter, flat
from omniflow.training.trainer import train
from omniflow.training.watchers import Watchers

SECRET = "hf_" + "a1B2" * 8


class GuardedTexts(Dataset):
    """A few texts behind a token.

    Args:
        token: What opens them.
        source: Where they come from.
    """

    def __init__(self, *, split: str, token: str = "", source: str = "") -> None:
        self.split = split

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return Sample(id=f"{self.split}-{index}", text=f"{self.split} text number {index}")


class Killed(Reporter):
    """Breaks the run at a step, as a lost machine would: nothing is saved."""

    def __init__(self, step):
        self.step = step

    def stepped(self, step):
        if step == self.step:
            raise RuntimeError("the power is gone")


@pytest.fixture
def registry(registry):
    registry.add([Component("dataset", "guarded", GuardedTexts, "Texts", Origin("tests", "0"))])
    return registry


@pytest.fixture
def recipe(registry, random_backbone):
    def make(*names, **training):
        return resolve(
            Draft.from_mapping(
                {
                    "backbone": {"name": "folder", "path": str(random_backbone)},
                    "head": {"name": "mlp", "hidden_dim": 8},
                    "dataset": {
                        "name": "guarded",
                        "token": SECRET,
                        "source": f"https://me:{SECRET}@example.org/texts?lang=en",
                    },
                    "training": {
                        "batch_size": 2, "max_steps": 6, "log_interval": 1, "eval_interval": 2,
                        "save_interval": 2, "eval_batches": 1, "trackers": list(names), **training,
                    },
                }
            ),
            registry,
        )  # fmt: skip

    return make


def lines_of(folder):
    """(name, step) -> value of every figure in metrics.jsonl."""
    listed = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return {
        (f"{line['split']}/{name}", line["step"]): value
        for line in listed
        for name, value in line.items()
        if name not in ("split", "step")
    }


def scalars(folder):
    """(name, step) -> value, as tensorboard itself reads them; a step twice is an error."""
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    listed = [
        ((name, event.step), event.value)
        for name in events.Tags()["scalars"]
        for event in events.Scalars(name)
    ]
    assert len(dict(listed)) == len(listed)
    return dict(listed)


def hyperparameters(folder):
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    values = HParamsPluginData.FromString(content).session_start_info.hparams
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


def approximately(figures):
    """tensorboard keeps single precision."""
    return pytest.approx(figures, rel=1e-6)


def test_tensorboard_holds_every_figure_of_metrics_jsonl_at_its_step(recipe, registry, tmp_path):
    train(recipe("tensorboard"), output_dir=tmp_path / "run", registry=registry)
    written = lines_of(tmp_path / "run")
    assert {("train/loss", 6), ("validation/ppl", 0), ("validation/ppl", 6)} <= written.keys()
    assert scalars(tmp_path / "run") == approximately(written)


def test_tensorboard_holds_the_recipe_as_hyperparameters_without_its_secrets(
    recipe, registry, tmp_path
):
    train(recipe("tensorboard", max_steps=1), output_dir=tmp_path / "run", registry=registry)
    found = hyperparameters(tmp_path / "run")
    assert found["training.batch_size"] == 2.0
    assert found["head.name"] == "mlp"
    assert found["dataset.0.token"] == "***"
    assert found["dataset.0.source"] == "https://***@example.org/texts?lang=en"
    files = [path for path in (tmp_path / "run/tensorboard").rglob("*") if path.is_file()]
    assert files
    assert not any(SECRET.encode() in path.read_bytes() for path in files)


def test_a_continued_run_has_every_step_once(recipe, registry, tmp_path):
    run = tmp_path / "run"
    for stop_at in (4, 6):
        # It dies in the step after a checkpoint and a line that nobody will know of.
        with pytest.raises(RuntimeError, match="power"):
            train(
                recipe("tensorboard", save_interval=3), output_dir=run, registry=registry,
                resume=stop_at > 4, reporter=Killed(stop_at),
            )  # fmt: skip
    train(recipe("tensorboard"), output_dir=run, registry=registry, resume=True)
    assert scalars(run) == approximately(lines_of(run))


class StandIn(ModuleType):
    """What of the package wandb is used, keeping what it is told; the true one has no room here."""

    def __init__(self):
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None, origin="here")
        self.inits = []
        self.lines = []
        self.settings = {}
        self.finished = 0
        self.config = SimpleNamespace(update=lambda values, **how: self.settings.update(values))

    def init(self, **options):
        self.inits.append(options)
        return SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, values, step):
        self.lines.append((step, values))

    def finish(self):
        self.finished += 1


@pytest.fixture
def wandb(monkeypatch):
    for variable in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(variable)
    module = StandIn()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_a_tracker_that_cannot_forget_is_told_every_step_once(recipe, registry, tmp_path, wandb):
    run = tmp_path / "run"
    # Twice from step 3: to step 5 first, and then less far.
    for number, stop_at in enumerate((6, 5)):
        with pytest.raises(RuntimeError, match="power"):
            train(
                recipe("wandb", save_interval=3), output_dir=run, registry=registry,
                resume=number > 0, reporter=Killed(stop_at),
            )  # fmt: skip
    train(recipe("wandb", save_interval=3), output_dir=run, registry=registry, resume=True)

    told = [(name, step) for step, values in wandb.lines for name in values]
    assert sorted(told) == sorted(lines_of(run))
    assert [options.get("resume") for options in wandb.inits] == [None, "allow", "allow"]
    assert len({options["id"] for options in wandb.inits}) == 1
    assert wandb.finished == 3


def test_wandb_is_told_settings_and_nothing_that_may_hold_secrets(
    recipe, registry, tmp_path, wandb, monkeypatch
):
    monkeypatch.setenv("WANDB_NAME", "another name")
    train(recipe("wandb", max_steps=1), output_dir=tmp_path / "run", registry=registry)
    [options] = wandb.inits
    assert options["project"] == "omniflow"
    assert options["dir"] == str(tmp_path / "run")
    assert "name" not in options
    assert options["settings"]["x_disable_meta"]
    assert options["settings"]["console"] == "off"
    assert wandb.settings["training.max_steps"] == 1
    assert SECRET not in repr((wandb.settings, options, wandb.lines))


def test_a_tracker_named_later_is_told_from_there_on(recipe, registry, tmp_path, wandb):
    run = tmp_path / "run"
    train(recipe(max_steps=2), output_dir=run, registry=registry)
    assert not (run / "trackers.json").exists()
    train(recipe("wandb", max_steps=4), output_dir=run, registry=registry, resume=True)
    assert {step for step, _ in wandb.lines} == {3, 4}
    assert "resume" not in wandb.inits[0]


def test_a_tracker_that_fails_does_not_end_the_run(
    recipe, registry, tmp_path, wandb, monkeypatch, caplog
):
    def broken(values, step):
        raise OSError(f"no way to https://me:{SECRET}@tracker")

    monkeypatch.setattr(wandb, "log", broken)
    result = train(recipe("wandb"), output_dir=tmp_path / "run", registry=registry)
    assert result.steps == 6
    assert [record.getMessage() for record in caplog.records] == [
        "tracker wandb failed in log: OSError: no way to https://***@tracker; the run goes on "
        "(metrics.jsonl has every line)",
        "tracker wandb failed 10 times in this run",
    ]
    assert wandb.finished == 1


def test_a_tracker_that_cannot_start_is_refused_and_the_folder_left_alone(
    recipe, registry, tmp_path, monkeypatch, wandb
):
    def refuse(**options):
        raise RuntimeError("no key:\n log in first")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(ConfigError, match="can be started\n  no key: log in first"):
        train(recipe("tensorboard", "wandb"), output_dir=tmp_path / "run", registry=registry)
    assert not (tmp_path / "run").exists()


def test_the_main_process_alone_tracks(recipe, registry, tmp_path, wandb):
    class Other(Processes):
        """The second of two, without the first."""

        def on_main(self, action):
            assert not self.is_main

    watchers = Watchers(recipe("wandb"), tmp_path, registry, Reporter(), Other(rank=1, count=2))
    watchers.start(0)
    with watchers.told(None, lambda: 0):
        watchers.reporter.logged({"split": "train", "step": 1, "loss": 1.0})
    assert wandb.inits == wandb.lines == []
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_without_its_package_is_refused_with_what_to_install(
    recipe, registry, tmp_path, monkeypatch
):
    wanted = recipe("tensorboard", "wandb")
    # What wandb leaves in a folder is no package.
    (tmp_path / "here/wandb").mkdir(parents=True)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "here")])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(ConfigError) as refused:
        TrackerReporter(wanted.training.trackers, tmp_path / "run")
    assert refused.value.render() == (
        "training.trackers is 'wandb', expected a tracker that is installed\n"
        '  install it with: pip install "omniflow-zoo[wandb]"'
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("wanb",), "'wanb', expected each of tensorboard, trackio, wandb at most once\n"
         "  did you mean: wandb"),
        (("tensorboard", "tensorboard"), "is 'tensorboard', expected each of"),
    ],
)  # fmt: skip
def test_a_tracker_that_does_not_exist_or_comes_twice_is_refused(names, message):
    with pytest.raises(ConfigError) as refused:
        TrainingOptions(trackers=names)
    assert message in refused.value.render()


def test_every_name_can_be_opened_and_is_told_in_the_option():
    assert set(trackers.NAMES) == set(TRACKERS)
    [option] = [o for o in signature_options(TrainingOptions) if o.name == "trackers"]
    assert ", ".join(TRACKERS) in option.help
    assert option.default == ()


def test_nested_options_become_one_level_of_scalars():
    nested = {"a": {"b": 1, "c": None}, "d": [{"e": "x"}, {"e": "y"}], "f": [1, 2], "g": []}
    assert flat(nested) == {
        "a.b": 1, "a.c": None, "d.0.e": "x", "d.1.e": "y", "f": "[1, 2]", "g": "[]",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ({"token": "x", "max_new_tokens": 5}, {"token": "***", "max_new_tokens": 5}),
        (
            {"hub": {"api_key": "x", "password": None}},
            {"hub": {"api_key": "***", "password": None}},
        ),
        ({"keys": ("a", SECRET)}, {"keys": ["a", "hf_***"]}),
        ({"url": "s3://u:p@host/a"}, {"url": "s3://***@host/a"}),
        ({"url": "https://h/a?token=x&b=1"}, {"url": "https://h/a?token=***&b=1"}),
        ({"text": "mail me@example.org"}, {"text": "mail me@example.org"}),
        ({"note": "the word open-sesame"}, {"note": "the word ***"}),
        ({"note": "open&amp;close"}, {"note": "***"}),
        ({"note": "Bearer abcdef.0123456789"}, {"note": "Bearer ***"}),
        ({"note": "a bearer of good news"}, {"note": "a bearer of good news"}),
        ({"note": '{"api_key": "abcdef012345"}'}, {"note": '{"api_key": "***"}'}),
        ({"note": "the token: understanding"}, {"note": "the token: understanding"}),
        ({"url": "https://h/a?sv=1&sig=x%3D"}, {"url": "https://h/a?sv=1&sig=***"}),
        ({"key": "github_pat_" + "a_B1" * 8}, {"key": "github_pat_***"}),
        ({"key": "sk-proj-" + "a-B1" * 8}, {"key": "sk-proj-***"}),
    ],
)
def test_secrets_are_hidden_and_all_else_is_kept(given, shown, monkeypatch):
    monkeypatch.setenv("OUR_API_KEY", "open-sesame")
    monkeypatch.setenv("OUR_PASSWORD", "open&close")
    assert without_secrets(given) == shown


def test_texts_of_one_long_word_are_looked_through_in_no_time():
    word = "x" * 20_000
    started = time.perf_counter()
    assert without_secrets(word) == word
    # It is milliseconds; to begin anew at every letter took half a minute.
    assert time.perf_counter() - started < 5
