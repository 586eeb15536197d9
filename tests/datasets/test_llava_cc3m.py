"""Dataset llava-cc3m from a folder: pictures out of a zip, read where they lie."""

import io
import json
import pickle
import stat
import struct
import tracemalloc
import zipfile

import pytest
from PIL import Image

import omniflow.datasets.llava_cc3m as module
from omniflow.datasets import json_list, zip_members
from omniflow.datasets.byte_files import LocalFile
from omniflow.datasets.llava_cc3m import LlavaCc3mDataset
from omniflow.datasets.zip_members import ZipMembers
from omniflow.errors import DataError, RecordError

from .archives import conversation, write_llava

WHOLE = {"validation_share": 0.0, "test_share": 0.0}
COUNT = 40


def jpeg(number):
    file = io.BytesIO()
    Image.new("RGB", (20, 16), (number * 6, 60, 90)).save(file, "JPEG")
    return file.getvalue()


def content(sample):
    picture = None if sample.image is None else sample.image.tobytes()
    return sample.id, sample.text, picture, sample.references


def reason(dataset, index):
    with pytest.raises(RecordError) as caught:
        dataset[index]
    return caught.value.record, caught.value.reason


@pytest.fixture
def folder(tmp_path):
    """The files of the source, half of the texts with more than ASCII in them."""
    names = [f"GCC_train_{number:09}.jpg" for number in range(COUNT)]
    rows = [
        conversation(number, name, f"caption {number}{' é 中' * (number % 2)}")
        for number, name in enumerate(names)
    ]
    # In another order, as the real ones are.
    pictures = {name: jpeg(number) for number, name in reversed(list(enumerate(names)))}
    return write_llava(tmp_path / "llava", pictures, rows)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_sample_is_a_picture_and_what_is_said_of_it(method, folder):
    rows = json.loads((folder / "chat.json").read_text())
    pictures = {f"GCC_train_{number:09}.jpg": jpeg(number) for number in range(COUNT)}
    write_llava(folder, pictures, rows, method)
    dataset = LlavaCc3mDataset(path=str(folder), **WHOLE)
    assert len(dataset) == COUNT
    for number, sample in enumerate(dataset):
        assert sample.id == f"{number:09}"
        assert sample.text == f"caption {number}{' é 中' * (number % 2)}"
        assert sample.references == (sample.text,)
        red, green, blue = sample.image.getpixel((9, 9))
        assert max(abs(red - number * 6), abs(green - 60), abs(blue - 90)) < 8
    assert sorted(path.name for path in folder.iterdir()) == ["chat.json", "images.zip"]
    assert set(dataset.column_roles()) == set(rows[0])


@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_stream_has_the_samples_that_are_read_by_position(ascii_only, folder, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 4)
    monkeypatch.setattr("omniflow.datasets.byte_files.BLOCK", 100)
    rows = json.loads((folder / "chat.json").read_text())
    text = json.dumps(rows, ensure_ascii=ascii_only, indent=1 if ascii_only else None)
    (folder / "chat.json").write_text(text, encoding="utf-8")
    ids = []
    for split in ("train", "validation", "test"):
        options = {"path": str(folder), "split": split, "validation_share": 0.3, "test_share": 0.3}
        mapped = [content(sample) for sample in LlavaCc3mDataset(**options)]
        ids += [sample[0] for sample in mapped]
        stream = LlavaCc3mDataset(**options, streaming=True)
        for start in (0, len(mapped) - 1, 5, 1, len(mapped), 0):
            found = [content(stream.decode(record)) for record in stream.records(start)]
            assert found == mapped[start:], (split, start)
    assert sorted(ids) == [f"{number:09}" for number in range(COUNT)]


def test_a_conversation_stays_in_its_split_wherever_it_stands(folder):
    options = {"path": str(folder), "split": "test", "test_share": 0.3}
    before = {sample.id for sample in LlavaCc3mDataset(**options)}
    rows = json.loads((folder / "chat.json").read_text())
    (folder / "chat.json").write_text(json.dumps(rows[::-1]))
    for streaming in (False, True):
        assert {x.id for x in LlavaCc3mDataset(streaming=streaming, **options)} == before
    assert {x.id for x in LlavaCc3mDataset(seed=1, **options)} != before


def test_texts_alone_need_no_archive(folder):
    (folder / "images.zip").unlink()
    dataset = LlavaCc3mDataset(path=str(folder), **WHOLE)
    dataset.restrict_to({"text", "audio"})
    assert (dataset[2].text, dataset[2].image) == ("caption 2", None)
    with pytest.raises(DataError, match="llava: there is no file images.zip"):
        dataset.restrict_to({"image"})
    with pytest.raises(DataError, match="it brings text and image alone, expected audio"):
        dataset.restrict_to({"audio"})
    (folder / "chat.json").rename(folder / "chats.json")
    with pytest.raises(DataError, match=r"no file chat.json\n  did you mean: chats.json"):
        LlavaCc3mDataset(path=str(folder))


