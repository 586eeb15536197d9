from omniflow.draft import Draft
from omniflow.plugins import load_plugins
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve


def test_a_plugin_that_claims_a_default_name_does_not_stop_a_plain_run():
    registry = load_plugins().registry
    rival = Component("head", "mlp", "acme:Head", "Another", Origin("omniflow-acme", "1"))
    registry.add([rival])
    assert resolve(Draft.empty(), registry).head.name == "omniflow-zoo:mlp"
    assert resolve(Draft.empty(), load_plugins().registry).head.name == "mlp"
