"""Recipes: resolved from drafts with every default, written and read back the same."""

from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from omniflow.draft import Draft
from omniflow.errors import ConfigError, MistakesError, PluginError, UnknownNameError, UsageError
from omniflow.interfaces import Backbone, Dataset, Encoder, Head, Objective, Refiner
from omniflow.recipe import FORMAT, Choice, Recipe, TrainingOptions, shipped_recipes
from omniflow.registry import Component, Origin, Registry
from omniflow.resolve import resolve, resolve_datasets

ACME = Origin("omniflow-acme", "0.3")


class Suited(Backbone):
    """A backbone that knows what suits it."""

    recipe_defaults: ClassVar = {
        "head": {"mlp": {"hidden_dim": 12}},
        "objective": {"text-decoder": {"weights": {"ce": 3.0, "mse": 4.0}}},
        "training": {"lr": 0.01, "batch_size": 2},
    }

    def __init__(self, *, path: str = "somewhere") -> None: ...


class MLP(Head):
    """A head."""

    def __init__(
        self,
        *,
        feature_dim: int,
        latent_dim: int,
        hidden_dim: int = 8,
        dropout: float = 0.0,
        layers: list[dict[str, int]] = [],  # noqa: B006
    ) -> None: ...


class VQ(Head):
    """Another head, with options of every sort."""

    def __init__(
        self,
        *,
        feature_dim: int,
        latent_dim: int,
        whole: int = 1,
        number: float = 1.0,
        flag: bool = False,
        text: str = "",
        choice: Literal["a", "b", "null", "1", "yes"] = "a",
        maybe: str | None = None,
        numbers: list[float] = [],  # noqa: B006
        pair: tuple[int, str] = (1, "a"),
        mapping: dict[str, str] = {},  # noqa: B006
        nested: dict[str, list[int]] = {},  # noqa: B006
        place: Path = Path("here"),
        anything: Any = None,
    ) -> None: ...


class Plain(Refiner):
    """A refiner without options."""

    def __init__(self, *, latent_dim: int) -> None: ...


class TextDecoder(Objective):
    """An objective with weights."""

    def __init__(self, *, weights: dict[str, float] | None = None) -> None: ...


class Lines(Dataset):
    """A dataset that has to be told where."""

    def __init__(self, *, split: str, path: str) -> None: ...


class Drawn(Dataset):
    """A dataset that needs nothing."""

    def __init__(self, *, split: str, size: int = 10) -> None: ...


class Clip(Encoder):
    """An encoder."""

    def __init__(self, *, modality: str = "text") -> None: ...


COMPONENTS = {
    ("backbone", "tiny"): Suited,
    ("head", "mlp"): MLP,
    ("head", "vq"): VQ,
    ("refiner", "none"): Plain,
    ("objective", "text-decoder"): TextDecoder,
    ("dataset", "text"): Lines,
    ("dataset", "scenes"): Drawn,
    ("encoder", "clip"): Clip,
}


def small_registry():
    registry = Registry()
    registry.add(
        Component(kind, name, target, "", ACME) for (kind, name), target in COMPONENTS.items()
    )
    return registry


REGISTRY = small_registry()


def resolved(**sections):
    return resolve(Draft.from_mapping(sections, where="here"), REGISTRY)


def read_back(recipe, tmp_path):
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    return resolve(Draft.from_file(str(tmp_path / "recipe.yaml")), REGISTRY)


# Resolving


def test_nothing_said_gives_the_defaults():
    recipe = resolved()
    assert recipe.backbone == Choice("tiny", {"path": "somewhere"})
    assert recipe.refiner == Choice("none", {})
    assert recipe.dataset == (Choice("scenes", {"size": 10}),)
    assert recipe.encoder == ()
    assert recipe.training.epochs == TrainingOptions().epochs


def test_what_suits_the_backbone_wins_over_defaults_and_loses_to_the_person():
    recipe = resolved()
    assert recipe.head.options["hidden_dim"] == 12
    assert recipe.objective.options == {"weights": {"ce": 3.0, "mse": 4.0}}
    assert (recipe.training.lr, recipe.training.batch_size) == (0.01, 2)

    recipe = resolved(
        head={"hidden_dim": 5}, objective={"weights": {"ce": 1}}, training={"lr": "1e-3"}
    )
    assert recipe.head.options["hidden_dim"] == 5
    assert recipe.objective.options == {"weights": {"ce": 1.0, "mse": 4.0}}
    assert (recipe.training.lr, recipe.training.batch_size) == (0.001, 2)


def test_what_suits_one_head_says_nothing_about_another():
    assert "hidden_dim" not in resolved(head="vq").head.options


