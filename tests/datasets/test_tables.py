"""Datasets csv and jsonl: columns, splits, paths, and records that cannot be read."""

import csv
import io
import json
import os
import tempfile
import time
import tracemalloc
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.datasets.csv_table import CsvDataset
from omniflow.datasets.json_lines import JsonLinesDataset
from omniflow.datasets.quoted_fields import QuotedFields
from omniflow.datasets.record_index import RecordIndex
from omniflow.errors import ConfigError, DataError, RecordError, UnknownNameError
from omniflow.options import options_of

WHOLE = {"validation_share": 0.0, "test_share": 0.0}


def refusal(dataset, index):
    with pytest.raises(RecordError) as caught:
        dataset[index]
    return caught.value.record, caught.value.reason


# Columns and layouts


def test_usual_columns_are_found_and_media_opened(media, write_csv):
    path = write_csv([["caption", "image", "audio"], ["red", "media/1.png", "media/1.wav"]])
    [sample] = CsvDataset(path=str(path), **WHOLE)
    assert (sample.id, sample.text, sample.references) == ("table:2", "red", ("red",))
    assert sample.image.getpixel((3, 3)) == (40, 10, 20)
    assert (sample.audio.waveform.shape, sample.audio.rate_hz) == ((1, 800), 16_000)


@pytest.mark.parametrize(("mark", "shown"), [(";", "';'"), ("\t", r"'\t'"), ("|", "'|'")])
def test_another_delimiter_is_thought_of(tmp_path, mark, shown):
    (tmp_path / "a.csv").write_text(f"text{mark}image\nlow{mark}0.png\nhigh{mark}1.png\n")
    with pytest.raises(DataError) as caught:
        CsvDataset(path=str(tmp_path / "a.csv"))
    assert f"are its fields divided by {shown}? the option delimiter" in caught.value.render()
    found = CsvDataset(path=str(tmp_path / "a.csv"), delimiter=mark, test_share=0)
    assert found.columns.image == "image"


