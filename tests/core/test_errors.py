"""Errors: the four facts, told the same way as text and as data."""

import copy
import json
import pickle

import pytest

from omniflow.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    MistakesError,
    OmniFlowError,
    PluginError,
    TrainingError,
    UnknownNameError,
    UsageError,
    closest,
)

CONFIG = ConfigError(
    "head.codebook_size",
    -4,
    expected="a whole number >= 2",
    where="recipe.yaml:14",
    nearest=["4"],
    notes=["the default is 1024"],
)


def test_all_four_facts_are_rendered():
    error = OmniFlowError(
        "no head is called 'vqq'",
        where="--head",
        expected="a name",
        nearest=["vq", "mlp"],
        notes=["known: mlp, vq", "not loaded: acme 0.1"],
    )
    assert error.render() == (
        "--head: no head is called 'vqq', expected a name\n"
        "  did you mean: vq, mlp\n"
        "  known: mlp, vq\n"
        "  not loaded: acme 0.1"
    )
    assert str(error) == error.render()


def test_facts_that_are_not_known_leave_no_trace():
    assert OmniFlowError("the disk is full").render() == "the disk is full"


def test_facts_are_plain_data():
    found = json.loads(json.dumps(CONFIG.to_dict()))
    assert found == {
        "error": "ConfigError",
        "problem": "head.codebook_size is -4",
        "where": "recipe.yaml:14",
        "expected": "a whole number >= 2",
        "nearest": ["4"],
        "notes": ["the default is 1024"],
    }


def test_config_error_says_option_value_and_place():
    assert str(CONFIG).splitlines()[0] == (
        "recipe.yaml:14: head.codebook_size is -4, expected a whole number >= 2"
    )
    assert (CONFIG.name, CONFIG.value) == ("head.codebook_size", -4)


def test_located_error_has_the_full_name_and_keeps_the_other_facts():
    inner = ConfigError("dropout", 2.0, expected="a number in [0, 1)", nearest=["0.2"], notes=["n"])
    located = inner.located("head", "--set head.dropout=2")
    assert str(located).splitlines() == [
        "--set head.dropout=2: head.dropout is 2.0, expected a number in [0, 1)",
        "  did you mean: 0.2",
        "  n",
    ]
    assert located.name == "head.dropout"


def test_located_error_keeps_its_place_when_no_better_is_known():
    inner = ConfigError("dropout", 2.0, expected="less", where="config.json")
    assert inner.located("head").where == "config.json"


def test_unknown_name_suggests_and_lists():
    error = UnknownNameError("head", "vqq", ["vq", "mlp"], where="--head", notes=["more"])
    assert str(error).splitlines() == [
        "--head: no head is called 'vqq'",
        "  did you mean: vq",
        "  known: mlp, vq",
        "  more",
    ]


def test_unknown_name_among_none_says_so():
    assert str(UnknownNameError("metric", "bleu", [])).splitlines() == [
        "no metric is called 'bleu'",
        "  there is none",
    ]


def test_several_mistakes_are_told_together():
    error = MistakesError([CONFIG, UsageError("no room", where="disk")])
    assert str(error).splitlines() == [
        "2 things do not fit:",
        "recipe.yaml:14: head.codebook_size is -4, expected a whole number >= 2",
        "  did you mean: 4",
        "  the default is 1024",
        "disk: no room",
    ]
    assert error.to_dict()["errors"] == [each.to_dict() for each in error.errors]


@pytest.mark.parametrize(
    ("error_type", "exit_code"),
    [
        (UsageError, 2),
        (ConfigError, 2),
        (UnknownNameError, 2),
        (MistakesError, 2),
        (PluginError, 2),
        (DataError, 2),
        (CheckpointError, 2),
        (OmniFlowError, 1),
        (TrainingError, 1),
    ],
)
def test_mistakes_of_a_person_and_faults_leave_with_different_codes(error_type, exit_code):
    assert error_type.exit_code == exit_code
    assert issubclass(error_type, OmniFlowError)


@pytest.mark.parametrize(
    "error",
    [
        CONFIG,
        UnknownNameError("head", "vqq", ["vq"], where="--head"),
        MistakesError([CONFIG, DataError("empty", where="a.csv")]),
        TrainingError("loss is not finite", notes=["try fp32"]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("twin", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_survive_the_way_between_processes(error, twin):
    other = twin(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert other.to_dict() == error.to_dict()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vqq", ["vq"]),
        ("VQ", ["vq"]),
        ("text_decoder", ["text-decoder"]),
        ("qqqqqq", []),
        ("", []),
    ],
)
def test_nearest_names_are_near(name, expected):
    assert closest(name, ["vq", "mlp", "linear", "text-decoder"]) == expected


def test_nearest_names_come_best_first_and_few():
    found = closest("scene", ["scenes", "scene", "scenery", "scent", "seen"])
    assert found[0] == "scene"
    assert len(found) == 3
