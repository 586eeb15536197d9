"""Contract checks for components: what every head, encoder, dataset ... has to keep to.

A plugin's tests need one line a component:

    from omniflow.testing import contract_of

    test_my_head = contract_of("head", "my-head")

That is a pytest test with one case a check. See `contract_of`, and docs/plugins.md.
"""

from typing import TYPE_CHECKING

from omniflow.lazy import lazy_exports

if TYPE_CHECKING:
    from omniflow.testing.contract import check_names, contract_of
    from omniflow.testing.inputs import example_predictions, example_samples
    from omniflow.testing.subject import ContractError

__all__ = [
    "ContractError",
    "check_names",
    "contract_of",
    "example_predictions",
    "example_samples",
]

__getattr__ = lazy_exports(
    __name__,
    {
        "ContractError": "omniflow.testing.subject",
        "check_names": "omniflow.testing.contract",
        "contract_of": "omniflow.testing.contract",
        "example_predictions": "omniflow.testing.inputs",
        "example_samples": "omniflow.testing.inputs",
    },
)
