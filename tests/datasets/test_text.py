from __future__ import annotations

import string
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.datasets.text import TextDataset
from omniflow.errors import ConfigError, DataError, UnknownNameError

SPLITS = ("train", "validation", "test")
EVERYTHING = {"validation_share": 0.0, "test_share": 0.0}


@pytest.fixture
def write(tmp_path):
    """Writes a file, from text or bytes, and gives its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return write_file


@pytest.fixture
def write_parquet(tmp_path):
    def write_table(columns, name="rows.parquet"):
        pq.write_table(pa.table(columns), tmp_path / name)
        return str(tmp_path / name)

    return write_table


def lines(count, start=0):
    return "".join(f"line number {number}\n" for number in range(start, start + count))


def texts(path, **options):
    return [sample.text for sample in TextDataset(path=path, **{**EVERYTHING, **options})]


def split_of_each(path, **options):
    return {
        sample.text: split
        for split in SPLITS
        for sample in TextDataset(path=path, split=split, **options)
    }


# Lines


def test_a_line_is_a_sample_called_after_file_and_line(write):
    dataset = TextDataset(path=write("poem.txt", "one\n\n  \ntwo three\n"), **EVERYTHING)
    assert [(s.id, s.text) for s in dataset] == [("poem:1", "one"), ("poem:4", "two three")]
    assert dataset[1].references == ("two three",)
    assert dataset[0].image is None
    assert dataset.notices() == []


def test_only_newlines_end_a_line(write):
    inner = "a\u2028b\x0bc\x85d\x1ce\rf"
    assert texts(write("odd.txt", f"{inner}\r\nnext\nlast")) == [inner, "next", "last"]


def test_a_byte_order_mark_is_not_text(write):
    assert texts(write("bom.txt", b"\xef\xbb\xbffirst\nsecond\n")) == ["first", "second"]
    assert texts(write("bom.csv", b"\xef\xbb\xbftext,n\nfirst,1\n")) == ["first"]
    assert texts(write("bom.jsonl", b'\xef\xbb\xbf{"text": "first"}\n')) == ["first"]


def test_texts_keep_their_spaces_and_letters(write):
    assert texts(write("a.txt", "  Zwölf  Boxkämpfer \n日本語 🙂\n")) == [
        "  Zwölf  Boxkämpfer ",
        "日本語 🙂",
    ]


def test_long_texts_are_cut_and_counted(write):
    dataset = TextDataset(path=write("a.txt", f"short\n{'x' * 11}\n{'y' * 10}\n"), max_chars=10,
                          **EVERYTHING)  # fmt: skip
    assert [sample.text for sample in dataset] == ["short", "x" * 10, "y" * 10]
    assert dataset.notices() == ["a.txt: 1 texts cut to 10 characters, the first one in line 2"]


def test_short_texts_are_left_out_and_counted(write):
    dataset = TextDataset(path=write("a.txt", "ab\nabc\na\n"), min_chars=3, **EVERYTHING)
    assert [sample.text for sample in dataset] == ["abc"]
    assert dataset.notices() == ["a.txt: 2 texts of less than 3 characters left out"]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\n\r"))))
def test_every_text_with_a_letter_comes_back_as_it_was(tmp_path_factory, written):
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    path.write_bytes("\n".join([*written, "last"]).encode())
    expected = [line for line in written if line and not line.isspace()]
    if written and written[0].startswith("\ufeff"):
        return
    assert texts(str(path), max_chars=10**6) == [*expected, "last"]


# Columns


def test_jsonl_reads_the_usual_or_the_only_column_of_text(write):
    assert texts(write("a.jsonl", '{"n": 1, "text": "x", "title": "t"}\n')) == ["x"]
    assert texts(write("b.jsonl", '{"n": 1, "caption": "x", "title": "t"}\r\n\n')) == ["x"]
    assert texts(write("c.jsonl", '{"n": 1, "line": "x", "tags": ["a"]}\n')) == ["x"]
    assert texts(write("d.jsonl", '{"text": "x", "title": "t"}\n'), column="title") == ["t"]


def test_jsonl_lines_are_numbered_as_in_the_file(write):
    path = write("a.jsonl", '{"text": "x"}\n\n{"text": " "}\n{"text": "a\\nb"}\n')
    dataset = TextDataset(path=path, **EVERYTHING)
    assert [(s.id, s.text) for s in dataset] == [("a:1", "x"), ("a:4", "a\nb")]


def test_csv_reads_quotes_and_numbers_the_line_where_a_record_begins(write):
    path = write("a.csv", 'id,words\n1,"one, two"\n2,"over\ntwo lines"\n3,"say ""x"""\n')
    dataset = TextDataset(path=path, **EVERYTHING)
    assert [(s.id, s.text) for s in dataset] == [
        ("a:2", "one, two"),
        ("a:3", "over\ntwo lines"),
        ("a:5", 'say "x"'),
    ]