@pytest.mark.parametrize(
    ("layout", "header", "row", "brought"),
    [
        ("text2img", ["caption", "img_file"], ["@a@ b", "media/1.png"], "text image"),
        ("text2img", ["coco_caption", "file_name"], ["a, b", "media/1.png"], "text image"),
        ("img2aud", ["img_path", "audio_path"], ["media/1.png", "media/1.wav"], "image audio"),
        ("text2aud", ["caption", "audio_path"], ["a, b", "media/1.wav"], "text audio"),
        (
            "any2any",
            ["caption2", "caption", "img_path", "audio_path"],
            ["seen", "a, b", "media/1.png", "media/1.wav"],
            "text image audio",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_absolute", [True, False])
def test_the_four_layouts_are_read(layout, header, row, brought, is_absolute, media, write_csv):
    if is_absolute:
        row = [str(media.parent / field) if "/" in field else field for field in row]
    path = write_csv([header, row])
    [sample] = CsvDataset(path=str(path), layout=layout, **WHOLE)
    present = [n for n in ("text", "image", "audio") if getattr(sample, n) is not None]
    assert " ".join(present) == brought
    if "text" in present:
        assert sample.text == "a, b"
        assert sample.references == (("a, b", "seen") if layout == "any2any" else ("a, b",))


def test_the_other_caption_takes_the_place_of_half_of_them(media, write_csv):
    rows = [[f"first {n}", f"other {n}", "media/1.png"] for n in range(200)]
    path = write_csv([["caption", "caption_alt", "img_path"], *rows])
    dataset = CsvDataset(path=str(path), layout="text2img", **WHOLE)
    dataset.restrict_to({"text"})
    texts = [sample.text for sample in dataset]
    assert texts == [sample.text for sample in dataset]
    assert 70 < sum(text.startswith("other") for text in texts) < 130
    assert dataset[7].references == ("first 7", "other 7")


def test_a_column_that_is_not_there_is_told_with_those_that_are(write_csv, write_jsonl):
    path = write_csv([["captoin", "img_path"], ["a", "b"]])
    for options, name in (({"text_column": "caption"}, "caption"), ({"layout": "text2img"}, "")):
        with pytest.raises(UnknownNameError) as caught:
            CsvDataset(path=str(path), **options)
        assert "known: captoin, img_path" in str(caught.value)
        assert not name or caught.value.nearest == ("captoin",)
    lines = write_jsonl([{"Text": "a"}])
    with pytest.raises(UnknownNameError, match="did you mean: Text"):
        JsonLinesDataset(path=str(lines), text_column="text")
    with pytest.raises(DataError, match="columns: Text"):
        JsonLinesDataset(path=str(lines))


def test_a_folder_stands_for_the_metadata_in_it(media, write_csv):
    write_csv([["caption", "img_path"], ["a", "1.png"]], name="media/metadata.csv")
    [sample] = CsvDataset(path=str(media), **WHOLE)
    assert sample.image is not None
    with pytest.raises(DataError, match=r"there is no metadata.jsonl in the folder"):
        JsonLinesDataset(path=str(media))


def test_options_of_both_are_told(registry):
    for name in ("csv", "jsonl"):
        options = {option.name: option for option in options_of(registry.get("dataset", name))}
        assert options["path"].is_required
        assert all(option.help for option in options.values()), name
        assert ("delimiter" in options) == (name == "csv")


def test_jsonl_takes_lists_of_texts_and_lacking_values(media, write_jsonl):
    path = write_jsonl([
        {"text": ["a", "b", "a"], "image": None},
        {"image": "media/2.png"},
        {"text": "c", "image": "media/3.png", "id": 7},
    ])  # fmt: skip
    first, second, third = JsonLinesDataset(path=str(path), id_column="id", **WHOLE)
    assert (first.text, first.references, first.image) == ("a", ("a", "b"), None)
    assert (second.text, second.references, second.id) == (None, (), "table:2")
    assert (third.id, third.image.getpixel((0, 0))[0]) == ("7", 120)


def test_only_what_is_asked_for_is_opened(media, write_csv):
    path = write_csv([["text", "image"], ["a", "nowhere.png"]])
    dataset = CsvDataset(path=str(path), **WHOLE)
    dataset.restrict_to({"text"})
    assert dataset[0].text == "a"
    assert dataset[0].image is None
    with pytest.raises(DataError, match="it brings text and image alone, expected a column of aud"):
        dataset.restrict_to({"audio"})


# Splits


@pytest.mark.parametrize("column", [None, "id"])
def test_splits_are_disjoint_stay_and_have_their_shares(column, write_jsonl):
    path = write_jsonl([{"text": f"t {n}", "id": f"i{n // 2}"} for n in range(4000)])

    def texts(split, seed=0):
        options = {"id_column": column, "test_share": 0.2, "validation_share": 0.1, "seed": seed}
        return [s.text for s in JsonLinesDataset(path=str(path), split=split, **options)]

    splits = {split: texts(split) for split in ("train", "validation", "test")}
    assert sorted(chain(*splits.values())) == sorted(f"t {n}" for n in range(4000))
    assert [len(splits[s]) / 4000 for s in splits] == pytest.approx([0.7, 0.1, 0.2], abs=0.03)
    assert texts("test") == splits["test"] != texts("test", seed=1)
    if column is not None:
        pairs = [int(text.split()[1]) // 2 for text in splits["test"]]
        assert all(pairs.count(pair) == 2 for pair in pairs)


def test_a_split_may_have_a_file_of_its_own(write_csv):
    main = write_csv([["text"], *[[f"m {n}"] for n in range(40)]])
    own = write_csv([["text"], ["only"]], name="own.csv")
    options = {"path": str(main), "validation_path": str(own), "test_share": 0.25}
    found = {s: [x.text for x in CsvDataset(split=s, **options)] for s in CsvDataset.splits}
    assert found["validation"] == ["only"]
    assert sorted(found["train"] + found["test"]) == sorted(f"m {n}" for n in range(40))
    assert 0 < len(found["test"]) < 20
    whole = {"path": str(main), "validation_path": str(own), "test_path": str(own)}
    assert len(CsvDataset(**whole)) == 40


def test_no_split_of_few_records_is_empty(write_csv):
    path = write_csv([["text"], ["a"], ["b"], ["c"]])
    parts = [CsvDataset(path=str(path), split=split) for split in CsvDataset.splits]
    assert sorted(sample.text for part in parts for sample in part) == ["a", "b", "c"]
    assert any("some were moved" in notice for part in parts for notice in part.notices())
    with pytest.raises(DataError, match="its share is 0"):
        CsvDataset(path=str(path), split="test", test_share=0.0)
    with pytest.raises(ConfigError, match="validation_share"):
        CsvDataset(path=str(path), validation_share=2.0)


# Records of several lines


def test_quoted_line_ends_and_quotes_stay_whole(write_csv):
    rows = [["text", "n"], ['two\nlines, "so"', "1"], ["", "2"], ["crlf\r\nhere", "3"], ["d", "4"]]
    path = write_csv(rows)
    content = path.read_bytes().replace(b"\r\nd,", b"\r\n\r\n\nd,")
    path.write_bytes(b"\xef\xbb\xbf" + content)
    dataset = CsvDataset(path=str(path), **WHOLE)
    assert dataset[0].text == 'two\nlines, "so"'
    assert refusal(dataset, 1) == ("table:4", "the text is empty")
    assert dataset[2].text == "crlf\r\nhere"
    assert (dataset[3].text, dataset[3].id) == ("d", "table:9")


fields = st.text(alphabet="ab\",\n\r '", max_size=6)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(fields, min_size=2, max_size=2), max_size=8), st.sampled_from(["\n", "\r\n"])
)
def test_records_are_those_of_pythons_csv(rows, end):
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator=end, quoting=csv.QUOTE_ALL).writerows([["text", "b"], *rows])
    index, content = _index(file.getvalue().encode())
    assert len(index) == len(rows) + 1
    found = [content[a:b].decode() for a, b in pairwise(index.offsets)]
    assert [next(csv.reader(io.StringIO(each, newline=""))) for each in found][1:] == rows
    lines = [1 + content[: int(offset)].count(b"\n") for offset in index.offsets[:-1]]
    assert index.lines.tolist() == lines


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60) | st.text(alphabet='a",\n', max_size=40).map(str.encode))
def test_any_bytes_are_cut_into_records_without_a_gap(content):
    index, _ = _index(content)
    lines = index.lines.tolist()
    assert lines == sorted(set(lines))
    covered = sum(len(content[a:b].strip()) for a, b in pairwise(index.offsets))
    start = int(index.offsets[0])
    assert covered == 0 or not content[:start].removeprefix(b"\xef\xbb\xbf").strip()


