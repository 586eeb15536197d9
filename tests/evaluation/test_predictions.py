"""predictions.json: what is written is read back, and what is wrong is named."""

import json
import math
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omniflow.errors import DataError, OmniFlowError, UsageError
from omniflow.evaluation.predictions import (
    PredictionFile,
    pair_predictions,
    read_predictions,
    write_predictions,
)
from omniflow.interfaces.metric import Prediction, TokenScores

RECORD = {"id": "a", "task": "i2t", "prediction": "a red circle", "references": ["a circle"]}
SCORED = {"token_count": 4, "token_nll": 2.5, "token_correct": 3}

# Any text, also lone halves of surrogate pairs, which JSON can spell and UTF-8 cannot.
texts = st.text(st.characters(exclude_categories=()), max_size=12)
token_scores = st.integers(0, 99).flatmap(
    lambda count: st.builds(
        TokenScores,
        count=st.just(count),
        nll=st.floats(0, allow_infinity=False),
        correct=st.integers(0, count),
    )
)
predictions = st.builds(
    Prediction,
    id=texts.filter(bool),
    task=st.sampled_from(["i2t", "ia2t"]),
    prediction=texts,
    references=st.lists(texts, min_size=1, max_size=3).map(tuple),
    tokens=st.none() | token_scores,
)
files = st.builds(
    PredictionFile,
    model=st.none() | texts,
    task=st.just("any2t"),
    records=st.lists(predictions, min_size=1, max_size=5, unique_by=lambda record: record.id).map(
        tuple
    ),
)


@pytest.fixture
def save(tmp_path):
    """Writes text, bytes or plain data to a file of its own and gives its path."""

    def _save(content):
        path = tmp_path / "predictions.json"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            text = content if isinstance(content, str) else json.dumps(content)
            path.write_text(text, encoding="utf-8")
        return path

    return _save


def whole(*records, **changes):
    return {"format": "omniflow.predictions/1", "model": "m", "task": "i2t"} | {
        "records": list(records),
        **changes,
    }


def message_of(path):
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    message = caught.value.render()
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


# Each example writes the same file anew, so sharing the folder changes nothing.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(content=files)
def test_what_is_written_is_read_back(content, tmp_path):
    path = tmp_path / "predictions.json"
    write_predictions(path, content)
    assert read_predictions(path) == content


def test_the_file_looks_as_documented(tmp_path):
    path = tmp_path / "predictions.json"
    records = (
        Prediction("a", "i2t", "紅色圓圈", ("a red circle", "a circle")),
        Prediction("b", "i2t", "", ("a box",), TokenScores(count=4, nll=2.5, correct=3)),
    )
    write_predictions(
        path,
        PredictionFile(model="runs/7", task="i2t", records=records, dataset="scenes", split="test"),
    )
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "format": "omniflow.predictions/1",
        "model": "runs/7",
        "task": "i2t",
        "dataset": "scenes",
        "split": "test",
        "records": [
            {
                "id": "a",
                "task": "i2t",
                "prediction": "紅色圓圈",
                "references": ["a red circle", "a circle"],
            },
            {
                "id": "b",
                "task": "i2t",
                "prediction": "",
                "references": ["a box"],
                "token_count": 4,
                "token_nll": 2.5,
                "token_correct": 3,
            },
        ],
    }
    assert "紅色圓圈" in path.read_text(encoding="utf-8")


def test_a_bare_list_is_read_and_shares_its_task(save):
    content = read_predictions(save([RECORD, RECORD | {"id": "b"} | SCORED]))
    assert content.model is None
    assert content.task == "i2t"
    assert content.records == (
        Prediction("a", "i2t", "a red circle", ("a circle",)),
        Prediction("b", "i2t", "a red circle", ("a circle",), TokenScores(4, 2.5, 3)),
    )


def test_records_of_several_tasks_have_none_in_common(save):
    content = read_predictions(save([RECORD, RECORD | {"id": "b", "task": "a2t"}]))
    assert content.task is None
    assert [record.task for record in content.records] == ["i2t", "a2t"]


def test_a_record_without_task_takes_the_files(save):
    untold = {key: value for key, value in RECORD.items() if key != "task"}
    assert read_predictions(save(whole(untold, task="ia2t"))).records[0].task == "ia2t"
    content = read_predictions(save([untold]))
    assert content.records[0].task == ""
    assert content.task is None


