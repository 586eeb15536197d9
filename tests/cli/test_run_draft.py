import pytest
import yaml

from omniflow.draft import Draft, plain
from omniflow.errors import ConfigError, MistakesError, UsageError
from omniflow.mixing import labels_of, weights_of
from omniflow.recipe import TrainingOptions
from omniflow.resolve import resolve
from omniflow_cli.run_draft import LISTS, NAMES, SETTINGS, draft_of

UNSAID = dict.fromkeys([*SETTINGS, *NAMES, *LISTS, "backbone", "setting"])


def draft(base=None, **said):
    return draft_of({**UNSAID, **said}, Draft.from_mapping(base or {}))


def values(drafted):
    return {
        name: [plain(entry) for entry in tree] if isinstance(tree, list) else plain(tree)
        for name, tree in drafted.sections.items()
    }


def test_nothing_said_leaves_everything_open():
    assert values(draft()) == {}


def test_flags_win_over_the_recipe_and_set_wins_over_flags():
    base = {"head": {"name": "vq", "codebook_size": 8}, "training": {"lr": 1e-3, "seed": 1}}
    drafted = draft(base, lr="1e-4", seed="2", setting=["training.seed=3"])
    assert values(drafted)["head"] == {"name": "vq", "codebook_size": 8}
    assert values(drafted)["training"] == {"lr": "1e-4", "seed": "3"}


def test_another_head_drops_the_options_of_the_recipe_s():
    base = {"head": {"name": "vq", "codebook_size": 8}}
    assert values(draft(base, head="mlp"))["head"] == {"name": "mlp"}


def test_every_value_remembers_its_flag():
    drafted = draft(head="vq", ce_weight="2", setting=["head.decay=0.5"])
    assert drafted.sections["head"]["name"].where == "--head"
    assert drafted.sections["head"]["decay"].where == "--set"
    assert drafted.sections["objective"]["weights"]["ce"].where == "--ce-weight"


def test_lists_are_replaced_as_a_whole():
    drafted = draft({"dataset": ["scenes"]}, dataset=["text"], setting=["dataset.path=a=b.txt"])
    assert values(drafted)["dataset"] == [{"name": "text", "path": "a=b.txt"}]


def test_the_default_dataset_takes_settings_too():
    assert values(draft(setting=["dataset.size=9"]))["dataset"] == [{"name": "scenes", "size": "9"}]


@pytest.mark.parametrize("path", ["./v0.5", "weights/v0.5"])
def test_a_path_as_backbone_means_that_folder(path):
    assert values(draft(backbone=path))["backbone"] == {"name": "folder", "path": path}


def test_an_existing_folder_as_backbone_means_that_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    assert values(draft(backbone="tiny"))["backbone"] == {"name": "folder", "path": "tiny"}


def test_a_word_as_backbone_is_a_name():
    assert values(draft(backbone="omniflow-v0.5"))["backbone"] == {"name": "omniflow-v0.5"}


def test_every_setting_of_the_loop_exists():
    options = TrainingOptions.__dataclass_fields__
    named = {key.partition(".")[2] for key in SETTINGS.values() if key.startswith("training.")}
    assert named <= options.keys()


@pytest.mark.parametrize(
    ("said", "name", "weight"),
    [
        ("coco:2", "coco", 2.0),
        ("omniflow-zoo:coco:0.5", "omniflow-zoo:coco", 0.5),
        ("coco:1e3", "coco", 1000.0),
        ("coco:-1", "coco", -1.0),
        ("coco:.5", "coco", 0.5),
        ("coco", "coco", None),
        ("omniflow-zoo:coco", "omniflow-zoo:coco", None),
        ("coco:two", "coco:two", None),
        ("coco:2x", "coco:2x", None),
        ("C:\\data\\a.csv", "C:\\data\\a.csv", None),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", None),
    ],
)
def test_a_number_after_the_last_colon_is_a_weight(said, name, weight):
    [entry] = values(draft(dataset=[said]))["dataset"]
    assert entry == {"name": name, **({} if weight is None else {"weight": weight})}


