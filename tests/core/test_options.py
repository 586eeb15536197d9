"""Options: read from a constructor, fitted to their types, refused with what was expected."""

import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniflow.errors import ConfigError, PluginError, UnknownNameError, UsageError
from omniflow.options import (
    MISSING,
    Option,
    check_options,
    component_interface,
    fit,
    load_component,
    options_of,
    parse_value,
    signature_options,
)
from omniflow.registry import KINDS, Component, Origin, Registry

ACME = Origin("omniflow-acme", "0.3")


class Sampled:
    """Something with options of every sort.

    Args:
        feature_dim: Filled in by the library.
        latent_dim: Filled in, too.
        codebook_size: Number of entries,
            over two lines: with a colon.
        decay (float): Documented with its type.
        mode: How.

    Raises:
        ConfigError: If anything is wrong.
    """

    def __init__(
        self,
        *,
        feature_dim: int,
        latent_dim: int,
        path: str,
        codebook_size: int = 1024,
        decay: float = 0.99,
        mode: Literal["ema", "gradient"] = "ema",
        limit: int | None = None,
        weights: dict[str, float] | None = None,
    ) -> None:
        pass


def component(target, kind="head"):
    return Component(kind, "sampled", target, "", ACME)


def option(annotation, name="x"):
    return Option(name, annotation)


def test_options_are_the_keyword_parameters_with_type_default_and_help():
    found = {each.name: each for each in signature_options(Sampled)}
    assert list(found) == [
        "feature_dim", "latent_dim", "path", "codebook_size", "decay", "mode", "limit", "weights",
    ]  # fmt: skip
    assert found["codebook_size"] == Option(
        "codebook_size", int, 1024, "Number of entries, over two lines: with a colon."
    )
    assert found["decay"].help == "Documented with its type."
    assert found["path"].is_required
    assert found["path"].default is MISSING
    assert not found["limit"].is_required
    assert found["weights"].help == ""
    assert "ConfigError" not in found


def test_what_the_library_fills_in_is_no_option_and_common_ones_follow():
    assert [each.name for each in options_of(component(Sampled))] == [
        "path", "codebook_size", "decay", "mode", "limit", "weights", "features", "latent_dim",
    ]  # fmt: skip
    assert {each.name for each in options_of(component(Sampled, "refiner"))} == {
        "feature_dim", "path", "codebook_size", "decay", "mode", "limit", "weights",
    }  # fmt: skip


def test_class_without_a_constructor_has_no_options():
    class Bare:
        pass

    assert signature_options(Bare) == []


def test_open_ended_parameters_are_no_options():
    class Open:
        def __init__(self, *args: int, width: int = 3, **kwargs: int) -> None:
            pass

    assert [each.name for each in signature_options(Open)] == ["width"]


def test_options_that_are_passed_on_are_those_of_the_class_behind():
    class Shorter(Sampled):
        """Something with another default.

        Args:
            extra: One more.
            mode: Only one makes sense.
        """

        def __init__(self, *, extra: int = 0, decay: float = 0.5, **options: Any) -> None:
            super().__init__(decay=decay, **options)

    class Shortest(Shorter):
        pass

    behind = {each.name: each for each in signature_options(Sampled)}
    found = {each.name: each for each in signature_options(Shorter)}
    assert list(found) == [
        "extra", "decay", "feature_dim", "latent_dim", "path", "codebook_size", "mode", "limit",
        "weights",
    ]  # fmt: skip
    assert found["decay"].default == 0.5
    assert found["codebook_size"] == behind["codebook_size"]
    assert found["mode"] == replace(behind["mode"], help="Only one makes sense.")
    assert found["path"].is_required
    assert signature_options(Shortest) == list(found.values())


@pytest.mark.parametrize("hint", ["Decimal", "Path.nowhere", "int |"])
def test_hints_that_cannot_be_read_at_run_time_are_the_plugins_mistake(hint):
    class Wrong:
        def __init__(self, *, x=None) -> None:
            pass

    Wrong.__init__.__annotations__["x"] = hint
    with pytest.raises(PluginError) as caught:
        options_of(component(Wrong))
    assert "Wrong (omniflow-acme 0.3) cannot be read" in str(caught.value)
    assert caught.value.expected == "types that are importable at run time"