def test_parquet_reads_every_kind_of_text_column(write_parquet):
    words = ["a b", "c", "", "d"]
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        path = write_parquet({"n": [1, 2, 3, 4], "words": pa.array(words).cast(kind)})
        dataset = TextDataset(path=path, **EVERYTHING)
        assert [(s.id, s.text) for s in dataset] == [
            ("rows:1", "a b"), ("rows:2", "c"), ("rows:4", "d"),
        ]  # fmt: skip


def test_a_wrong_column_name_lists_the_columns(write, write_parquet):
    for path in (
        write("a.jsonl", '{"title": "a", "body": "b"}\n'),
        write("a.csv", "title,body\na,b\n"),
        write_parquet({"title": ["a"], "body": ["b"]}),
    ):
        with pytest.raises(UnknownNameError) as caught:
            TextDataset(path=path, column="titel")
        assert str(caught.value) == (
            f"{path}: no column is called 'titel'\n"
            "  did you mean: title\n"
            "  known: body, title"
        )  # fmt: skip


def test_two_columns_of_text_need_the_option(write):
    path = write("a.csv", "n,title,body\n1,a,b\n")
    with pytest.raises(DataError) as caught:
        TextDataset(path=path)
    assert str(caught.value) == (
        f"{path}: several columns hold text, expected the option column to name one\n"
        "  columns: title, body"
    )


def test_numbers_are_not_cast_to_text(write, write_parquet):
    path = write_parquet({"n": [1, 2], "title": ["a", "b"]})
    with pytest.raises(DataError) as caught:
        TextDataset(path=path, column="n")
    assert "column 'n' is int64, expected text" in str(caught.value)
    assert "columns of text: title" in str(caught.value)
    with pytest.raises(DataError, match="line 1: a number where text was expected"):
        TextDataset(path=write("a.jsonl", '{"n": 1}\n{"n": 2}\n'), column="n")
    with pytest.raises(DataError, match="no column holds text"):
        TextDataset(path=write("a.csv", "n,m\n1,2.5\n"))


def test_a_txt_file_has_no_columns(write):
    with pytest.raises(DataError, match=r"a \.txt file has no column 'text'"):
        TextDataset(path=write("a.txt", lines(5)), column="text")


# Splits


def test_splits_have_their_shares_and_nothing_in_common(write):
    splits = split_of_each(write("a.txt", lines(4000)))
    assert len(splits) == 4000
    for split, share in zip(SPLITS, (0.9, 0.05, 0.05), strict=True):
        # Four standard deviations of a share of 0.05 among 4,000.
        assert list(splits.values()).count(split) / 4000 == pytest.approx(share, abs=0.02)


def test_samples_stay_in_the_order_of_the_file(write):
    dataset = TextDataset(path=write("a.txt", lines(300)))
    numbers = [int(sample.id.split(":")[1]) for sample in dataset]
    assert numbers == sorted(numbers)


def test_adding_and_shuffling_lines_moves_no_other_line(write):
    before = split_of_each(write("a.txt", lines(500)))
    after = split_of_each(write("a.txt", lines(300, start=500) + lines(500)))
    assert {text: after[text] for text in before} == before


def test_duplicates_share_a_split(write):
    path = write("a.txt", lines(200) + lines(200).replace(" number", "  number"))
    total = sum(len(TextDataset(path=path, split=split)) for split in SPLITS)
    splits = split_of_each(path)
    assert total == 400
    assert all(splits[text] == splits[text.replace("  ", " ")] for text in splits)


def test_texts_that_are_equal_once_cut_share_a_split(write):
    path = write("a.txt", "".join(f"{number % 50:09}{number}\n" for number in range(500)))
    splits = [
        {s.text for s in TextDataset(path=path, split=split, max_chars=9)} for split in SPLITS
    ]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 50