def test_common_options_of_heads_are_settled_too():
    assert resolved().head.options["features"] == "hidden"
    assert resolved(head={"features": "x0"}).head.options["features"] == "x0"


def test_qualified_names_are_kept():
    assert resolved(head="omniflow-acme:vq").head.name == "omniflow-acme:vq"


def test_options_that_are_lists_of_mappings_are_resolved():
    recipe = resolved(head={"layers": [{"width": 3}, {"width": "4"}]})
    assert recipe.head.options["layers"] == [{"width": 3}, {"width": 4}]


def test_text_from_the_command_line_becomes_what_the_option_wants():
    draft = Draft.empty()
    for key, value in {
        "head.hidden_dim": "4096",
        "head.latent_dim": "null",
        "objective.weights": "{ce: 0.5}",
        "training.max_steps": "7",
        "training.precision": "fp32",
    }.items():
        draft = draft.with_setting(key, value)
    recipe = resolve(draft, REGISTRY)
    assert recipe.head.options["hidden_dim"] == 4096
    assert recipe.head.options["latent_dim"] is None
    assert recipe.objective.options["weights"] == {"ce": 0.5}
    assert (recipe.training.max_steps, recipe.training.precision) == (7, "fp32")


def test_all_mistakes_are_reported_together_with_their_lines(tmp_path):
    (tmp_path / "r.yaml").write_text(
        "head:\n  name: vqq\nrefiner:\n  name: none\n  size: 3\n"
        "dataset:\n  - name: text\ntraining:\n  lr: fast\n  lrr: 1\n"
    )
    with pytest.raises(MistakesError) as caught:
        resolve(Draft.from_file(str(tmp_path / "r.yaml")), REGISTRY)
    first_lines = [str(error).splitlines()[0] for error in caught.value.errors]
    assert [line.replace(str(tmp_path), "") for line in first_lines] == [
        "/r.yaml:2: no head is called 'vqq'",
        "/r.yaml:5: no option of refiner none is called 'size'",
        "/r.yaml:7: option path of dataset text is not given, expected text",
        "/r.yaml:10: no option of training is called 'lrr'",
        "/r.yaml:9: option lr of training is 'fast', expected number",
    ]  # fmt: skip


def test_single_mistake_is_told_as_itself():
    with pytest.raises(UnknownNameError) as caught:
        resolved(head="vqq")
    assert str(caught.value).splitlines()[:2] == [
        "here: no head is called 'vqq'",
        "  did you mean: vq",
    ]


def test_unknown_backbone_is_told_once():
    with pytest.raises(UnknownNameError, match="no backbone is called 'tinny'"):
        resolved(backbone="tinny")


def test_component_of_another_kind_is_refused():
    registry = small_registry()
    registry.add([Component("head", "wrong", Plain, "", ACME)])
    with pytest.raises(PluginError, match="is Plain, expected a subclass of omniflow.interfaces"):
        resolve(Draft.from_mapping({"head": "wrong"}), registry)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("batch_size", 0, "a whole number >= 1"),
        (
            "batch_size",
            65_537,
            "at most 65536 samples a forward pass; grad_accum makes a step of several",
        ),
        ("keep", -1, "a whole number >= 1"),
        ("max_steps", 0, "a whole number >= 1, or null"),
        ("lr", 0.0, "a number in (0, 1)"),
        ("lr", 1.0, "a number in (0, 1)"),
        ("lr", float("nan"), "a number in (0, 1)"),
        ("weight_decay", -0.1, "a number >= 0"),
        ("weight_decay", float("inf"), "a number >= 0"),
        ("warmup_steps", -1, "a number >= 0"),
        ("grad_clip", 0.0, "a number above 0"),
        ("grad_clip", float("nan"), "a number above 0"),
        ("seed", -1, "a whole number in [0, 2**63)"),
        ("seed", 2**63, "a whole number in [0, 2**63)"),
    ],
)
def test_impossible_training_options_are_refused_by_their_full_name(name, value, expected):
    with pytest.raises(ConfigError) as caught:
        resolved(training={name: value})
    assert str(caught.value) == f"here: training.{name} is {value!r}, expected {expected}"


def test_datasets_can_be_resolved_alone():
    draft = Draft.from_mapping({"dataset": [{"name": "text", "path": "a"}], "head": "vqq"})
    assert resolve_datasets(draft, REGISTRY) == (Choice("text", {"path": "a"}),)
    assert resolve_datasets(Draft.empty(), REGISTRY) == (Choice("scenes", {"size": 10}),)
    with pytest.raises(UsageError, match="option path of dataset text is not given"):
        resolve_datasets(Draft.from_mapping({"dataset": "text"}), REGISTRY)