def test_other_processes_decode_records(folder):
    for streaming in (False, True):
        dataset = LlavaCc3mDataset(path=str(folder), streaming=streaming, **WHOLE)
        records = list(dataset.records())[:3]
        twin = pickle.loads(pickle.dumps(dataset))
        assert "_images" in twin.__dict__
        for record in pickle.loads(pickle.dumps(records)):
            assert content(twin.decode(record)) == content(dataset.decode(record))


def test_bad_conversations_say_what_is_wrong(folder):
    def told(value):
        return [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": value}]

    rows = [
        {"id": "a", "image": "a.jpg", "conversations": told(" ")},
        {"id": "b", "image": "b.jpg", "conversations": told(5)},
        {"id": "c", "image": "c.jpg", "conversations": told("c")[:1]},
        {"id": "d", "image": "d.jpg", "conversations": "d"},
        {"id": "e", "image": None, "conversations": told("e")},
        {"id": "f", "image": "f.jpg", "conversations": told("f")},
        {"id": "g", "image": "../g.jpg", "conversations": told("g")},
        {"id": "h", "image": "/etc/passwd", "conversations": told("h")},
        {"id": ["i"], "image": "i.jpg", "conversations": told("\ud800")},
        7,
        [],
        "text",
        {},
    ]
    write_llava(folder, {"f.jpg": b"no picture"}, rows)
    reasons = [
        "the text is empty", "text is a number, expected text",
        "nothing in its conversation is said by 'gpt'", "conversations is text, expected a list",
        "image is nothing, expected a file's name", "image: cannot be read as a picture",
        "'../g.jpg' leads out of images.zip", "'/etc/passwd' leads out of images.zip",
        "the text holds half of a surrogate pair", "a number where an object was expected",
        "a list where an object was expected", "text where an object was expected",
        "conversations is nothing",
    ]  # fmt: skip
    ids = [*"abcdefgh", *[f"chat:{number}" for number in range(8, 13)]]
    for streaming in (False, True):
        dataset = LlavaCc3mDataset(path=str(folder), streaming=streaming, **WHOLE)
        for number, expected in enumerate(reasons):
            record, said = reason(dataset, number)
            assert record == ids[number]
            assert expected in said
    for bad in ('{"id": "x", "image": "a.jpg", "n": ' + "9" * 5000 + "}", '{"id": "\x80"}'):
        (folder / "chat.json").write_bytes(f"[{bad}, {json.dumps(rows[5])}]".encode("latin-1"))
        record, said = reason(LlavaCc3mDataset(path=str(folder), **WHOLE), 0)
        assert record == "chat:0"
        assert said.startswith("not JSON (")


@pytest.mark.parametrize(("text", "problem"), [
    ("", "is no list (byte 0)"), ('{"a": 1}', "is no list (byte 0)"),
    ("[] ", "is empty"), ('[{"id": "a"}, {"id": ', "is not JSON (byte 14)"),
    ('[{"id": "a"},', "the file ends within its list (byte 13)"),
    ('[{"id": "a"}', "the file ends within its list (byte 12)"),
    ('[{"id": "a"} {"id": "b"}]', "is not JSON (byte 13)"), ("[1, 2}", "is not JSON (byte 5)"),
    ("[" * 100_000, "is not JSON (byte 1)"),
])  # fmt: skip
def test_a_damaged_list_is_told(text, problem, folder):
    (folder / "chat.json").write_text(text)
    with pytest.raises(DataError, match="chat.json") as caught:
        LlavaCc3mDataset(path=str(folder), **WHOLE)
    assert problem in caught.value.problem
    stream = LlavaCc3mDataset(path=str(folder), streaming=True, **WHOLE)
    if problem != "is empty":
        with pytest.raises(DataError, match="chat.json"):
            list(stream.records())


def test_an_endless_item_is_told_before_memory_is_full(folder, monkeypatch):
    monkeypatch.setattr(json_list, "MOST_BYTES", 1000)
    monkeypatch.setattr("omniflow.datasets.byte_files.BLOCK", 100)
    read = []
    monkeypatch.setattr(LocalFile, "size", 10**12)
    (folder / "chat.json").write_text('["' + "x" * 100_000)

    class Counted(LocalFile):
        def blocks(self, start=0):
            for block in super().blocks(start):
                read.append(len(block))
                yield block

    with pytest.raises(DataError, match="is not JSON"):
        list(json_list.list_items(Counted(folder / "chat.json")))
    assert sum(read) < 1500


def test_members_that_are_no_files_are_refused(folder):
    path = folder / "images.zip"
    kinds = {"link.jpg": stat.S_IFLNK, "device.jpg": stat.S_IFCHR, "plain.jpg": stat.S_IFREG}
    with zipfile.ZipFile(path, "w") as archive:
        for name, kind in kinds.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (kind | 0o777) << 16
            archive.writestr(info, "/etc/passwd")
    members = ZipMembers(LocalFile(path))
    assert members.read("plain.jpg") == b"/etc/passwd"
    for name in ("link.jpg", "device.jpg"):
        with pytest.raises(ValueError, match=f"'{name}' is a link, folder or device, not a file"):
            members.read(name)
    with pytest.raises(ValueError, match="'other.jpg': there is no such member of images.zip"):
        members.read("other.jpg")


def edited(path, name, at, layout, *values):
    """An archive in whose directory something else stands about a member."""
    whole = bytearray(path.read_bytes())
    entry = whole.rindex(b"PK\1\2", 0, whole.rindex(name.encode()))
    struct.pack_into(layout, whole, entry + at, *values)
    path.write_bytes(whole)
    return ZipMembers(LocalFile(path))


@pytest.mark.parametrize(("at", "layout", "value", "problem"), [
    (24, "<L", 3 << 30, "is said to have 3221225472 bytes, expected at most 67108864"),
    (20, "<L", 3 << 30, "is said to have"), (24, "<L", 900, "has other than the 900 bytes"),
    (16, "<L", 5, "its checksum does not fit"), (10, "<H", 12, "is packed by method 12"),
    (8, "<H", 1, "is encrypted"), (42, "<L", 7, "no member lies where the directory says"),
    (42, "<L", 2**31, "no member lies where the directory says"),
    (42, "<L", 0, "another member lies where the directory says"),
])  # fmt: skip
def test_what_a_directory_says_is_not_believed(at, layout, value, problem, folder):
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first.jpg", b"y")
        archive.writestr("bomb.jpg", b"\0" * 1000)
    members = edited(folder / "images.zip", "bomb.jpg", at, layout, value)
    with pytest.raises(ValueError, match="bomb.jpg") as caught:
        members.read("bomb.jpg")
    assert problem in str(caught.value)
    assert members.read("first.jpg") == b"y"


def test_a_bomb_is_unpacked_no_further_than_was_said(folder, monkeypatch):
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", b"\0" * 5_000_000)
    members = edited(folder / "images.zip", "bomb.jpg", 24, "<L", 100)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="has other than the 100 bytes that are said"):
            members.read("bomb.jpg")
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(zip_members, "MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="expected at most 1000"):
        edited(folder / "images.zip", "bomb.jpg", 24, "<L", 5_000_000).read("bomb.jpg")


def test_an_archive_that_is_cut_short_or_none_is_told(folder):
    whole = (folder / "images.zip").read_bytes()
    end = whole.rindex(b"PK\5\6")
    broken = {
        whole[:-30]: "is no zip archive, or its end is missing",
        b"": "is no zip archive",
        b"PK" * 60_000: "is no zip archive",
        whole[100:]: "its directory lies at byte",
        whole[: end - 50] + b"x" * 50 + whole[end:]: "the last entry of its directory is damaged",
        whole[:end] + whole[end:].replace(struct.pack("<H", COUNT), struct.pack("<H", 60_000)): (
            "for 60000 members"
        ),
    }
    for content, problem in broken.items():
        (folder / "images.zip").write_bytes(content)
        dataset = LlavaCc3mDataset(path=str(folder), **WHOLE)
        with pytest.raises(DataError, match="images.zip: ") as caught:
            dataset.restrict_to({"image", "text"})
        assert problem in caught.value.problem


def test_archives_of_more_than_65535_members_or_4_gib(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 50)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 3)
    contents = {f"{number}.jpg": bytes([number]) * 200 for number in range(9)}
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = b"with a comment"
        for name, data in contents.items():
            archive.writestr(name, data)
    assert b"PK\6\6" in path.read_bytes()
    members = ZipMembers(LocalFile(path))
    assert len(members) == 9
    assert {name: members.read(name) for name in contents} == contents


def test_pictures_may_lie_in_a_folder_of_the_archive(folder):
    rows = [conversation(0, "a.jpg", "a")]
    write_llava(folder, {"images/a.jpg": jpeg(1)}, rows)
    assert LlavaCc3mDataset(path=str(folder), **WHOLE)[0].image.size == (20, 16)