def test_another_seed_gives_another_split(write):
    path = write("a.txt", lines(500))
    assert split_of_each(path, seed=1) != split_of_each(path)
    assert split_of_each(path, seed=1) == split_of_each(path, seed=1)


@settings(max_examples=60, deadline=None)
@given(
    words=st.sets(st.text(string.ascii_lowercase, min_size=1), min_size=3, max_size=12),
    seed=st.integers(0, 99),
    shares=st.sampled_from([(0.05, 0.05), (0.4, 0.4), (0.01, 0.9), (0.9, 0.01)]),
)
def test_three_different_lines_are_enough_for_every_split(tmp_path_factory, words, seed, shares):
    path = tmp_path_factory.mktemp("tiny") / "tiny.txt"
    path.write_text("\n".join(words))
    options = {"seed": seed, "validation_share": shares[0], "test_share": shares[1]}
    parts = [
        {sample.text for sample in TextDataset(path=str(path), split=split, **options)}
        for split in SPLITS
    ]
    assert all(parts)
    assert set.union(*parts) == words
    assert sum(map(len, parts)) == len(words)


def test_moving_a_text_into_an_empty_split_is_told(write):
    dataset = TextDataset(path=write("a.txt", lines(3)), split="test")
    assert len(dataset) == 1
    assert dataset.notices() == [
        "a.txt: only 3 different texts, so some were moved to give every split at least one"
    ]
    assert TextDataset(path=write("b.txt", lines(500))).notices() == []


def test_two_different_lines_are_too_few_for_three_splits(write):
    path = write("a.txt", "one\ntwo\none\n")
    with pytest.raises(DataError) as caught:
        TextDataset(path=path)
    assert str(caught.value) == (
        f"{path}: 2 different texts for 3 splits, expected at least one text a split"
    )
    assert texts(path) == ["one", "two", "one"]


def test_a_whole_file_can_be_the_test_split(write):
    path = write("a.txt", lines(20))
    options = {"validation_share": 0.0, "test_share": 1.0}
    assert len(TextDataset(path=path, split="test", **options)) == 20
    with pytest.raises(DataError, match="the train split is empty: its share is 0"):
        TextDataset(path=path, split="train", **options)


# Files that cannot be read


def test_a_file_of_bad_records_alone_is_refused_with_the_first_few(write):
    rows = ["[1]"] * 3 + ['"word"', '{"other": 1}', '{"text": null}', "{"]
    path = write("a.jsonl", "\n".join(rows))
    with pytest.raises(DataError) as caught:
        TextDataset(path=path, column="other")
    assert str(caught.value).splitlines() == [
        f"{path}: none of 7 records can be read, expected texts",
        *(f"  line {line}: a list where an object was expected" for line in (1, 2, 3)),
        "  line 4: text where an object was expected",
        "  line 5: a number where text was expected",
        "  and 2 more",
    ]
    with pytest.raises(DataError, match="none of 7 records can be read"):
        list(TextDataset(path=path, column="other", streaming=True).records())


def test_half_a_surrogate_pair_is_no_text(write):
    path = write("a.jsonl", '{"text": "\\ud83d"}\n')
    with pytest.raises(DataError, match="line 1: half of a surrogate pair"):
        TextDataset(path=path)


def test_json_nested_without_end_is_no_text(write):
    with pytest.raises(DataError, match="line 1: JSON that cannot be read"):
        TextDataset(path=write("a.jsonl", "[" * 200_000))


