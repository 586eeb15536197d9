"""Plugins: loaded one by one, whole or not at all, the broken ones kept apart and reported."""

import logging
import sys
from types import SimpleNamespace

import pytest

from omniflow.errors import PluginError
from omniflow.plugins import (
    API_VERSION,
    DISTRIBUTION,
    PluginSource,
    entry_point_sources,
    hookimpl,
    load_plugins,
)
from omniflow.registry import Origin

NOTHING = {}


class Panic(BaseException):
    """What compiled extensions raise when they break down."""


def source(plugin, *, name="acme", distribution="omniflow-acme"):
    """A plugin held in memory; a function is called to load it."""
    load = plugin if callable(plugin) else lambda: plugin
    return PluginSource(name, Origin(distribution, "0.3"), load)


def plugin(*names, then=None, **attributes):
    """A module with a hook that registers heads of these names and then raises."""

    @hookimpl
    def omniflow_register(register):
        for name in names:
            register(kind="head", name=name, target="acme.heads:Head", summary="A head")
        if then is not None:
            raise then

    return SimpleNamespace(omniflow_register=omniflow_register, **attributes)


def raising(error):
    def load():
        raise error

    return load


def report_of(source, **options):
    plugins = load_plugins([source], environ=options.pop("environ", NOTHING), **options)
    return plugins.reports[-1], plugins


BUILT_INS = [c.qualified_name for c in load_plugins(environ=NOTHING).registry.components()]


def names(plugins):
    return [c.qualified_name for c in plugins.registry.components()]


def test_built_ins_come_through_the_same_door():
    plugins = load_plugins(environ=NOTHING)
    (report,) = plugins.reports
    assert (report.name, report.status) == ("builtin", "loaded")
    assert report.origin.distribution == DISTRIBUTION
    assert report.components == len(plugins.registry.components()) > 10


def test_plugin_adds_its_components_under_its_own_name():
    report, plugins = report_of(source(plugin("acme", "fsq")))
    assert (report.status, report.components, report.reason) == ("loaded", 2, "")
    assert plugins.registry.get("head", "fsq").origin == Origin("omniflow-acme", "0.3")
    assert plugins.failures == []


def test_objects_with_a_bound_hook_are_plugins_too():
    class Plugin:
        @hookimpl
        def omniflow_register(self, register):
            register(kind="head", name="acme", target="acme:Head", summary="")

    assert report_of(source(Plugin()))[0].components == 1


def test_class_itself_can_be_registered_instead_of_its_place():
    class Head:
        pass

    @hookimpl
    def omniflow_register(register):
        register(kind="head", name="acme", target=Head, summary="")

    _, plugins = report_of(source(SimpleNamespace(omniflow_register=omniflow_register)))
    assert plugins.registry.get("head", "acme").load() is Head


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("No module named 'acme'"), "ImportError: No module named 'acme'"),
        (SyntaxError("invalid syntax"), "SyntaxError: invalid syntax"),
        (SystemExit(3), "SystemExit: 3"),
        (Panic("index out\nof bounds"), "Panic: index out of bounds"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
)
@pytest.mark.parametrize("moment", ["import", "hook"])
def test_plugin_that_raises_is_kept_apart_with_its_reason(error, reason, moment):
    broken = raising(error) if moment == "import" else plugin("half", then=error)
    report, plugins = report_of(source(broken))
    assert (report.status, report.components, report.reason) == ("failed", 0, reason)
    assert plugins.failures == [report]
    assert names(plugins) == BUILT_INS
    assert plugins.registry.not_loaded == [f"omniflow-acme 0.3: {reason}"]


@pytest.mark.parametrize("moment", ["import", "hook"])
def test_ctrl_c_passes_through(moment):
    stop = KeyboardInterrupt()
    broken = raising(stop) if moment == "import" else plugin("half", then=stop)
    with pytest.raises(KeyboardInterrupt):
        load_plugins([source(broken)], environ=NOTHING)


