"""Drafts: what was said and where, laid over one another, one setting at a time."""

from pathlib import Path

import pytest

from omniflow.draft import Draft, Said, plain
from omniflow.errors import ConfigError, UnknownNameError, UsageError
from omniflow.recipe import FORMAT, SINGLE_SECTIONS, shipped_recipes


@pytest.fixture
def file(tmp_path):
    """Writes a recipe file and reads it as a draft."""

    def read(text):
        (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
        return Draft.from_file(str(tmp_path / "r.yaml"))

    read.path = tmp_path / "r.yaml"
    return read


def draft(**sections):
    return Draft.from_mapping(sections)


def values(given):
    """The draft without where things were said; list sections as lists."""
    return {name: plain(tree) for name, tree in given.sections.items()}


# From a file


def test_every_value_knows_its_line(file):
    read = file("head:\n  name: vq\n\n  # larger\n  codebook_size: 4096\ntraining: {lr: 1e-4}\n")
    assert read.sections["head"] == {
        "name": Said("vq", f"{file.path}:2"),
        "codebook_size": Said(4096, f"{file.path}:5"),
    }
    assert read.sections["training"]["lr"] == Said("1e-4", f"{file.path}:6")


def test_nested_values_and_lists_know_their_lines(file):
    read = file(
        "objective:\n  name: text-decoder\n  weights:\n    ce: 1\n    vq: 2\n"
        "dataset:\n  - text\n  - name: scenes\n    size: 3\n  - scenes\n"
    )
    assert read.sections["objective"]["weights"]["vq"] == Said(2, f"{file.path}:5")
    assert [entry["name"].where for entry in read.sections["dataset"]] == [
        f"{file.path}:{line}" for line in (7, 8, 10)
    ]
    assert read.sections["dataset"][1]["size"] == Said(3, f"{file.path}:9")


def test_bare_names_are_components(file):
    read = file("head: vq\nencoder: clip\ndataset: [text, scenes]\n")
    assert values(read) == {
        "head": {"name": "vq"},
        "encoder": [{"name": "clip"}],
        "dataset": [{"name": "text"}, {"name": "scenes"}],
    }


@pytest.mark.parametrize("text", ["encoder: []\n", "encoder: null\n", "encoder:\n"])
def test_list_section_may_be_empty(file, text):
    assert values(file(text)) == {"encoder": []}


def test_anchors_are_followed(file):
    assert values(file("head: &same {name: mlp}\nrefiner: *same\n")) == {
        "head": {"name": "mlp"},
        "refiner": {"name": "mlp"},
    }


def test_option_may_be_a_list_of_mappings(file):
    read = file("head:\n  name: mlp\n  layers:\n    - {width: 3}\n    - {width: 4}\n")
    assert values(read) == {"head": {"name": "mlp", "layers": [{"width": 3}, {"width": 4}]}}


def test_format_line_is_read_and_not_kept(file):
    assert values(file(f"format: {FORMAT}\nhead: vq\n")) == {"head": {"name": "vq"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "{file}: the file is empty, expected a recipe"),
        ("# nothing\n", "{file}: the file is empty, expected a recipe"),
        ("just words\n", "{file}:1: not a recipe, expected sections backbone, head, refiner,"),
        ("- head\n", "{file}:1: not a recipe, expected sections"),
        ("- {head: vq}\n", "{file}:1: not a recipe, expected sections"),
        ("format: other/1\n", "{file}:1: format is 'other/1', expected omniflow.recipe/1"),
        ("format: {a: 1}\n", "{file}:1: format is {{'a': 1}}, expected omniflow.recipe/1"),
        ("format: [{a: 1}]\n", "{file}:1: format is [{{'a': 1}}], expected omniflow.recipe/1"),
        ("head: vq\nhaed: mlp\n", "{file}:2: no section of a recipe is called 'haed'"),
        ("head: vq\nhaed:\n  - x: 1\n", "{file}:3: no section of a recipe is called 'haed'"),
        ("head: 3\n", "{file}:1: head is 3, expected options by name"),
        ("head:\n", "{file}:1: head is None, expected options by name"),
        ("head: [vq]\n", "{file}:1: head is ['vq'], expected options by name"),
        ("training: fast\n", "{file}:1: training is 'fast', expected options by name"),
        ("head:\n  name: 3\n", "{file}:2: head.name is 3, expected a name"),
        ("head:\n  name: {a: 1}\n", "{file}:2: head.name is {{'a': 1}}, expected a name"),
        (
            "dataset:\n  - path: a\n",
            "{file}:2: an entry of dataset has no name, expected name: NAME",
        ),
        ("dataset: [3]\n", "{file}:1: dataset is 3, expected options by name"),
        ("head: vq\nhead: mlp\n", "{file}:2: 'head' is given twice"),
        ("head:\n  a: 1\n  b: 2\n  a: 3\n", "{file}:4: 'a' is given twice"),
        ("head: {name: vq\n\nrefiner: none\n", "{file}:3: not readable as YAML ("),
        ("head:\n\t- a\n", "{file}:2: not readable as YAML ("),
        ("head: *x\n", "{file}:1: not readable as YAML (found undefined alias"),
        ("a: 1\n---\nb: 2\n", "{file}:2: not readable as YAML ("),
        ("head: \x00\n", "{file}: not readable as YAML"),
        ("head:\n  a: 2020-13-45\n", "{file}:2: '2020-13-45' is not readable (month must be in"),
        ("head:\n  a: 0x_\n", "{file}:2: '0x_' is not readable ("),
        ("head: &x\n  a: *x\n", "{file}: it is nested too deeply"),
        ("head: " + "[" * 1000 + "]" * 1000, "{file}: it is nested too deeply"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(file, text, message):
    with pytest.raises(UsageError) as caught:
        file(text)
    assert str(caught.value).startswith(message.format(file=file.path))


@pytest.mark.parametrize(
    "text",
    [
        "head: !!python/object/apply:os.system ['touch {trap}']\n",
        "head: !!python/object/apply:os.system [{{a: 1}}]\n",
        "head: !!python/object/new:os.system {{name: mlp}}\n",
        "head: !!python/name:os.system\n",
        "head:\n  name: mlp\n  a: !!python/tuple [1]\n",
        "!!python/object:omniflow.draft.Draft {{head: vq}}\n",
        "head: !other {{name: mlp}}\n",
    ],
)
def test_tags_that_run_code_are_refused_and_run_nothing(file, tmp_path, text):
    trap = tmp_path / "trap"
    with pytest.raises(UsageError, match="could not determine a constructor for the tag"):
        file(text.format(trap=trap))
    assert not trap.exists()


def test_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "r.yaml").write_bytes("head: Kopfgröße".encode("latin-1"))
    with pytest.raises(UsageError, match="not UTF-8 text, expected a recipe in YAML"):
        Draft.from_file(str(tmp_path / "r.yaml"))


def test_recipe_that_there_is_not_suggests_a_shipped_one():
    with pytest.raises(UnknownNameError) as caught:
        Draft.from_file("basline", where="--recipe")
    assert str(caught.value).splitlines()[:2] == [
        "--recipe: no recipe or file is called 'basline'",
        "  did you mean: baseline, tiny-baseline",
    ]


def test_folder_of_a_run_stands_for_its_recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text("head: vq\n")
    assert values(Draft.from_file(str(tmp_path))) == {"head": {"name": "vq"}}


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_shipped_recipe_is_read_by_its_name(name):
    assert Draft.from_file(name) == Draft.from_file(str(shipped_recipes()[name]))


# Laid over one another


def test_upper_value_wins_and_the_lower_ones_stay():
    over = draft(head={"b": 3}, training={"lr": 1}).over(draft(head={"name": "vq", "a": 1, "b": 2}))
    assert values(over) == {"head": {"name": "vq", "a": 1, "b": 3}, "training": {"lr": 1}}


def test_naming_another_component_drops_the_options_of_the_old_one():
    below = draft(head={"name": "vq", "codebook_size": 64})
    assert values(draft(head="mlp").over(below)) == {"head": {"name": "mlp"}}
    assert values(draft(head={"name": "mlp", "hidden_dim": 8}).over(below)) == {
        "head": {"name": "mlp", "hidden_dim": 8}
    }


def test_naming_the_same_component_keeps_its_options():
    below = draft(head={"name": "vq", "codebook_size": 64})
    assert values(draft(head="vq").over(below)) == {"head": {"name": "vq", "codebook_size": 64}}


def test_nested_options_are_merged_key_by_key():
    over = draft(objective={"weights": {"ce": 2, "vq": 1}}).over(
        draft(objective={"name": "text-decoder", "weights": {"ce": 1, "mse": 1}})
    )
    assert values(over)["objective"] == {
        "name": "text-decoder",
        "weights": {"ce": 2, "mse": 1, "vq": 1},
    }


def test_list_sections_are_replaced_as_a_whole():
    below = draft(dataset=["scenes", "text"], encoder=["clip"])
    assert values(draft(dataset=["text"]).over(below)) == {
        "dataset": [{"name": "text"}],
        "encoder": [{"name": "clip"}],
    }
    assert values(draft(encoder=[]).over(below))["encoder"] == []


def test_merging_leaves_both_drafts_as_they_were():
    below = draft(objective={"name": "text-decoder", "weights": {"ce": 1}})
    above = draft(objective={"weights": {"ce": 2}})
    above.over(below).with_setting("objective.weights.ce", 3)
    assert values(below) == {"objective": {"name": "text-decoder", "weights": {"ce": 1}}}
    assert values(above) == {"objective": {"weights": {"ce": 2}}}


def test_merging_keeps_where_each_value_was_said():
    over = Draft.from_mapping({"head": {"a": 1}}, where="--a").over(
        Draft.from_mapping({"head": {"a": 0, "b": 0}}, where="file:1")
    )
    assert over.sections["head"] == {"a": Said(1, "--a"), "b": Said(0, "file:1")}


def test_order_of_three_drafts_does_not_depend_on_the_brackets():
    one, two, three = draft(head={"name": "vq", "a": 1}), draft(head={"b": 2}), draft(head={"a": 3})
    assert three.over(two).over(one) == three.over(two.over(one))


# One setting at a time


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("head.codebook_size", {"head": {"name": "vq", "codebook_size": 9}}),
        ("training.lr", {"head": {"name": "vq"}, "training": {"lr": 9}}),
        ("head.a.b.c", {"head": {"name": "vq", "a": {"b": {"c": 9}}}}),
        ("backbone.path", {"head": {"name": "vq"}, "backbone": {"path": 9}}),
    ],
)
def test_dots_lead_to_the_option(key, expected):
    assert values(draft(head="vq").with_setting(key, 9)) == expected