@pytest.mark.parametrize("header", [b'"text\n', b"te\xffxt\n", b'"te"xt\n'])
def test_a_header_that_cannot_be_read_is_no_bad_record(write, header):
    path = write("a.csv", header + lines(300).encode())
    with pytest.raises(DataError) as caught:
        TextDataset(path=path)
    assert f"{path}:1: the header cannot be read (" in str(caught.value)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_bytes_that_are_not_utf8_are_located(write, mark):
    path = write("a.txt", mark + "gut\nschön\n".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        TextDataset(path=path)
    assert str(caught.value).splitlines()[0] == (
        f"{path}:2: byte 0xf6 at position {7 + len(mark)} is not UTF-8, expected text in UTF-8"
    )
    assert "so are 1 of 2 lines: they are in another encoding" in str(caught.value)
    assert "iconv -f LATIN1 -t UTF-8" in str(caught.value)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("encoding", "mark", "message"),
    [
        ("latin-1", "", "so are 600 of 1000 lines: they are in another encoding"),
        ("gb18030", "", "so are 600 of 1000 lines"),
        ("utf-16", "", "is in UTF-16, by its first bytes"),
        ("utf-32", "", "is in UTF-32, by its first bytes"),
        ("utf-16-be", "\ufeff", "is in UTF-16, by its first bytes"),
        ("utf-16-le", "", "is in UTF-16LE, by its zero bytes"),
        ("utf-16-be", "", "is in UTF-16BE, by its zero bytes"),
    ],
)
def test_a_file_in_another_encoding_is_refused_whole(write, encoding, mark, message, streaming):
    prose = "".join(
        f"Der Satz Nummer {n} ist {'schön' if n % 5 < 3 else 'lang'}\n\n" for n in range(3000)
    )
    path = write("a.txt", (mark + prose).encode(encoding))
    with pytest.raises(DataError) as caught:
        next(iter(TextDataset(path=path, streaming=streaming, **EVERYTHING).records(999)))
    assert message in str(caught.value)
    assert "expected text in UTF-8" in str(caught.value)
    assert "iconv" in str(caught.value)


def test_a_missing_file_names_its_neighbour(write):
    path = write("captions.txt", "x")
    with pytest.raises(DataError) as caught:
        TextDataset(path=path.replace("captions", "caption"))
    assert "there is no such file, expected a file ending in .txt, .jsonl, .csv, .parquet" in str(
        caught.value
    )
    assert f"did you mean: {path}" in str(caught.value)


def test_a_missing_folder_is_a_missing_file(tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        TextDataset(path=str(tmp_path / "nowhere" / "a.txt"))


def test_a_folder_is_refused_with_what_is_in_it(write):
    folder = Path(write("b.csv", "x")).parent
    with pytest.raises(
        DataError, match=r"is a folder, expected a file ending in (.|\n)*in it: b.csv"
    ):
        TextDataset(path=str(folder))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "is empty, expected at least one line of text"),
        ("a.txt", "\n \n\t\n", "0 different texts for 3 splits"),
        ("a.csv", "text\n", "no column holds text"),
        ("a.jsonl", "{}\n", "no column holds text"),
        ("a.doc", "x", "cannot read texts from a file ending in '.doc', expected one of .txt, "),
        ("a.json", "[]", "did you mean: .jsonl"),
        ("README", "x", "cannot read texts from a file ending in ''"),
        ("a.parquet", "not really", "not a readable .parquet file"),
    ],
)
def test_a_file_without_texts_says_why(write, name, content, message):
    with pytest.raises(DataError) as caught:
        TextDataset(path=write(name, content))
    assert message in str(caught.value)
    assert name in str(caught.value)


def test_a_suffix_may_be_in_capitals(write):
    assert texts(write("A.TXT", "one\n")) == ["one"]


# Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_chars": 0}, "min_chars is 0, expected a whole number >= 1"),
        ({"min_chars": 9, "max_chars": 8}, "max_chars is 8, expected a whole number >= 9"),
        ({"seed": "x"}, "seed is 'x', expected a whole number >= 0"),
        ({"test_share": 1.5}, "test_share is 1.5, expected a number in [0, 1]"),
        ({"validation_share": -0.1}, "validation_share is -0.1, expected a number in [0, 1]"),
        (
            {"validation_share": 0.6, "test_share": 0.5},
            "test_share is 0.5, expected at most 1 together with validation_share, which is 0.6",
        ),
    ],
)
def test_an_impossible_option_is_refused(write, options, message):
    with pytest.raises(ConfigError) as caught:
        TextDataset(path=write("a.txt", lines(9)), **options)
    assert str(caught.value) == message


def test_an_unknown_split_is_refused(write):
    path = write("a.txt", lines(9))
    with pytest.raises(DataError) as caught:
        TextDataset(path=path, split="tset")
    assert str(caught.value) == (
        f"{path}: there is no split 'tset', expected one of train, validation, test\n"
        "  did you mean: test"
    )


def test_an_index_outside_is_refused(write):
    with pytest.raises(IndexError, match=r"index -1 is not in \[0, 9\)"):
        TextDataset(path=write("a.txt", lines(9)), **EVERYTHING)[-1]
