"""Hooks of plugins: called in order with plain data, and never the end of a run."""

import inspect
import os
import signal
from types import SimpleNamespace

import pytest

from omniflow.draft import Draft
from omniflow.hooks import LIFECYCLE, hookimpl
from omniflow.interfaces import Dataset, Sample
from omniflow.plugins import PluginSource, load_plugins
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve
from omniflow.training.interrupts import InterruptedRunError
from omniflow.training.reporter import Reporter
from omniflow.training.trainer import train
from omniflow.training.watchers import Everyone

SECRET = "hf_" + "a1B2" * 8


class FewTexts(Dataset):
    """A few texts behind a token.

    Args:
        token: What opens them.
    """

    def __init__(self, *, split: str, token: str = "") -> None:
        self.split = split

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return Sample(id=f"{self.split}-{index}", text=f"{self.split} text number {index}")


class Diary:
    """A plugin with every hook that follows runs; some of them may raise."""

    def __init__(self, **raising):
        self.entries = []
        self.raising = raising

    def note(self, hook, **told):
        self.entries.append((hook, told))
        if hook in self.raising:
            raise self.raising[hook]

    @hookimpl
    def omniflow_run_started(self, folder, recipe, step, total_steps):
        assert (folder / "recipe.yaml").is_file()
        self.note("started", folder=folder, recipe=recipe, step=step, total_steps=total_steps)
        recipe.clear()

    @hookimpl
    def omniflow_step_logged(self, step, figures):
        self.note("logged", step=step, figures=dict(figures))
        figures.clear()

    @hookimpl
    def omniflow_evaluated(self, folder, step, figures, is_best):
        self.note("evaluated", step=step, figures=figures, is_best=is_best)
        assert not is_best or (folder / "best/model.safetensors").is_file()

    @hookimpl
    def omniflow_checkpoint_saved(self, folder, checkpoint):
        assert (folder / "latest").resolve() == checkpoint.resolve()
        self.note("saved", checkpoint=checkpoint)

    @hookimpl
    def omniflow_run_ended(self, how, step, error, figures):
        self.note("ended", how=how, step=step, error=error, figures=figures)

    def told(self, hook):
        return [told for name, told in self.entries if name == hook]


def registry_with(*plugins):
    sources = [
        PluginSource(f"diary-{number}", Origin(f"omniflow-diary-{number}", "0.3"), lambda p=p: p)
        for number, p in enumerate(plugins)
    ]
    loaded = load_plugins(sources, environ={})
    assert loaded.failures == []
    few = Component("dataset", "few", FewTexts, "A few texts", Origin("tests", "0"))
    loaded.registry.add([few])
    return loaded.registry


@pytest.fixture
def run(random_backbone, tmp_path):
    """Carries out a tiny run that plugins follow."""

    def carry_out(*plugins, resume=False, reporter=None, **training):
        registry = registry_with(*plugins)
        draft = Draft.from_mapping(
            {
                "backbone": {"name": "folder", "path": str(random_backbone)},
                "head": {"name": "mlp", "hidden_dim": 8},
                "dataset": {"name": "few", "token": SECRET},
                "training": {
                    "batch_size": 2, "samples": 0, "max_steps": 4, "log_interval": 2,
                    "eval_interval": 2,
                    "save_interval": 2, "eval_batches": 1, **training,
                },
            }
        )  # fmt: skip
        recipe = resolve(draft, registry)
        return train(
            recipe,
            output_dir=tmp_path / "run",
            registry=registry,
            resume=resume,
            reporter=reporter,
        )

    return carry_out


class At(Reporter):
    """Does something at a step."""

    def __init__(self, step, action):
        self.step = step
        self.action = action

    def stepped(self, step):
        if step == self.step:
            self.action()


def fail():
    raise ValueError(f"odd {SECRET}")


def test_a_run_is_told_from_its_start_to_its_end(run, tmp_path):
    diary = Diary()
    result = run(diary)
    assert [name for name, _ in diary.entries] == [
        "started", "evaluated",
        "logged", "evaluated", "saved",
        "logged", "evaluated", "saved",
        "ended",
    ]  # fmt: skip
    [started] = diary.told("started")
    assert started["folder"] == tmp_path / "run"
    assert (started["step"], started["total_steps"]) == (0, 4)
    assert [told["step"] for told in diary.told("logged")] == [2, 4]
    assert [told["step"] for told in diary.told("evaluated")] == [0, 2, 4]
    assert diary.told("logged")[0]["figures"]["split"] == "train"
    assert diary.told("evaluated")[0]["is_best"]
    [ended] = diary.told("ended")
    assert ended == {"how": "finished", "step": 4, "error": "", "figures": dict(result.last)}


def test_plugins_see_the_recipe_without_its_secrets_and_copies_of_everything(run):
    seen = []

    class Reader:
        @hookimpl
        def omniflow_run_started(self, recipe):
            seen.append(recipe)

        @hookimpl
        def omniflow_step_logged(self, figures):
            seen.append(figures)

    # The first empties what it is handed.
    run(Diary(), Reader(), max_steps=2)
    recipe, figures = seen
    assert recipe["head"]["name"] == "mlp"
    assert recipe["dataset"][0]["token"] == "***"
    assert figures["step"] == 2


