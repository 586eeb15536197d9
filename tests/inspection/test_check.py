"""Checks of data: what they count, what they find, and what they refuse."""

import pytest

from omniflow.errors import ConfigError
from omniflow.inspection.check import Extent, check_data
from omniflow.interfaces import Dataset, Sample
from omniflow.registry import Component, Origin

from .conftest import TRAIN, VALIDATION, write_table


def split(check, name):
    [report] = [report for report in check.splits if report.split == name]
    return report


def told(check):
    return "\n".join(str(finding) for finding in check.findings)


def repeated(check):
    return {
        (each.modality, each.first, each.second): each.count for each in check.repeats if each.count
    }


def test_a_whole_table_is_told_as_it_is(recipe_of, table_of, registry):
    seen = []
    check = check_data(
        recipe_of(table_of), registry, progress=lambda done, total: seen.append((done, total))
    )
    assert check.is_usable, told(check)
    report = split(check, "train")
    assert (report.size, report.read, report.failures) == (TRAIN, TRAIN, ())
    assert report.columns == {
        "caption": "text",
        "image": "image",
        "audio": "audio",
        "licence": None,
    }
    # The objective reads no sounds.
    assert report.mix == {"text+image": TRAIN}
    assert report.tasks == {"i2t": TRAIN, "t2i": TRAIN}
    # "pet number 0" to "pet number 19".
    characters = report.characters
    assert (characters.shortest, characters.median, characters.longest) == (12, 12, 13)
    assert report.tokens.lengths.count == TRAIN
    assert report.tokens.lengths.shortest > 4
    assert (report.tokens.max_length, report.tokens.cut) == (4, TRAIN)
    assert repeated(check) == {}
    assert all(each.is_complete for each in check.repeats)
    assert split(check, "validation").size == VALIDATION
    # Nothing is held out for testing, which is no obstacle.
    assert any("the test split is empty" in note for note in check.notes)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_modalities_may_be_others_than_the_objective_s(recipe_of, table_of, registry):
    check = check_data(recipe_of(table_of), registry, modalities={"text", "image", "audio"})
    assert split(check, "train").mix == {"text+image": TRAIN - 1, "text+image+audio": 1}
    assert split(check, "train").tasks == {"i2t": TRAIN, "t2i": TRAIN}


def test_bad_records_are_listed_and_refused_beyond_the_limit(recipe_of, table_of, registry, pets):
    (pets / "3.png").write_bytes(b"no picture")
    (pets / "8.png").unlink()
    check = check_data(recipe_of(table_of), registry)
    assert not check.is_usable
    assert "dataset csv, split train: 2 of 20 records cannot be read" in told(check)
    assert "at most 0.01 of them (training.bad_records)" in told(check)
    first, second = split(check, "train").failures
    assert (first.id, first.position, second.id) == ("train:5", 3, "train:10")
    assert "there is no such file" in second.reason
    assert split(check, "train").mix == {"text+image": TRAIN - 2}
    allowed = check_data(recipe_of(table_of, bad_records=0.1), registry)
    assert allowed.is_usable
    assert any("2 of 20 records cannot be read" in note for note in allowed.notes)
    # Who reads texts alone does not mind.
    assert check_data(recipe_of(table_of, "text-decoder"), registry).is_usable


def test_contents_that_occur_twice_are_counted(recipe_of, table_of, registry, pets):
    (pets / "21.png").write_bytes((pets / "4.png").read_bytes())
    rows = [("pet number 4", "20.png", "", ""), ("another", "21.png", "", ""),
            ("another", "22.png", "", "")]  # fmt: skip
    write_table(pets / "validation.csv", rows)
    check = check_data(recipe_of(table_of), registry)
    assert check.is_usable
    assert repeated(check) == {
        ("text", "csv train", "csv validation"): 1,
        ("image", "csv train", "csv validation"): 1,
        ("text", "csv validation", "csv validation"): 1,
    }
    [image] = [each for each in check.repeats if each.modality == "image" and each.count]
    assert image.examples == (("train:6", "validation:3"),)
    assert image.compared == (TRAIN, 3)
    assert sum("csv validation as well" in note for note in check.notes) == 2