def test_the_others_are_loaded_all_the_same(caplog):
    sources = [
        source(plugin("first"), distribution="omniflow-a"),
        source(raising(ImportError("gone")), name="broken", distribution="omniflow-b"),
        source(plugin("last"), distribution="omniflow-c"),
    ]
    with caplog.at_level(logging.WARNING):
        plugins = load_plugins(sources, environ=NOTHING)
    assert [report.status for report in plugins.reports] == ["loaded", "loaded", "failed", "loaded"]
    assert {"first", "last"} <= set(plugins.registry.names("head"))
    assert caplog.messages == [
        "plugin broken of omniflow-b 0.3 is not loaded: ImportError: gone "
        "(silence with OMNIFLOW_DISABLE_PLUGINS=omniflow-b)"
    ]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (plugin("x", OMNIFLOW_API_VERSION=2), f"written for plugin API 2, this is {API_VERSION}"),
        (plugin("x", OMNIFLOW_API_VERSION=2), "(update: pip install --upgrade omniflow-zoo)"),
        (plugin("x", OMNIFLOW_API_VERSION=0), "(update: pip install --upgrade omniflow-acme)"),
        (plugin("x", OMNIFLOW_API_VERSION="1"), "its OMNIFLOW_API_VERSION is '1', expected a"),
        (plugin("x", OMNIFLOW_API_VERSION=True), "its OMNIFLOW_API_VERSION is True"),
        (SimpleNamespace(), "it has no omniflow_register hook"),
        (None, "it has no omniflow_register hook"),
        (SimpleNamespace(omniflow_register=lambda register: None), "has no omniflow_register hook"),
        (plugin("x", "x"), "omniflow-acme 0.3 registers head 'x' twice"),
        (plugin("x", "a:b"), "registers a head under 'a:b', expected a name without a colon"),
    ],
)
def test_unfit_plugin_is_kept_apart_with_its_reason(broken, reason):
    report, plugins = report_of(source(broken))
    assert report.status == "failed"
    assert reason in report.reason
    assert names(plugins) == BUILT_INS


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("from omniflow.interfaces import Tail", "omniflow.interfaces.Tail"),
        ("from omniflow import assemble_tail", "omniflow.assemble_tail"),
        ("import omniflow.tails.long", "omniflow.tails"),
    ],
)
def test_a_plugin_that_uses_a_name_of_another_release_is_told_so(line, name):
    report, _ = report_of(source(lambda: exec(line, {})))
    assert report.reason.startswith(f"it uses {name}, which omniflow-zoo ")
    assert report.reason.endswith("does not have: one of the two is to be updated")


def test_the_level_that_a_plugin_says_is_reported():
    assert report_of(source(plugin("x", OMNIFLOW_API_VERSION=1)))[0].api == 1
    assert report_of(source(plugin("x")))[0].api is None


def test_version_that_is_spoken_here_is_loaded():
    assert report_of(source(plugin("x", OMNIFLOW_API_VERSION=API_VERSION)))[0].status == "loaded"


def test_hook_with_another_argument_is_told():
    @hookimpl
    def omniflow_register(registry):
        raise AssertionError

    report, _ = report_of(source(SimpleNamespace(omniflow_register=omniflow_register)))
    assert report.status == "failed"
    assert "registry" in report.reason
    assert "\n" not in report.reason


def test_hook_of_another_name_is_told():
    @hookimpl
    def omniflow_registers(register):
        raise AssertionError

    report, _ = report_of(source(SimpleNamespace(omniflow_registers=omniflow_registers)))
    assert "unknown hook 'omniflow_registers'" in report.reason


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "head", "name": "x"},
        {"kind": "head", "name": "x", "target": "a:B", "summary": "", "color": "red"},
        {"kind": "heads", "name": "x", "target": "a:B", "summary": ""},
    ],
)
def test_wrong_registration_is_kept_apart(arguments):
    @hookimpl
    def omniflow_register(register):
        register(kind="head", name="good", target="a:B", summary="")
        register(**arguments)

    report, plugins = report_of(source(SimpleNamespace(omniflow_register=omniflow_register)))
    assert report.status == "failed"
    assert names(plugins) == BUILT_INS


def test_reports_say_how_long_loading_took():
    def slow():
        import time

        time.sleep(0.05)
        raise ImportError("slow and broken")

    assert 0.05 <= report_of(source(slow))[0].seconds < 5
    assert 0 <= report_of(source(plugin("x")))[0].seconds < 5


def test_name_taken_by_a_built_in_leaves_the_plugin_loaded_and_both_reachable():
    report, plugins = report_of(source(plugin("vq")))
    assert report.status == "loaded"
    with pytest.raises(PluginError, match="is claimed by omniflow-acme 0.3 and omniflow-zoo"):
        plugins.registry.get("head", "vq")
    assert plugins.registry.get("head", "omniflow-acme:vq").origin.distribution == "omniflow-acme"
    assert plugins.registry.get("head", "omniflow-zoo:vq").origin.distribution == DISTRIBUTION


@pytest.mark.parametrize("listed", ["acme", "omniflow-acme", "x, ACME ,y", "all", "ALL"])
def test_disabled_plugin_is_not_even_imported(listed):
    report, plugins = report_of(
        source(raising(AssertionError("imported"))), environ={"OMNIFLOW_DISABLE_PLUGINS": listed}
    )
    assert (report.status, report.reason) == ("disabled", "OMNIFLOW_DISABLE_PLUGINS")
    assert plugins.failures == []
    assert plugins.registry.not_loaded == ["omniflow-acme 0.3: OMNIFLOW_DISABLE_PLUGINS"]
    assert names(plugins) == BUILT_INS


@pytest.mark.parametrize("listed", ["", ",", "other", "acm", "builtin", "omniflow-zoo"])
def test_only_what_is_listed_is_disabled(listed):
    report, plugins = report_of(source(plugin("x")), environ={"OMNIFLOW_DISABLE_PLUGINS": listed})
    assert report.status == "loaded"
    assert set(BUILT_INS) < set(names(plugins))


