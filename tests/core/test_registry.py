"""The registry: whole additions or none, and every name found, refused or explained."""

import sys

import pytest

from omniflow.errors import PluginError, UnknownNameError
from omniflow.registry import KINDS, Component, Origin, Registry

ACME = Origin("omniflow-acme", "0.3")
OTHER = Origin("omniflow-other", "1.0")


@pytest.fixture
def registry():
    return Registry()


def component(name="vq", kind="head", origin=ACME, target="acme.heads:VQHead"):
    return Component(kind, name, target, "A head", origin)


def test_added_component_is_found_by_both_spellings(registry):
    added = component()
    registry.add([added])
    assert registry.get("head", "vq") is added
    assert registry.get("head", "omniflow-acme:vq") is added


def test_registries_share_nothing():
    first, second = Registry(), Registry()
    first.add([component()])
    first.not_loaded.append("x")
    assert second.components() == []
    assert second.not_loaded == []


def test_components_come_in_order_of_kind_and_name(registry):
    registry.add([component("vq"), component("mlp"), component("clip", "encoder")])
    registry.add([component("tiny", "backbone")])
    assert [(c.kind, c.name) for c in registry.components()] == [
        ("backbone", "tiny"),
        ("head", "mlp"),
        ("head", "vq"),
        ("encoder", "clip"),
    ]
    assert [c.name for c in registry.components("head")] == ["mlp", "vq"]


def test_one_name_in_two_kinds_is_no_conflict(registry):
    registry.add([component("mlp", "head"), component("mlp", "refiner")])
    assert registry.conflicts() == []
    assert registry.get("refiner", "mlp").kind == "refiner"


@pytest.mark.parametrize(
    "wrong",
    [
        component("vq", "heads"),
        component("", "head"),
        component(" vq", "head"),
        component("a:vq", "head"),
        component(3, "head"),
        component("b", target="acme.heads"),
        component("b", target="acme.heads:VQHead:extra"),
        component("b", target=":VQHead"),
        component("b", target="acme.heads:"),
        component("b", target=".heads:VQHead"),
        component("b", target=print),
        component("mlp"),
    ],
    ids=lambda wrong: f"{wrong.kind}-{wrong.name}-{wrong.target}",
)
def test_one_wrong_component_keeps_all_of_them_out(registry, wrong):
    registry.add([component("mlp")])
    with pytest.raises(PluginError, match=r"omniflow-acme 0\.3"):
        registry.add([component("good"), wrong])
    assert registry.names("head") == ["mlp"]


def test_wrong_kind_is_told_with_the_kinds_there_are(registry):
    with pytest.raises(PluginError) as caught:
        registry.add([component("vq", "heads")])
    assert str(caught.value) == (
        "omniflow-acme 0.3 registers 'vq' as a 'heads', expected one of " + ", ".join(KINDS)
    )


def test_one_distribution_cannot_use_a_name_twice(registry):
    message = r"^omniflow-acme 0\.3 registers head 'vq' twice$"
    with pytest.raises(PluginError, match=message):
        registry.add([component(), component()])
    registry.add([component()])
    with pytest.raises(PluginError, match=message):
        registry.add([component()])
    assert len(registry.components()) == 1


def test_name_that_two_distributions_claim_is_refused_with_both_owners(registry):
    registry.add([component(origin=ACME)])
    registry.add([component(origin=OTHER)])
    with pytest.raises(PluginError) as caught:
        registry.get("head", "vq", where="--head")
    assert str(caught.value).splitlines() == [
        "--head: head 'vq' is claimed by omniflow-acme 0.3 and omniflow-other 1.0, "
        "expected one of omniflow-acme:vq or omniflow-other:vq",
        "  or switch one plugin off with OMNIFLOW_DISABLE_PLUGINS=DISTRIBUTION",
    ]


def test_qualified_name_picks_one_of_two(registry):
    registry.add([component(origin=ACME)])
    registry.add([component(origin=OTHER), component("fsq", origin=OTHER)])
    assert registry.get("head", "omniflow-other:vq").origin == OTHER
    assert registry.get("head", "omniflow-acme:vq").origin == ACME
    assert registry.names("head") == ["fsq", "omniflow-acme:vq", "omniflow-other:vq"]
    assert [[c.origin for c in group] for group in registry.conflicts()] == [[ACME, OTHER]]


def test_unknown_name_suggests_lists_and_says_what_is_not_loaded(registry):
    registry.add([component("vq"), component("mlp")])
    registry.not_loaded.append("omniflow-old 0.1: written for plugin API 2, this is 1")
    with pytest.raises(UnknownNameError) as caught:
        registry.get("head", "vqq", where="recipe.yaml:3")
    assert str(caught.value).splitlines() == [
        "recipe.yaml:3: no head is called 'vqq'",
        "  did you mean: vq",
        "  known: mlp, vq",
        "  not loaded: omniflow-old 0.1: written for plugin API 2, this is 1",
    ]


def test_unknown_kind_suggests(registry):
    with pytest.raises(UnknownNameError, match="no kind is called 'heads'\n  did you mean: head"):
        registry.components("heads")


def test_class_is_loaded_from_its_import_string():
    from collections import OrderedDict

    assert component(target="collections:OrderedDict").load() is OrderedDict
    assert component(target=OrderedDict).load() is OrderedDict


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("no_such_package:Head", "No module named 'no_such_package'"),
        ("collections:Nothing", "module 'collections' has no attribute 'Nothing'"),
    ],
)
def test_import_that_fails_names_component_owner_and_reason(target, reason):
    with pytest.raises(PluginError) as caught:
        component(target=target).load()
    assert str(caught.value) == (
        f"head 'vq' of omniflow-acme 0.3 cannot be imported ({reason}), "
        f"expected a class at {target}"
    )


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise RuntimeError('no GPU')", "no GPU"),
        ("import sys; sys.exit('bye')", "bye"),
        ("def broken(:", "invalid syntax"),
        ("open('/no/such/file')", "No such file"),
        ("raise ValueError", "ValueError"),
    ],
)
def test_whatever_an_import_raises_is_told_as_the_plugins_fault(
    tmp_path, monkeypatch, code, reason
):
    (tmp_path / "acme_broken_head.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "acme_broken_head", raising=False)
    with pytest.raises(PluginError, match=reason) as caught:
        component(target="acme_broken_head:Head").load()
    assert "omniflow-acme 0.3" in str(caught.value)


def test_ctrl_c_during_an_import_is_not_the_plugins_fault(tmp_path, monkeypatch):
    (tmp_path / "acme_slow_head.py").write_text("raise KeyboardInterrupt")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        component(target="acme_slow_head:Head").load()


def test_function_is_no_component():
    with pytest.raises(PluginError, match="head 'vq' of omniflow-acme 0.3 is not a class"):
        component(target="collections:namedtuple").load()


def test_every_built_in_is_what_it_says(registry):
    from omniflow.options import component_interface
    from omniflow.plugins import load_plugins

    for each in load_plugins().registry.components():
        assert issubclass(each.load(), component_interface(each.kind)), each
