"""Dataset folder: files of one stem are one sample."""

import os

import pytest

from omniflow.datasets.folder import FolderDataset
from omniflow.errors import DataError, RecordError

WHOLE = {"validation_share": 0.0, "test_share": 0.0}


def test_files_of_one_stem_belong_together(media):
    (media / "deep").mkdir()
    (media / "1.png").rename(media / "deep" / "1.JPEG")
    (media / ".hidden.png").touch()
    (media / "notes.md").touch()
    dataset = FolderDataset(path=str(media), **WHOLE)
    brought = {
        s.id: "".join(n[0] for n in ("text", "image", "audio") if getattr(s, n) is not None)
        for s in dataset
    }
    assert brought == {"0": "tia", "1": "ta", **dict.fromkeys("2345", "tia"), "deep/1": "i"}
    assert dataset[0].text == "caption 0"
    assert dataset[0].references == ("caption 0",)
    assert dataset.notices() == ["media: 1 files of other kinds left alone"]


def test_names_that_no_terminal_should_show_are_spelled_out(tmp_path):
    for name in (b"\xff", b"a\nb", b"\x1b[2J", "ü🐶".encode()):
        (tmp_path / os.fsdecode(name + b".txt")).write_text("a text")
    (tmp_path / "\x1b[2J.png").write_bytes(b"no picture")
    dataset = FolderDataset(path=str(tmp_path), **WHOLE)
    with pytest.raises(RecordError) as caught:
        dataset[0]
    assert (caught.value.record, caught.value.reason.isprintable()) == ("\\x1b[2J", True)
    assert [dataset[i].id for i in range(1, 4)] == ["a\\nb", "ü🐶", "\\udcff"]


def test_lines_of_a_text_may_be_texts_of_their_own(media):
    (media / "0.txt").write_text("\ufeffone\n\n two \none\n", encoding="utf-8")
    lines = FolderDataset(path=str(media), text_lines=True, **WHOLE)[0]
    assert (lines.text, lines.references) == ("one", ("one", "two"))
    assert FolderDataset(path=str(media), **WHOLE)[0].text == "one\n\n two \none"


def test_stems_without_what_is_asked_for_are_left_out(media):
    (media / "1.txt").unlink()
    (media / "2.png").write_bytes(b"no picture")
    dataset = FolderDataset(path=str(media), **WHOLE)
    dataset.restrict_to({"text"})
    assert [sample.id for sample in dataset] == ["0", "2", "3", "4", "5"]
    assert all(sample.image is None and sample.audio is None for sample in dataset)
    assert dataset.notices() == ["media: 1 records without text left out"]


def test_bad_records_say_what_is_wrong(media, tmp_path):
    (tmp_path / "secret.png").write_bytes((media / "0.png").read_bytes())
    (media / "0.png").unlink()
    (media / "0.png").symlink_to(tmp_path / "secret.png")
    (media / "1.jpg").write_bytes((media / "1.png").read_bytes())
    (media / "2.txt").write_text(" \n")
    (media / "3.txt").write_bytes(b"\xff\xfe")
    (media / "4.txt").write_text("x" * (1 << 20) + "y")
    (media / "5.wav").write_bytes((media / "5.wav").read_bytes()[:40])
    reasons = {}
    for index in range(6):
        with pytest.raises(RecordError) as caught:
            FolderDataset(path=str(media), **WHOLE)[index]
        reasons[caught.value.record] = caught.value.reason
    assert list(reasons) == list("012345")
    told = (
        "lies outside", "two files of image: 1.jpg and 1.png", "the text is empty",
        "'3.txt': byte 0 is not UTF-8", "more than 1048576 bytes", "'5.wav': ",
    )  # fmt: skip
    for reason, expected in zip(reasons.values(), told, strict=True):
        assert expected in reason


def test_links_within_the_folder_are_followed_and_folders_linked_are_told(media, tmp_path):
    (media / "9.png").symlink_to(media / "0.png")
    (media / "loop").symlink_to(tmp_path)
    dataset = FolderDataset(path=str(media), **WHOLE)
    assert dataset[6].image is not None
    assert dataset.notices() == ["media: 1 links to folders not followed"]


def test_splits_are_shares_by_stem_or_folders_of_their_own(media, tmp_path):
    for number in range(6, 60):
        (media / f"{number}.txt").write_text(f"caption {number}")
    options = {"path": str(media), "validation_share": 0.2, "test_share": 0.2}
    parts = {s: {x.id for x in FolderDataset(split=s, **options)} for s in FolderDataset.splits}
    assert sum(map(len, parts.values())) == 60
    assert set.union(*parts.values()) == {str(n) for n in range(60)}
    (media / "new.txt").write_text("one more")
    after = {x.id for x in FolderDataset(split="test", **options)}
    assert after - {"new"} == parts["test"]
    held_out = tmp_path / "held_out"
    held_out.mkdir()
    (held_out / "a.txt").write_text("a")
    own = {"validation_path": str(held_out), "test_path": str(held_out)}
    assert [s.text for s in FolderDataset(path=str(media), split="test", **own)] == ["a"]
    assert len(FolderDataset(path=str(media), **own)) == 61


def test_folders_of_nothing_are_refused(tmp_path):
    with pytest.raises(DataError, match="there is nothing of use in the folder"):
        FolderDataset(path=str(tmp_path))
    with pytest.raises(DataError, match="there is no such folder"):
        FolderDataset(path=str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="there is no split 'dev'"):
        FolderDataset(path=str(tmp_path), split="dev")