# Written and read back


def test_yaml_is_in_the_order_of_the_file_and_complete(tmp_path):
    written = yaml.safe_load(resolved(encoder="clip").to_yaml())
    assert list(written) == [
        "format", "backbone", "head", "refiner", "objective", "encoder", "dataset", "training",
    ]  # fmt: skip
    assert written["format"] == FORMAT
    assert written["head"] == {
        "name": "mlp", "hidden_dim": 12, "dropout": 0.0, "layers": [], "features": "hidden",
        "latent_dim": None,
    }  # fmt: skip
    assert written["training"]["warmup_steps"] == 500


def test_recipe_comes_back_from_its_yaml(tmp_path):
    recipe = resolved(
        head={"name": "vq", "text": "null", "place": "a/b", "pair": [2, "x"]},
        encoder=["clip", {"name": "clip", "modality": "image"}],
        dataset=[{"name": "text", "path": "Grüße: a #b"}, "scenes"],
        training={"lr": 1e-5, "max_steps": 3},
    )
    assert read_back(recipe, tmp_path) == recipe


def test_recipe_comes_back_from_its_dictionary():
    recipe = resolved(head="vq", encoder="clip", dataset={"name": "text", "path": "a"})
    assert resolve(Draft.from_mapping(recipe.to_dict()), REGISTRY) == recipe


def test_empty_list_sections_stay_empty(tmp_path):
    recipe = resolved(encoder=[])
    assert read_back(recipe, tmp_path).encoder == ()


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.floats(allow_nan=False)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "whole": st.integers(),
        "number": NUMBERS,
        "flag": st.booleans(),
        "text": TEXT,
        "choice": st.sampled_from(["a", "b", "null", "1", "yes"]),
        "numbers": st.lists(NUMBERS, max_size=4),
        "pair": st.tuples(st.integers(), TEXT),
        "mapping": st.dictionaries(TEXT, TEXT, max_size=4),
        "nested": st.dictionaries(TEXT, st.lists(st.integers(), max_size=3), max_size=3),
        "latent_dim": st.none() | st.integers(),
    },
)


@given(OPTIONS, TEXT)
def test_any_options_come_back_from_yaml(tmp_path_factory, options, path):
    recipe = resolved(head={"name": "vq", **options}, dataset={"name": "text", "path": path or "x"})
    assert read_back(recipe, tmp_path_factory.mktemp("recipe")) == recipe


@pytest.mark.parametrize(
    "text",
    [
        "a\x85b",
        "\u2028",
        "a\u2029\u2029 b",
        "\ufeff",
        "\x00\x07",
        " a ",
        "a\r\nb\n",
        "'\"",
        "- a: #b",
    ],
)
def test_odd_characters_come_back_from_yaml(tmp_path, text):
    recipe = resolved(head={"name": "vq", "text": text, "mapping": {text: text}})
    found = read_back(recipe, tmp_path).head.options
    assert (found["text"], found["mapping"]) == (text, {text: text})


def test_yaml_is_readable_by_people():
    recipe = resolved(dataset={"name": "text", "path": "Grüße 你好"})
    assert "path: Grüße 你好\n" in recipe.to_yaml()


# Shipped


def test_the_four_experiments_are_shipped():
    four = ["baseline", "head-plus-refiner", "vq", "vq-plus-refiner"]
    assert sorted(shipped_recipes()) == sorted(["flow", *four, *(f"tiny-{name}" for name in four)])


@pytest.mark.parametrize(
    ("name", "head", "refiner"),
    [
        ("baseline", "mlp", "none"),
        ("head-plus-refiner", "mlp", "mlp"),
        ("vq", "vq", "none"),
        ("vq-plus-refiner", "vq", "mlp"),
    ],
)
def test_shipped_recipe_says_what_its_name_says(registry, tmp_path, name, head, refiner):
    recipe = resolve(Draft.from_file(name), registry)
    assert isinstance(recipe, Recipe)
    assert (recipe.head.name, recipe.refiner.name) == (head, refiner)
    assert recipe.head.options["features"] == "x0"
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml(), encoding="utf-8")
    assert resolve(Draft.from_file(str(tmp_path)), registry) == recipe


def test_components_of_the_embedded_run_resolve_with_every_option_settled(registry):
    recipe = resolve(Draft.empty(), registry)
    assert (recipe.backbone.name, recipe.head.name, recipe.refiner.name) == ("tiny", "mlp", "none")
    assert recipe.objective.name == "text-decoder"
    assert [choice.name for choice in recipe.dataset] == ["scenes"]