def _index(content):
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        return RecordIndex(Path(file.name), QuotedFields(",")), content


def test_a_stray_quote_costs_its_own_line_alone(write_csv):
    path = write_csv([["text", "n"], *[[f"t{n}", "1"] for n in range(50)]])
    content = path.read_text().replace("t3,1", '"t3,1').replace("t40,1", '"t, 40",1')
    path.write_text(content)
    dataset = CsvDataset(path=str(path), **WHOLE)
    read, bad = [], []
    for index in range(len(dataset)):
        try:
            read.append(dataset[index].text)
        except RecordError as error:
            bad.append(error.record)
    assert bad == ["table:5"]
    assert read == [f"t{n}".replace("t40", "t, 40") for n in range(50) if n != 3]


# Records that cannot be read


def test_every_bad_record_says_what_is_wrong(media, write_jsonl):
    (media / "cut.png").write_bytes((media / "1.png").read_bytes()[:60])
    (media / "noise.wav").write_bytes(os.urandom(500))
    (media / "empty.wav").touch()
    (media / "out.png").symlink_to(media.parent / "secret.png")
    (media / "1.png").rename(media.parent / "secret.png")
    os.mkfifo(media / "pipe.png")
    rows = [
        ({"text": ""}, "the text is empty"),
        ({"text": " \n"}, "the text is empty"),
        ({"text": 5}, "text is a number, expected text"),
        ({"text": "\ud800"}, "the text holds half of a surrogate pair"),
        ({"image": 3}, "image is a number, expected a path"),
        ({"image": "gone.png"}, "'gone.png': there is no such file"),
        ({"image": "pipe.png"}, "'pipe.png': is not a regular file"),
        ({"image": "cut.png"}, "cannot be read as a picture"),
        ({"image": "1.txt"}, "cannot be read as a picture"),
        ({"image": "../secret.png"}, "'../secret.png' lies outside"),
        ({"image": "out.png"}, "'out.png' lies outside"),
        ({"image": "a\0b"}, "is no path"),
        ({"image": "x" * 5000}, "cannot be read"),
        ({"audio": "noise.wav"}, "cannot be read as a sound"),
        ({"audio": "empty.wav"}, "'empty.wav': the file is empty"),
        ({"audio": ["a"]}, "audio is a list, expected a path"),
        ({"audio": None}, "it has no text and no image and no audio"),
        ("[1]", "a list where an object was expected"),
        ("{'a': 1}", "not JSON (Expecting property name"),
        ("[" * 100_000, "recursion"),
        (json.dumps({"text": "x" * (1 << 20)}), "expected at most 1048576"),
        ({"text": "fine", "image": "2.png", "audio": "2.wav"}, None),
    ]
    path = write_jsonl([row for row, _ in rows], name="media/table.jsonl")
    dataset = JsonLinesDataset(path=str(path), **WHOLE)
    assert len(dataset) == len(rows)
    for index, (_, reason) in enumerate(rows[:-1]):
        record, told = refusal(dataset, index)
        assert record == f"table:{index + 1}"
        assert reason.lower() in told.lower()
        assert "\n" not in told
    assert dataset[len(rows) - 1].image is not None


