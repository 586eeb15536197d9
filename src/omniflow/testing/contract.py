"""A contract as a pytest test: one case a check."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from omniflow.errors import UnknownNameError
from omniflow.registry import KINDS

if TYPE_CHECKING:
    import pytest

    from omniflow.interfaces import Prediction, Sample
    from omniflow.testing.subject import Options

#: What has a contract: every kind of component, and a plugin as a whole.
CONTRACTS = (*KINDS, "plugin")


@dataclass(frozen=True)
class Check:
    """One thing that a contract asks for.

    Args:
        name: What it asks for, in words with dashes; the id of its test case.
        run: Looks at a subject and raises `ContractError`.
    """

    name: str
    run: Callable[[Any], None]


def named(*checks: Callable[[Any], None]) -> tuple[Check, ...]:
    """Functions as checks that go by their names."""
    return tuple(Check(check.__name__.replace("_", "-"), check) for check in checks)


def contract_of(
    kind: str,
    component: str | type,
    *,
    options: Options | None = None,
    samples: Sequence[Sample] | None = None,
    predictions: Sequence[Prediction] | None = None,
    skip: Collection[str] = (),
) -> Callable[..., None]:
    """A pytest test that a component keeps to the contract of its kind.

        test_my_head = contract_of("head", "my-head", options={"hidden_dim": 16})

    Every check is a case of its own: `pytest -k autocast` runs one. Modules are made small, on the
    CPU; heads, refiners, encoders and objectives also take part in a model on the embedded `tiny`
    backbone. Nothing needs a network.

    Args:
        kind: backbone, head, refiner, encoder, dataset, objective or metric; or `plugin`, for what
            a distribution as a whole has to keep to.
        component: Its name, as registered by an installed plugin; or a class, before it is
            registered. For `plugin`, the name of the distribution.
        options: Options to test it with; or a function that is given an empty folder and returns
            them, for components that read files.
        samples: What encoders and objectives are given, at least 4; `example_samples()` by default.
        predictions: What metrics are given, at least 3; `example_predictions()` by default.
        skip: Names of checks that are left out, for what a component deliberately does not keep to.

    Raises:
        UnknownNameError: If there is no such kind or check.
    """
    import pytest

    checks = checks_of(kind)
    for name in skip:
        if name not in {check.name for check in checks}:
            raise UnknownNameError(f"check of a {kind}", name, [check.name for check in checks])
    subjects: list[Any] = []

    @pytest.mark.parametrize("check", [_case(check, skip) for check in checks])
    def test_contract(check: Check, tmp_path_factory: pytest.TempPathFactory) -> None:
        __tracebackhide__ = True
        if not subjects:
            folder = tmp_path_factory.mktemp("contract")
            if kind == "plugin":
                from omniflow.testing.plugin_checks import find_plugin

                subjects.append(find_plugin(str(component), folder=folder))
            else:
                from omniflow.testing.inputs import example_predictions, example_samples
                from omniflow.testing.subject import find_subject

                subjects.append(
                    find_subject(
                        kind,
                        component,
                        options=options or {},
                        folder=folder,
                        samples=samples or example_samples(),
                        predictions=predictions or example_predictions(),
                    )
                )
        check.run(subjects[0])

    return test_contract


def check_names(kind: str) -> list[str]:
    """The checks of a contract, in order, as `skip` takes them.

    Args:
        kind: As `contract_of` takes it.
    """
    return [check.name for check in checks_of(kind)]


def checks_of(kind: str) -> tuple[Check, ...]:
    """The checks of a contract, in order."""
    if kind not in CONTRACTS:
        raise UnknownNameError("kind", kind, CONTRACTS)
    checks: tuple[Check, ...] = import_module(f"omniflow.testing.{kind}_checks").CHECKS
    return checks


def _case(check: Check, skip: Collection[str]) -> Any:
    import pytest

    marks = [pytest.mark.skip(reason="left out of the contract")] if check.name in skip else []
    return pytest.param(check, id=check.name, marks=marks)