def test_a_sample_is_said_to_be_one(recipe_of, table_of, registry):
    check = check_data(recipe_of(table_of), registry, extent=Extent(records=4, texts=8))
    report = split(check, "train")
    assert (report.size, report.read, report.texts_read) == (TRAIN, 4, 8)
    assert report.characters.count == 8
    within = {each.modality: each for each in check.repeats if each.second == "csv train"}
    assert within["text"].compared == (8, 8)
    assert within["image"].compared == (4, 4)
    assert not within["text"].is_complete
    assert not within["image"].is_complete


def test_texts_that_cannot_be_read_are_found_beyond_the_records(
    recipe_of, table_of, registry, pets
):
    rows = [
        (f"pet {number}" if number % 4 else " ", f"{number}.png", "", "") for number in range(20)
    ]
    write_table(pets / "train.csv", rows)
    check = check_data(recipe_of(table_of), registry, extent=Extent(records=2))
    report = split(check, "train")
    assert [failure.id for failure in report.text_failures] == [
        f"train:{n + 2}" for n in range(0, 20, 4)
    ]
    assert report.text_failures[0].reason == "the text is empty"
    assert "5 of 20 records cannot be read" in told(check)


def test_a_stream_is_counted_as_far_as_it_is_read(recipe_of, registry, tmp_path):
    (tmp_path / "lines.txt").write_text("".join(f"line {number}\n" for number in range(500)))
    dataset = {"name": "text", "path": str(tmp_path / "lines.txt"), "streaming": True}
    some = split(check_data(
        recipe_of(dataset, "text-decoder"), registry, extent=Extent(records=30)
    ), "train")  # fmt: skip
    assert (some.is_stream, some.size, some.read, some.texts_read) == (True, None, 30, 30)
    check = check_data(recipe_of(dataset, "text-decoder"), registry)
    assert sum(report.size for report in check.splits) == 500
    assert all(each.is_complete for each in check.repeats)
    # Without an end.
    scenes = {"name": "scenes", "streaming": True}
    endless = split(check_data(
        recipe_of(scenes, "text-decoder"), registry, extent=Extent(records=5)
    ), "train")  # fmt: skip
    assert (endless.size, endless.read) == (None, 5)


def test_columns_that_are_not_there_are_told_once_with_those_that_are(
    recipe_of, table_of, registry
):
    check = check_data(recipe_of({**table_of, "text_column": "captoin"}), registry)
    [finding] = {str(finding).replace("validation.csv", "train.csv") for finding in check.findings}
    assert "no column is called 'captoin'" in finding
    assert "did you mean: caption" in finding
    assert check.splits == ()


def test_records_that_serve_no_task_are_told(recipe_of, table_of, registry):
    sounds = {"name": "flow", "tasks": ["i2a"]}
    check = check_data(recipe_of(table_of, sounds), registry)
    assert any("19 of 20 records serve no task" in note for note in check.notes)
    # None of the validation split has a sound.
    assert "split validation: 5 of 5 records serve no task" in told(check)


def test_tasks_that_the_objective_has_not_are_refused(recipe_of, table_of, registry):
    check = check_data(recipe_of({**table_of, "tasks": ["i2a"]}), registry)
    assert "dataset.csv.tasks is 'i2a', expected tasks of the objective: i2t, t2i" in told(check)
    own = check_data(recipe_of({**table_of, "tasks": ["i2t"], "label": "pets"}), registry)
    assert own.is_usable
    assert (own.splits[0].dataset, own.splits[0].tasks) == ("pets", {"i2t": TRAIN})


def test_an_error_that_would_end_a_run_stands_in_its_way(recipe_of, registry):
    class Strange(Dataset):
        def __init__(self, *, split: str) -> None:
            self.split = split

        def __len__(self):
            return 3

        def __getitem__(self, index):
            if index == 1:
                raise ValueError("no\n  pixels")
            return Sample(id=str(index), text="text")

    registry.add([Component("dataset", "strange", Strange, "Strange", Origin("tests", "0"))])
    check = check_data(recipe_of("strange", "text-decoder"), registry)
    assert "1 of 3 records cannot be read" in told(check)
    assert "1: ValueError: no pixels" in told(check)


def test_extents_are_whole_numbers():
    with pytest.raises(ConfigError, match="records is 0"):
        Extent(records=0)