@pytest.mark.parametrize(
    ("listed", "status"),
    [
        ("acme", "loaded"),
        ("omniflow-acme,other", "loaded"),
        ("other", "disabled"),
        ("", "disabled"),
    ],
)
def test_enabling_some_disables_the_others(listed, status):
    report, _ = report_of(source(plugin("x")), environ={"OMNIFLOW_ENABLE_PLUGINS": listed})
    assert report.status == status
    assert report.reason == ("" if status == "loaded" else "OMNIFLOW_ENABLE_PLUGINS")


def test_disabling_wins_over_enabling():
    environ = {"OMNIFLOW_ENABLE_PLUGINS": "acme", "OMNIFLOW_DISABLE_PLUGINS": "acme"}
    assert report_of(source(plugin("x")), environ=environ)[0].reason == "OMNIFLOW_DISABLE_PLUGINS"


def test_setting_that_a_report_names_silences_the_plugin():
    broken = source(raising(ImportError("gone")))
    failed, _ = report_of(broken)
    setting, _, value = failed.silencer.partition("=")
    assert report_of(broken, environ={setting: value})[0].status == "disabled"


def test_settings_are_read_from_the_environment_of_the_process(monkeypatch):
    monkeypatch.setenv("OMNIFLOW_DISABLE_PLUGINS", "acme")
    assert load_plugins([source(plugin("x"))]).reports[-1].status == "disabled"


def test_strict_raises_at_the_first_plugin_that_fails():
    broken = source(raising(ImportError("gone")))
    with pytest.raises(PluginError, match="plugin acme of omniflow-acme 0.3 fails: gone") as caught:
        load_plugins([broken, source(plugin("x"))], environ=NOTHING, strict=True)
    assert isinstance(caught.value.__cause__, ImportError)


def test_every_call_makes_a_registry_of_its_own():
    first = load_plugins([source(plugin("x"))], environ=NOTHING)
    second = load_plugins(environ=NOTHING)
    assert "x" in first.registry.names("head")
    assert "x" not in second.registry.names("head")


def test_installed_plugins_are_found_by_their_entry_points(tmp_path, monkeypatch):
    metadata = tmp_path / "omniflow_stranger-2.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: omniflow-stranger\nVersion: 2.1\n"
    )
    (metadata / "entry_points.txt").write_text("[omniflow]\nstranger = omniflow_stranger_plugin\n")
    (tmp_path / "omniflow_stranger_plugin.py").write_text(
        "from omniflow import hookimpl\n"
        "@hookimpl\n"
        "def omniflow_register(register):\n"
        "    register(kind='head', name='strange', target='a:B', summary='')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "omniflow_stranger_plugin", raising=False)
    plugins = load_plugins(entry_point_sources(), environ={"OMNIFLOW_ENABLE_PLUGINS": "stranger"})
    assert plugins.registry.get("head", "strange").origin == Origin("omniflow-stranger", "2.1")


def installed(folder, name, entry_points, metadata=None):
    """Put the metadata of a distribution into a folder."""
    facts = folder / f"{name.replace('-', '_')}-2.1.dist-info"
    facts.mkdir()
    told = f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n" if metadata is None else metadata
    (facts / "METADATA").write_text(told)
    (facts / "entry_points.txt").write_text(entry_points)


def test_a_malformed_list_of_one_distribution_hides_no_other(tmp_path, monkeypatch):
    installed(tmp_path, "some-tool", "[console_scripts]\nnothing\n")
    installed(tmp_path, "omniflow-damaged", "[omniflow]\nnothing\n")
    installed(tmp_path, "omniflow-nameless", "[omniflow]\nmine = nowhere\n", "Version: 2.1\n")
    installed(tmp_path, "omniflow-whole", "[omniflow]\nwhole = omniflow.builtins\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = {str(each.origin): each for each in entry_point_sources()}
    assert "some-tool 2.1" not in found
    assert {"omniflow-whole 2.1", "unknown 2.1"} <= found.keys()
    damaged = load_plugins([found["omniflow-damaged 2.1"]], environ=NOTHING)
    assert "its entry_points.txt cannot be read" in damaged.failures[0].reason


def test_what_a_plugin_prints_is_no_output_of_a_command(capsys):
    def load():
        print("hello")  # noqa: T201
        return plugin("x")

    load_plugins([PluginSource("loud", Origin("omniflow-loud", "1"), load)], environ=NOTHING)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "hello\n")


def test_an_exception_that_cannot_be_told_is_told_by_its_type():
    class SilentError(Exception):
        def __str__(self):
            raise ValueError

    def load():
        raise SilentError

    broken = PluginSource("broken", Origin("omniflow-broken", "1"), load)
    [failure] = load_plugins([broken], environ=NOTHING).failures
    assert failure.reason == "SilentError: it cannot say what went wrong"