def test_weights_that_are_none_are_refused_with_their_flag(registry):
    for said in ("scenes:0", "scenes:-1", "scenes:nan", "scenes:inf"):
        with pytest.raises(
            ConfigError, match=r"dataset\.scenes\.weight is .*a number above 0"
        ) as e:
            resolve(draft(dataset=[said, "wikitext"]), registry)
        assert e.value.where == "--dataset"


def test_mistakes_in_a_mix_are_told_together(registry):
    with pytest.raises(MistakesError) as caught:
        resolve(draft(dataset=["scenes:2", "scenes:1", "coko:1"]), registry)
    told = str(caught.value)
    assert "dataset scenes is there twice, with the same options" in told
    assert "expected once, and a weight for it: scenes:2" in told
    assert "no dataset is called 'coko'" in told
    assert "did you mean: coco" in told


def test_a_misspelt_weight_is_told_what_it_may_mean(registry):
    with pytest.raises(
        UsageError, match="no option of dataset scenes is called 'wieght'"
    ) as caught:
        resolve(draft({"dataset": [{"name": "scenes", "wieght": 2}]}), registry)
    assert caught.value.nearest[0] == "weight"


def test_entries_of_one_name_are_told_apart_by_label_or_position(registry):
    entries = [{"name": "csv", "path": "a.csv", "label": "first"}, {"name": "csv", "path": "b.csv"}]
    base = {"dataset": [*entries, {"name": "csv", "path": "c.csv"}]}
    drafted = draft(base, setting=["dataset.first.weight=3", "dataset.2.seed=7"])
    recipe = resolve(drafted, registry)
    assert [choice.mixing and choice.mixing.weight for choice in recipe.dataset] == [
        3.0,
        None,
        None,
    ]
    assert recipe.dataset[2].options["seed"] == 7
    assert labels_of(recipe.dataset) == ["first", "csv-1", "csv-2"]
    assert weights_of(recipe.dataset, "train") == [3.0, 1.0, 1.0]
    with pytest.raises(UsageError, match=r"fits several, expected dataset\.1 or dataset\.2"):
        draft(base, setting=["dataset.csv.seed=7"])
    twice = draft({"dataset": [entries[0], {**entries[1], "label": "first"}]})
    with pytest.raises(ConfigError, match=r"dataset\.1\.label is 'first', expected a label of its"):
        resolve(twice, registry)


def test_a_mix_comes_back_from_its_recipe(registry):
    said = {
        "name": "scenes",
        "weight": 2,
        "validation_weight": 0,
        "tasks": {"t2t": 1.0},
        "label": "a",
    }
    recipe = resolve(draft({"dataset": [said, {"name": "csv", "path": "b.csv"}]}), registry)
    again = resolve(Draft.from_mapping(yaml.safe_load(recipe.to_yaml())), registry)
    assert again == recipe
    assert weights_of(again.dataset, "train") == [2.0, 1.0]
    assert weights_of(again.dataset, "validation") == [0.0, 1.0]
    plainly = resolve(draft({"dataset": ["scenes"]}), registry)
    assert plainly.to_dict()["dataset"][0].keys().isdisjoint(said.keys() - {"name"})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"validation_weight": -1}, r"validation_weight is -1\.0, expected a number >= 0"),
        ({"tasks": {"t2t": 0}}, "at least one task of weight above 0"),
        ({"tasks": ["x2t"]}, "task is 'x2t'"),
        ({"label": "a.b"}, "label is 'a.b', expected letters"),
        ({"weight": True}, "option weight of dataset scenes is True"),
    ],
)
def test_what_does_not_mix_is_refused(said, told, registry):
    with pytest.raises(ConfigError, match=told):
        resolve(draft({"dataset": [{"name": "scenes", **said}]}), registry)