def test_option_called_name_is_refused_because_a_recipe_could_not_hold_it():
    class Named:
        def __init__(self, *, name: str = "x") -> None:
            pass

    with pytest.raises(PluginError, match="omniflow-acme 0.3 has an option 'name'"):
        options_of(component(Named))


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (int, "whole number"),
        (float, "number"),
        (str, "text"),
        (bool, "true or false"),
        (int | None, "whole number or null"),
        (Literal["linear", "cosine"], "linear | cosine"),
        (Literal["auto"] | int, "auto or whole number"),
        (list[int], "list of whole number"),
        (tuple[float, ...], "list of number"),
        (dict[str, float], "mapping of text to number"),
        (Path, "Path"),
        (Any, "value"),
    ],
)
def test_types_are_told_in_words(annotation, text):
    assert option(annotation).type_name == text


@pytest.mark.parametrize(
    ("annotation", "given", "expected"),
    [
        (int, 4096, 4096),
        (int, "4096", 4096),
        (int, "-1", -1),
        (int, 3.0, 3),
        (float, "1e-4", 1e-4),
        (float, 1, 1.0),
        (float, ".5", 0.5),
        (bool, "true", True),
        (bool, "false", False),
        (bool, "no", False),
        (bool, True, True),
        (str, "123", "123"),
        (str, "null", "null"),
        (str, "true", "true"),
        (str, "[draft].txt", "[draft].txt"),
        (str, "[a, b]", "[a, b]"),
        (str, "2020-13-45", "2020-13-45"),
        (str, "0x_", "0x_"),
        (str, "", ""),
        (str | None, "null", None),
        (str | None, "nil", "nil"),
        (int | None, "null", None),
        (int | None, "~", None),
        (int | None, None, None),
        (int | None, "7", 7),
        (float | None, "1e-4", 1e-4),
        (list[str], "[a, b]", ["a", "b"]),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], ["1", 2], [1, 2]),
        (list[bool], "[true, no]", [True, False]),
        (tuple[int, int], "[3, 4]", (3, 4)),
        (list[str] | str, "a", "a"),
        (list[str] | str, "[a]", ["a"]),
        (dict[str, float], "{ce: 1, vq: 0.5}", {"ce": 1.0, "vq": 0.5}),
        (Literal["ema", "gradient"], "ema", "ema"),
        (Literal[1, 2], "2", 2),
        (Literal["auto"] | int, "auto", "auto"),
        (Literal["auto"] | int, "12", 12),
        (Path, "a/b", Path("a/b")),
        (Any, "[1]", [1]),
        (Any, True, True),
    ],
)
def test_values_become_what_the_type_says(annotation, given, expected):
    found = fit(option(annotation), given)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "given"),
    [
        (int, True),
        (int, "true"),
        (int, 1.5),
        (int, "1.5"),
        (int, "many"),
        (int, None),
        (int, "null"),
        (float, False),
        (float, "fast"),
        (float, [1.0]),
        (int | None, True),
        (list[int], [True]),
        (list[int], "[1, true]"),
        (list[int], "1"),
        (dict[str, float], {"ce": True}),
        (dict[str, float], "{ce: much}"),
        (tuple[int, int], "[1, 2, 3]"),
        (str, 123),
        (str, True),
        (str, None),
        (bool, "maybe"),
        (bool, 2),
        (Literal["ema"], "EMA?"),
        (Literal[1, 2], True),
    ],
)
def test_values_of_another_type_are_refused(annotation, given):
    with pytest.raises(ConfigError) as caught:
        fit(option(annotation), given)
    assert str(caught.value).splitlines()[0] == (
        f"x is {given!r}, expected {option(annotation).type_name}"
    )


def test_choice_that_there_is_not_suggests_the_nearest():
    with pytest.raises(ConfigError) as caught:
        fit(option(Literal["gradient", "ema"] | None, "mode"), "gradeint")
    assert str(caught.value).splitlines() == [
        "mode is 'gradeint', expected gradient | ema or null",
        "  did you mean: gradient",
    ]


def test_values_of_types_that_pydantic_knows_are_kept():
    class Shape:
        pass

    shape = Shape()
    assert fit(option(Shape), shape) is shape
    with pytest.raises(ConfigError, match="x is 3, expected Shape"):
        fit(option(Shape), 3)