def test_setting_knows_where_it_was_said():
    found = Draft.empty().with_setting("head.a", "1", where="--set head.a=1")
    assert found.sections["head"]["a"] == Said("1", "--set head.a=1")


def test_setting_a_nested_value_keeps_its_siblings():
    given = draft(objective={"name": "text-decoder", "weights": {"ce": 1, "mse": 1}})
    found = given.with_setting("objective.weights.ce", 5)
    assert values(found)["objective"]["weights"] == {"ce": 5, "mse": 1}


def test_setting_another_name_drops_the_options():
    given = draft(head={"name": "vq", "a": 1}, dataset=[{"name": "text", "path": "x"}])
    assert values(given.with_setting("head.name", "mlp"))["head"] == {"name": "mlp"}
    assert values(given.with_setting("dataset.name", "scenes"))["dataset"] == [{"name": "scenes"}]


@pytest.mark.parametrize("key", ["dataset.path", "dataset.0.path", "dataset.text.path"])
def test_option_of_the_only_dataset_needs_no_address(key):
    given = draft(dataset=[{"name": "text", "path": "old"}])
    assert values(given.with_setting(key, "new"))["dataset"] == [{"name": "text", "path": "new"}]


@pytest.mark.parametrize("key", ["dataset.1.path", "dataset.text.path"])
def test_option_of_one_of_several_datasets_is_addressed_by_position_or_name(key):
    found = draft(dataset=["scenes", "text"]).with_setting(key, "new")
    assert values(found)["dataset"] == [{"name": "scenes"}, {"name": "text", "path": "new"}]