def test_rows_of_another_width_and_other_encodings_are_bad(write_csv):
    path = write_csv([["text", "n"], ["a", "1"], ["b"], ["c", "2", "3"]])
    with path.open("ab") as file:
        file.write(b"\xff,4\nfine,5\n")
    dataset = CsvDataset(path=str(path), **WHOLE)
    assert refusal(dataset, 1)[1] == "1 fields, the header has 2"
    assert refusal(dataset, 2)[1] == "3 fields, the header has 2"
    assert refusal(dataset, 3) == ("table:5", "byte 0xff is not UTF-8")
    assert dataset[4].text == "fine"


def test_absolute_paths_are_taken_unless_a_root_is_given(media, write_csv, tmp_path):
    path = write_csv([["image"], [str(media / "1.png")], ["2.png"]])
    assert CsvDataset(path=str(path), **WHOLE)[0].image is not None
    rooted = CsvDataset(path=str(path), root=str(media), **WHOLE)
    assert [sample.image is not None for sample in rooted] == [True, True]
    elsewhere = CsvDataset(path=str(path), root=str(tmp_path / "other"), **WHOLE)
    assert "lies outside" in refusal(elsewhere, 0)[1]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"text,image\n", "nothing follows the header"),
        (b"text,text\na,b\n", "several columns are called 'text'"),
        (b"t\xffxt\na\n", "the header cannot be read"),
    ],
)
def test_a_file_without_a_table_is_refused(content, problem, tmp_path):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        CsvDataset(path=str(tmp_path / "a.csv"))
    with pytest.raises(DataError, match=r"did you mean: .*a\.csv"):
        CsvDataset(path=str(tmp_path / "aa.csv"))


# Size


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_million_records_open_at_once_and_take_little_memory(kind, tmp_path):
    path = tmp_path / f"large.{kind}"
    quoted = b'"a ""quoted""\nline %d",p/%d.jpg\n'
    line = b'{"text": "a line, number %d", "image": "p/%d.jpg"}\n'
    with path.open("wb") as file:
        file.write(b"text,image\n" * (kind == "csv"))
        form = quoted if kind == "csv" else line
        file.writelines(form % (number, number) for number in range(1_000_000))
    tracemalloc.start()
    started = time.process_time()
    dataset = {"csv": CsvDataset, "jsonl": JsonLinesDataset}[kind](path=str(path), split="train")
    dataset.restrict_to({"text"})
    text = dataset[len(dataset) - 1].text
    seconds = time.process_time() - started
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "line" in text
    assert len(dataset) == pytest.approx(900_000, abs=3000)
    assert seconds < 5
    assert held < 25e6
    assert peak < 120e6