def checked(values, where=lambda name: None):
    return check_options(
        signature_options(Sampled), {"feature_dim": 8, "latent_dim": 4, **values},
        owner="head sampled", where=where,
    )  # fmt: skip


def test_defaults_fill_in_what_was_not_said():
    resolved, mistakes = checked({"path": "a", "codebook_size": "64"})
    assert mistakes == []
    assert resolved == {
        "feature_dim": 8,
        "latent_dim": 4,
        "path": "a",
        "codebook_size": 64,
        "decay": 0.99,
        "mode": "ema",
        "limit": None,
        "weights": None,
    }


def test_unknown_option_suggests_and_lists():
    _, (mistake,) = checked({"path": "a", "codebok_size": 2}, where={"codebok_size": "r:4"}.get)
    assert isinstance(mistake, UnknownNameError)
    assert str(mistake).splitlines() == [
        "r:4: no option of head sampled is called 'codebok_size'",
        "  did you mean: codebook_size",
        "  known: codebook_size, decay, feature_dim, latent_dim, limit, mode, path, weights",
    ]


def test_required_option_that_is_missing_is_told_where_the_component_was_named():
    _, (mistake,) = checked({}, where={"name": "--head"}.get)
    assert isinstance(mistake, UsageError)
    assert str(mistake) == "--head: option path of head sampled is not given, expected text"


def test_all_mistakes_are_told_with_their_places():
    places = {"decay": "r:2", "mode": "r:3"}
    _, mistakes = checked({"decay": "x", "mode": "emma", "sice": 1}, where=places.get)
    assert [str(mistake).splitlines()[0] for mistake in mistakes] == [
        "no option of head sampled is called 'sice'",
        "option path of head sampled is not given, expected text",
        "r:2: option decay of head sampled is 'x', expected number",
        "r:3: option mode of head sampled is 'emma', expected ema | gradient",
    ]
    assert mistakes[-1].nearest == ("ema",)


@given(st.integers())
def test_any_whole_number_comes_back_from_text(value):
    assert fit(option(int), str(value)) == value


@given(st.floats(allow_nan=False))
def test_any_number_comes_back_from_text(value):
    assert fit(option(float), repr(value)) == value


@given(st.text())
def test_any_text_stays_what_it_is(value):
    assert fit(option(str), value) == value


@given(st.text())
def test_any_text_is_read_or_refused_for_any_type(value):
    for annotation in (int, float, bool, list[int], dict[str, float], int | None, Literal["a"]):
        with suppress(ConfigError):
            fit(option(annotation), value)


@given(st.lists(st.integers()), st.dictionaries(st.text(), st.floats(allow_nan=False)))
def test_structures_come_back_as_they_are(numbers, weights):
    assert fit(option(list[int]), numbers) == numbers
    assert fit(option(dict[str, float]), weights) == weights
    assert fit(option(list[int]), str(numbers)) == numbers


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("a", "a"),
        ("[1, a]", [1, "a"]),
        ("{a: 1}", {"a": 1}),
        ("[", "["),
        ("a: b: c", "a: b: c"),
        ("!!python/object/apply:os.getcwd []", "!!python/object/apply:os.getcwd []"),
        ("2020-13-45", "2020-13-45"),
        ("[" * 2000, "[" * 2000),
    ],
)
def test_typed_values_are_yaml_where_they_can_be(text, value):
    assert parse_value(text) == value


def test_nan_is_read_as_what_it_is():
    assert math.isnan(fit(option(float), ".nan"))


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_an_interface(kind):
    assert component_interface(kind).__name__.lower() == kind


def test_component_that_is_not_of_its_kind_is_refused():
    registry = Registry()
    registry.add([component(Sampled)])
    with pytest.raises(PluginError) as caught:
        load_component(registry, "head", "sampled")
    assert str(caught.value) == (
        "head 'sampled' of omniflow-acme 0.3 is Sampled, "
        "expected a subclass of omniflow.interfaces.Head"
    )


def test_options_of_every_built_in_have_help_and_a_default_of_their_type(registry):
    for each in registry.components():
        for found in options_of(each):
            assert found.help, f"{each.kind} {each.name}: {found.name} is not documented"
            if not found.is_required:
                assert fit(found, found.default) == found.default