def test_nested_option_of_a_dataset_is_reached():
    found = draft(dataset=["text"]).with_setting("dataset.columns.text", "caption")
    assert values(found)["dataset"] == [{"name": "text", "columns": {"text": "caption"}}]


@pytest.mark.parametrize(
    ("datasets", "key", "message"),
    [
        (
            ["scenes", "text"],
            "dataset.path",
            "dataset.path fits no dataset, expected dataset.NAME.path with one of scenes, text",
        ),
        (
            ["scenes", "text"],
            "dataset.2.path",
            "dataset.2.path fits no dataset, expected dataset.NAME.path with one of scenes, text",
        ),
        ([], "dataset.path", "dataset.path fits no dataset, expected a dataset to be named first"),
        (["text"], "dataset", "'dataset' names no option, expected section.option=value"),
        (["text"], "head.", "'head.' names no option, expected section.option=value"),
        (["text"], "head..a", "'head..a' names no option, expected section.option=value"),
        (["text"], "haed.a", "no section of a recipe is called 'haed'"),
        (["text"], "", "no section of a recipe is called ''"),
        (["text"], "format.x", "no section of a recipe is called 'format'"),
    ],
)
def test_key_that_leads_nowhere_is_refused(datasets, key, message):
    with pytest.raises(UsageError) as caught:
        draft(dataset=datasets).with_setting(key, 1, where="--set")
    assert str(caught.value).startswith(f"--set: {message}")


@pytest.mark.parametrize("key", ["head.name", "head.name.x", "dataset.name", "dataset.0.name"])
@pytest.mark.parametrize("value", [5, None])
def test_name_is_set_to_a_name_only(key, value):
    with pytest.raises(ConfigError, match="expected a name"):
        draft(head="vq", dataset=["text"]).with_setting(key, value)


# From Python


def test_tuples_and_paths_are_taken_as_they_are():
    found = draft(dataset=({"name": "text", "path": Path("a"), "columns": ("a", "b")},))
    assert values(found)["dataset"] == [{"name": "text", "path": Path("a"), "columns": ["a", "b"]}]


def test_defaults_name_every_component_that_a_run_needs():
    sections = Draft.defaults().sections
    named = {kind: sections[kind]["name"].value for kind in SINGLE_SECTIONS}
    assert named == {
        "backbone": "tiny", "head": "mlp", "refiner": "none", "objective": "text-decoder"
    }  # fmt: skip
    assert [entry["name"].value for entry in sections["dataset"]] == ["scenes"]


def test_an_option_of_the_default_dataset_needs_no_name_of_it():
    draft = Draft.empty().with_setting("dataset.size", 5)
    assert plain(draft.sections["dataset"]) == [{"name": "scenes", "size": 5}]
