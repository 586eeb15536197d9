import pytest

from omniflow.draft import Draft, plain
from omniflow.recipe import TrainingOptions
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