def test_keys_that_nobody_knows_and_a_byte_order_mark_are_no_mistake(save):
    data = json.dumps(whole(RECORD | {"seconds": 3}, note="x")).encode("utf-8-sig")
    assert len(read_predictions(save(data)).records) == 1


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    assert message_of(tmp_path / "none.json").startswith(": there is no such file")
    assert message_of(tmp_path).startswith(": the file cannot be read (")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ": the file is empty, expected a predictions.json"),
        ("  \n", ": the file is empty, expected a predictions.json"),
        (b"\xff\xfe[", ": byte 0 is not UTF-8 text, expected a JSON file"),
        (
            "bleu: 3",
            ":1: not valid JSON: Expecting value in column 1, expected a predictions.json",
        ),
        ("9" * 5000, ": not readable as JSON: Exceeds the limit"),
        ("[" * 200_000, ": not readable as JSON: maximum recursion depth"),
        ("3", ": the content is 3, expected a list of records"),
        ("null", ": the content is null, expected a list of records"),
        ("[]", ": the file holds no records, expected at least one prediction"),
    ],
)
def test_a_file_that_is_no_list_of_records_is_refused(save, content, expected):
    assert message_of(save(content)).startswith(expected)


def test_a_file_cut_off_anywhere_is_refused_and_says_why(save):
    text = json.dumps(whole(RECORD | SCORED), indent=2)
    for length in range(1, len(text)):
        message = message_of(save(text[:length]))
        assert "not valid JSON" in message
        assert "may have been cut off" in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"records": [RECORD]},
            ": the file has no format, expected 'omniflow.predictions/1' (or a bare list of "
            "records)",
        ),
        (
            whole(RECORD, format="omniflow.predictions/2"),
            ": format is the text 'omniflow.predictions/2', expected 'omniflow.predictions/1' "
            "(or a bare list of records)\n  it was written for another version of omniflow",
        ),
        (
            whole(RECORD, format="omniflow.evaluation/1"),
            ": format is the text 'omniflow.evaluation/1', expected 'omniflow.predictions/1' "
            "(or a bare list of records)",
        ),
        (whole(RECORD, model=3), ": model is 3, expected a text"),
        (whole(RECORD, task=["i2t"]), ": task is a list, expected a text"),
        (whole(), ": the file holds no records, expected at least one prediction"),
        (whole(RECORD, records={}), ": records is an object, expected a list of records"),
    ],
)
def test_a_wrong_head_of_the_file_is_refused(save, content, expected):
    assert message_of(save(content)) == expected


@pytest.mark.parametrize("key", ["id", "prediction", "references"])
def test_a_record_that_lacks_a_key_is_named(save, key):
    lacking = {name: value for name, value in (RECORD | {"id": "b"}).items() if name != key}
    message = message_of(save(whole(RECORD, lacking)))
    place = ", record 2" if key == "id" else ", record 2 (b)"
    assert message.startswith(f"{place}: the record has no {key}, expected id, prediction and")
    assert f"it has: {', '.join(lacking)}" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"id": 7}, ", record 1: id is 7, expected a text"),
        ({"id": ""}, ", record 1: id is empty, expected a text of its own"),
        ({"task": 7}, ", record 1 (a): task is 7, expected a text"),
        ({"prediction": None}, ", record 1 (a): prediction is null, expected a text"),
        ({"prediction": ["x"]}, ", record 1 (a): prediction is a list, expected a text"),
        (
            {"references": "a circle"},
            ", record 1 (a): references is the text 'a circle', expected a list of at least one "
            "text",
        ),
        (
            {"references": []},
            ", record 1 (a): references is an empty list, expected a list of at least one text",
        ),
        ({"references": ["x", 3]}, ", record 1 (a): reference 2 is 3, expected a text"),
        (
            {"token_count": 4},
            ", record 1 (a): token scores without token_nll, token_correct, expected "
            "token_count, token_nll, token_correct, or none of them",
        ),
        (
            SCORED | {"token_nll": None},
            ", record 1 (a): token scores without token_nll, expected token_count, token_nll, "
            "token_correct, or none of them",
        ),
        (
            SCORED | {"token_count": 4.0},
            ", record 1 (a): token_count is 4.0, expected a whole number >= 0",
        ),
        (
            SCORED | {"token_count": True},
            ", record 1 (a): token_count is true, expected a whole number >= 0",
        ),
        (
            SCORED | {"token_correct": -1},
            ", record 1 (a): token_correct is -1, expected a whole number >= 0",
        ),
        (
            SCORED | {"token_correct": 5},
            ", record 1 (a): token_correct is 5, expected at most token_count, 4",
        ),
        (
            SCORED | {"token_nll": "2.5"},
            ", record 1 (a): token_nll is the text '2.5', expected a finite number >= 0",
        ),
        (
            SCORED | {"token_nll": math.nan},
            ", record 1 (a): token_nll is NaN, expected a finite number >= 0",
        ),
        (
            SCORED | {"token_nll": -0.5},
            ", record 1 (a): token_nll is -0.5, expected a finite number >= 0",
        ),
        (
            SCORED | {"token_nll": 10**400},
            ", record 1 (a): token_nll is a very large number, expected a finite number >= 0",
        ),
    ],
)
def test_a_record_of_wrong_types_is_named(save, change, expected):
    assert message_of(save(whole(RECORD | change))) == expected