def test_a_run_that_goes_on_says_from_where(run):
    run(Diary(), max_steps=2)
    diary = Diary()
    run(diary, resume=True)
    assert diary.told("started")[0]["step"] == 2
    assert [told["step"] for told in diary.told("logged")] == [4]


def test_a_run_that_fails_is_told_with_its_error(run):
    diary = Diary()
    with pytest.raises(ValueError, match="odd"):
        run(diary, reporter=At(3, fail))
    [ended] = diary.told("ended")
    assert (ended["how"], ended["step"], ended["error"]) == ("failed", 3, "odd hf_***")
    assert ended["figures"]["step"] == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_is_told_as_interrupted(run, number):
    diary = Diary()
    with pytest.raises(InterruptedRunError):
        run(diary, reporter=At(1, lambda: os.kill(os.getpid(), number)))
    [ended] = diary.told("ended")
    assert (ended["how"], ended["step"]) == ("interrupted", 1)
    assert f"stopped by {signal.Signals(number).name} after step 1" in ended["error"]


def test_a_run_that_never_began_is_not_told(run, tmp_path):
    diary = Diary()
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(Exception, match="not a folder"):
        run(diary)
    assert diary.entries == []


class Panic(BaseException):
    """What compiled extensions raise when they break down."""


@pytest.mark.parametrize("error", [RuntimeError(f"bad\n {SECRET}"), SystemExit(3), Panic("bad")])
def test_a_plugin_that_raises_loses_neither_the_run_nor_the_other_plugins(run, caplog, error):
    broken, diary = Diary(logged=error, saved=error), Diary()
    result = run(broken, diary)
    assert result.steps == 4
    assert len(diary.entries) == len(broken.entries) == 9
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        "plugin diary-0 of omniflow-diary-0 0.3 failed in omniflow_step_logged: "
        f"{type(error).__name__}: {' '.join(str(error).split()).replace(SECRET, 'hf_***')}; "
        "the run goes on (silence with OMNIFLOW_DISABLE_PLUGINS=omniflow-diary-0)",
        "plugin diary-0 of omniflow-diary-0 0.3 failed 4 times in this run",
    ]


def test_a_broken_plugin_changes_no_weight(run, tmp_path):
    run(max_steps=2)
    expected = (tmp_path / "run/final/model.safetensors").read_bytes()
    (tmp_path / "run").rename(tmp_path / "without")
    run(Diary(started=OSError("gone")), max_steps=2)
    assert (tmp_path / "run/final/model.safetensors").read_bytes() == expected


def test_a_plugin_of_hooks_alone_is_loaded_and_reported():
    @hookimpl
    def omniflow_run_ended(how):
        pass

    source = PluginSource(
        "bell", Origin("omniflow-bell", "1"),
        lambda: SimpleNamespace(omniflow_run_ended=omniflow_run_ended),
    )  # fmt: skip
    loaded = load_plugins([source], environ={})
    assert loaded.reports[-1].hooks == ("omniflow_run_ended",)
    assert [subscriber.name for subscriber in loaded.registry.subscribers] == ["bell"]


def test_a_plugin_that_misspells_a_hook_is_kept_apart():
    @hookimpl
    def omniflow_run_finished(how):
        pass

    source = PluginSource(
        "bell", Origin("omniflow-bell", "1"),
        lambda: SimpleNamespace(omniflow_run_finished=omniflow_run_finished),
    )  # fmt: skip
    loaded = load_plugins([source], environ={})
    assert "omniflow_run_finished" in loaded.failures[0].reason
    assert loaded.registry.subscribers == []


def test_without_plugins_and_trackers_the_caller_is_told_directly(run):
    told = []

    class Caller(Reporter):
        def stepped(self, step):
            told.append(inspect.currentframe().f_back.f_code.co_filename)

    run(reporter=Caller())
    assert len(told) == 4
    assert {name.rsplit("/", 1)[-1] for name in told} == {"trainer.py"}


def test_everyone_is_told_everything():
    calls = []

    def noting(name):
        def note(self, *args, **kwargs):
            calls.append((self.number, name))

        return note

    names = [name for name in vars(Reporter) if not name.startswith("_")]
    noter = type("Noter", (Reporter,), {name: noting(name) for name in names})
    one, two = noter(), noter()
    one.number, two.number = 1, 2
    everyone = Everyone([one, two])
    for name in names:
        wanted = inspect.signature(getattr(Reporter, name)).parameters.values()
        given = {p.name: None for p in wanted if p.name != "self"}
        getattr(everyone, name)(**given)
    assert calls == [(number, name) for name in names for number in (1, 2)]


def test_a_step_costs_nothing_where_nobody_looks_at_steps():
    assert Everyone([Reporter(), At(1, fail)]).counting != []
    assert Everyone([Reporter(), Reporter()]).counting == []


def test_the_hooks_are_those_of_the_page():
    assert LIFECYCLE == (
        "omniflow_run_started", "omniflow_step_logged", "omniflow_evaluated",
        "omniflow_checkpoint_saved", "omniflow_run_ended",
    )  # fmt: skip