def test_a_record_that_is_no_object_is_named(save):
    message = message_of(save([RECORD, "a red circle"]))
    assert message.startswith(", record 2: the record is the text 'a red circle', expected an")


def test_two_records_of_one_id_are_named(save):
    assert message_of(save([RECORD, RECORD | {"id": "b"}, RECORD])) == (
        ", record 3: id 'a' is also the id of record 1, expected a different id for each record"
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*RECORD, *SCORED, "format", "records", "model"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80)
@given(record=json_values, change=st.dictionaries(st.sampled_from([*RECORD, *SCORED]), json_values))
def test_whatever_a_record_holds_is_read_or_refused_in_our_words(save, record, change):
    for content in (record, whole(record), [RECORD | change]):
        path = save(content)
        message = ""
        try:
            read_predictions(path)
        except DataError as error:
            message = error.render()
        assert not message or message.startswith(str(path))


def test_writing_makes_folders_and_replaces_the_file(tmp_path, save):
    path = tmp_path / "runs" / "7" / "predictions.json"
    for text in ("first", "second"):
        records = (Prediction("a", "i2t", text, ("x",)),)
        write_predictions(path, PredictionFile(None, "i2t", records))
        assert read_predictions(path).records == records
    assert os.listdir(path.parent) == ["predictions.json"]


def test_a_crash_while_writing_leaves_the_previous_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "predictions.json"
    before = PredictionFile(None, "i2t", (Prediction("a", "i2t", "before", ("x",)),))
    write_predictions(path, before)

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OmniFlowError) as caught:
        write_predictions(path, PredictionFile(None, None, ()))
    assert str(path) in caught.value.render()
    assert "No space left on device" in caught.value.render()
    assert caught.value.exit_code == 1
    assert read_predictions(path) == before
    assert os.listdir(tmp_path) == ["predictions.json"]


def test_a_target_that_cannot_be_written_is_the_persons_to_change(tmp_path):
    content = PredictionFile(None, "i2t", (Prediction("a", "i2t", "x", ("x",)),))
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "file" / "predictions.json", tmp_path / "folder"):
        with pytest.raises(UsageError, match="cannot be written"):
            write_predictions(target, content)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_symbolic_link_is_followed(tmp_path):
    target, link = tmp_path / "real.json", tmp_path / "link.json"
    link.symlink_to(target)
    content = PredictionFile(None, "i2t", (Prediction("a", "i2t", "x", ("x",)),))
    write_predictions(link, content)
    assert link.is_symlink()
    assert read_predictions(target) == content


def test_a_likelihood_that_is_no_number_is_kept_out_of_the_json(tmp_path):
    path = tmp_path / "predictions.json"
    records = (Prediction("a", "i2t", "x", ("x",), TokenScores(1, math.nan, 0)),)
    write_predictions(path, PredictionFile(None, "i2t", records))
    assert json.loads(path.read_text())["records"][0]["token_nll"] is None
    assert ", record 1 (a): token scores without token_nll" in message_of(path)


def test_a_folder_of_media_is_read_by_its_manifest(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    records = [
        {"id": "a", "image": "000000.png", "references": ["a red circle"]},
        {"id": "b", "audio": "000001.wav", "prediction": "a text too", "references": []},
    ]
    content = {"format": "omniflow.media/1", "model": "m", "task": "t2i", "records": records}
    (folder / "manifest.json").write_text(json.dumps(content))
    assert read_predictions(folder).records == (
        Prediction("a", "t2i", "", ("a red circle",), image=str(folder / "000000.png")),
        Prediction("b", "t2i", "a text too", (), audio=str(folder / "000001.wav")),
    )


def test_its_format_is_what_generating_writes():
    from omniflow.evaluation import predictions
    from omniflow.generation import media

    assert (predictions.MEDIA_FORMAT, predictions.MANIFEST) == (media.FORMAT, media.MANIFEST)


def test_two_lists_make_a_prediction_file_when_they_are_of_one_length():
    file = pair_predictions(["x", "y"], ["a", ["b", "c"]], task="i2t")
    assert file.records == (
        Prediction("1", "i2t", "x", ("a",)),
        Prediction("2", "i2t", "y", ("b", "c")),
    )
    for texts, references in ((["x"], ["a", "b"]), ([], [])):
        with pytest.raises(DataError, match=f"{len(texts)} predictions and {len(references)} ref"):
            pair_predictions(texts, references)
