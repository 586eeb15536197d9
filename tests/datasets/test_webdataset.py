"""Dataset webdataset: members of tar shards, read where they lie."""

import io
import json
import pickle
import tarfile
from itertools import islice

import pytest

import omniflow.datasets.webdataset as module
from omniflow.datasets.shard_paths import expanded
from omniflow.datasets.webdataset import WebDataset
from omniflow.errors import ConfigError, DataError, RecordError, UnknownLengthError

from .archives import media_members, tar_member, write_tar

WHOLE = {"validation_share": 0.0, "test_share": 0.0}


def content(sample):
    picture = None if sample.image is None else sample.image.tobytes()
    sound = None if sample.audio is None else sample.audio.waveform.tobytes()
    return sample.id, sample.text, picture, sound, sample.references


def reason(dataset, index):
    with pytest.raises(RecordError) as caught:
        dataset[index]
    return caught.value.record, caught.value.reason


@pytest.fixture
def shards(media, tmp_path):
    """Three shards of four, as people pack them."""
    for shard in range(3):
        numbers = range(4 * shard, 4 * shard + 4)
        members = [
            tar_member(".", type=tarfile.DIRTYPE),
            *media_members(media, numbers, "./p{:03}"),
        ]
        write_tar(tmp_path / f"s-{shard:02}.tar", members)
    return tmp_path / "s-{00..02}.tar"


def test_members_of_one_stem_are_a_sample(shards):
    dataset = WebDataset(path=str(shards), **WHOLE)
    assert [sample.id for sample in dataset] == [
        f"s-{number // 4:02}/p{number:03}" for number in range(12)
    ]
    for number, sample in enumerate(dataset):
        assert sample.text == f"caption {number % 6}"
        assert sample.references == (sample.text,)
        assert sample.image.getpixel((3, 3)) == (number % 6 * 40, 10, 20)
        assert sample.audio.waveform.shape == (1, 800)
    assert dataset.notices() == []


def test_a_stream_has_the_samples_that_are_read_by_position(shards, monkeypatch):
    monkeypatch.setattr(module, "REMEMBERED", 3)
    for split in ("train", "validation", "test"):
        options = {"path": str(shards), "split": split, "validation_share": 0.3, "test_share": 0.3}
        mapped = [content(sample) for sample in WebDataset(**options)]
        stream = WebDataset(**options, streaming=True)
        assert len(mapped) >= 2
        for start in (0, len(mapped) - 1, 1, len(mapped), 99, 0):
            found = [content(stream.decode(record)) for record in stream.records(start)]
            assert found == mapped[start:], (split, start)
        assert content(stream[1]) == mapped[1]
    with pytest.raises(UnknownLengthError):
        len(stream)


def test_splits_are_shares_by_stem_or_shards_of_their_own(shards, tmp_path):
    options = {"path": str(shards), "validation_share": 0.3, "test_share": 0.3}
    parts = {s: {x.id for x in WebDataset(split=s, **options)} for s in WebDataset.splits}
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 12
    # Packed anew, a sample stays in its split.
    everything = [member for n in range(3) for member in _members(tmp_path / f"s-{n:02}.tar")]
    write_tar(tmp_path / "all.tar", everything)
    options["path"] = str(tmp_path / "all.tar")
    again = {s: {x.id for x in WebDataset(split=s, **options)} for s in WebDataset.splits}
    stems = [{s: {name[-4:] for name in ids} for s, ids in each.items()} for each in (parts, again)]
    assert stems[0] == stems[1]
    own = {"path": str(tmp_path / "s-00.tar"), "validation_path": str(tmp_path / "s-01.tar"),
           "test_path": str(tmp_path / "s-02.tar")}  # fmt: skip
    for streaming in (False, True):
        for number, split in enumerate(WebDataset.splits):
            ids = [x.id for x in WebDataset(split=split, streaming=streaming, **own)]
            assert ids == [f"s-{number:02}/p{n:03}" for n in range(4 * number, 4 * number + 4)]


def _members(path):
    with tarfile.open(path) as archive:
        return [(each.name, archive.extractfile(each).read()) for each in archive if each.isfile()]


def test_patterns_name_shards(shards, tmp_path):
    assert list(expanded("a-{08..11}-{x,yy}.tar"))[:3] == [
        "a-08-x.tar", "a-08-yy.tar", "a-09-x.tar",
    ]  # fmt: skip
    whole = [sample.id for sample in WebDataset(path=str(shards), **WHOLE)]
    for pattern in (tmp_path, tmp_path / "s-*.tar", tmp_path / "s-{00,01,02}.tar"):
        assert [x.id for x in WebDataset(path=str(pattern), **WHOLE)] == whole
    (tmp_path / "deep").mkdir()
    (tmp_path / "s-00.tar").rename(tmp_path / "deep" / "s-01.tar")
    both = WebDataset(path=str(tmp_path / "{deep/s-01,s-01}.tar"), **WHOLE)
    assert {sample.id.rpartition("/")[0] for sample in both} == {"deep/s-01", "s-01"}
    with pytest.raises(
        DataError, match=r"s-3.tar: there is no such file(.|\n)*did you mean: .*s-0"
    ):
        WebDataset(path=str(tmp_path / "s-{01,3}.tar"))
    with pytest.raises(DataError, match="no .tar file in the folder"):
        WebDataset(path=str(tmp_path / "media"))
    with pytest.raises(ConfigError, match="no braces within others"):
        WebDataset(path=str(tmp_path / "s-{0{1,2},03}.tar"))
    with pytest.raises(DataError, match="is named 2 times"):
        WebDataset(path=str(tmp_path / "s-{01..02}{,}.tar"))
    with pytest.raises(ConfigError, match="expected {00..02}"):
        WebDataset(path=str(tmp_path / "s-{02..00}.tar"))
    with pytest.raises(ConfigError, match="at most 100000 shards"):
        WebDataset(path=str(tmp_path / "s-{0..999999999999}.tar"))
    with pytest.raises(ConfigError, match="streaming is False, expected true for shards on the"):
        WebDataset(path="https://example.org/{0..3}.tar")
    with pytest.raises(ConfigError, match="hf://datasets/OWNER/NAME"):
        WebDataset(path="hf://acme/{0..3}.tar")


def test_endings_are_what_follows_the_first_dot(media, tmp_path):
    text, picture = b"\xef\xbb\xbf one ", (media / "1.png").read_bytes()
    path = write_tar(tmp_path / "a.tar", [
        ("a.PNG", picture), ("a.seg.png", b"not looked at"), ("a.cls", b"3"),
        ("a.json", b'{"caption": "not looked at"}'), ("a.caption", text),
        ("b.json", json.dumps({"width": 3, "text": ["two", "three", "two"]}).encode()),
        ("c.json", b'{"said": "four"}'), ("c.webp", picture),
        (".hidden.txt", b"x"), ("d.bin", b"x"),
    ])  # fmt: skip
    dataset = WebDataset(path=str(path), **WHOLE)
    a, b, c = dataset
    assert (a.text, a.image.size) == ("one", (20, 20))
    assert (b.text, b.references, b.image) == ("two", ("two", "three"), None)
    assert (c.text, c.image.size) == (None, (20, 20))
    assert dataset.notices() == [f"{path}: 2 stems of other kinds left alone"]
    assert WebDataset(path=str(path), json_key="said", **WHOLE)[2].text == "four"


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_long_names_of_every_format(format, tmp_path):
    names = [f"{'f' * 90}/{'n' * 90}{number}" for number in range(3)]
    if format != tarfile.USTAR_FORMAT:
        names.append("ü" * 140)
    path = write_tar(tmp_path / "a.tar", [(f"{name}.txt", name.encode()) for name in names], format)
    for streaming in (False, True):
        dataset = WebDataset(path=str(path), streaming=streaming, **WHOLE)
        assert [(sample.id, sample.text) for sample in dataset] == [(f"a/{n}", n) for n in names]


def test_only_what_is_looked_at_is_read(media, tmp_path):
    path = write_tar(tmp_path / "a.tar", [
        *media_members(media, [0]), ("1.png", b"no picture"), ("1.txt", b"one"),
        ("2.wav", b"no sound"),
    ])  # fmt: skip
    for streaming in (False, True):
        dataset = WebDataset(path=str(path), streaming=streaming, **WHOLE)
        dataset.restrict_to({"text"})
        assert [(sample.id, sample.text) for sample in dataset] == [
            ("a/0", "caption 0"), ("a/1", "one"),
        ]  # fmt: skip
        assert dataset[0].image is None
        assert dataset.notices() == [f"{path}: 1 records without text left out"] * (not streaming)


def test_links_devices_and_names_that_lead_out_are_refused(media, tmp_path):
    picture = (media / "1.png").read_bytes()
    (tmp_path / "secret.png").write_bytes(picture)
    path = write_tar(tmp_path / "a.tar", [
        tar_member("a.png", type=tarfile.SYMTYPE, linkname="secret.png"),
        tar_member("b.png", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        tar_member("c.txt", type=tarfile.CHRTYPE, devmajor=1, devminor=5),
        tar_member("d.wav", type=tarfile.FIFOTYPE),
        ("../e.png", picture), ("/f.png", picture), ("g/../../g.png", picture),
        ("C:\\h.png", picture), ("\\i.png", picture),
        ("j.png", picture),
    ])  # fmt: skip
    for streaming in (False, True):
        dataset = WebDataset(path=str(path), streaming=streaming, **WHOLE)
        told = [reason(dataset, index) for index in range(9)]
        assert [reason.rpartition("' ")[2] for _, reason in told] == [
            "is a symbolic link, not a file", "is a hard link, not a file",
            "is a device, not a file", "is a pipe, not a file", *["leads out of its archive"] * 5,
        ]  # fmt: skip
        assert told[0] == ("a/a", "'a.png' is a symbolic link, not a file")
        assert dataset[9].image.size == (20, 20)


def test_bad_members_say_what_is_wrong(media, tmp_path):
    picture = (media / "1.png").read_bytes()
    path = write_tar(tmp_path / "a.tar", [
        ("a.png", picture[:60]), ("b.png", picture), ("b.jpg", picture), ("c.txt", b" \n"),
        ("d.txt", b"x\xff"), ("e.txt", b"x" * (1 << 20) + b"y"), ("f.json", b"[1]"),
        ("g.json", b"{"), ("h.json", b'{"text": 5}'), ("i.json", b"{}"), ("j.wav", b""),
    ])  # fmt: skip
    told = (
        "image: cannot be read as a picture", "two members of image: 'b.png' and 'b.jpg'",
        "the text is empty", "'d.txt': byte 1 is not UTF-8", "more than 1048576 bytes of text",
        "'f.json': a list, expected an object", "'g.json': not JSON", "text is a number",
        "it has no audio and no image and no text", "audio: the file is empty",
    )  # fmt: skip
    dataset = WebDataset(path=str(path), **WHOLE)
    for index, expected in enumerate(told):
        assert expected in reason(dataset, index)[1]


def test_absurd_sizes_are_refused_unread(tmp_path, media):
    def header(name, size):
        return tar_member(name, size=size)[0].tobuf(tarfile.GNU_FORMAT)

    good = write_tar(tmp_path / "good.tar", media_members(media, [1])).read_bytes()
    for size, expected in ((1 << 27, "is said to have"), (1 << 80, "no whole header")):
        path = tmp_path / f"{size.bit_length()}.tar"
        path.write_bytes(header("a.png", size) + good)
        dataset = WebDataset(path=str(path), **WHOLE)
        assert expected in reason(dataset, 0)[1]
        assert len(dataset) == (1 if size == 1 << 27 else 2)
    long_name = tarfile.TarInfo("././@LongLink")
    long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 1 << 40
    (tmp_path / "c.tar").write_bytes(long_name.tobuf(tarfile.GNU_FORMAT) + good)
    assert (
        "1099511627776 bytes are said"
        in reason(WebDataset(path=str(tmp_path / "c.tar"), **WHOLE), 0)[1]
    )


def test_a_damaged_header_costs_what_it_is_about_alone(media, tmp_path):
    path = write_tar(tmp_path / "a.tar", media_members(media, range(3), ends=("txt",)))
    whole = bytearray(path.read_bytes())
    assert whole[1024:1029] == b"1.txt"
    whole[1025] ^= 1
    path.write_bytes(whole)
    for streaming in (False, True):
        dataset = WebDataset(path=str(path), streaming=streaming, **WHOLE)
        records = list(dataset.records())
        assert len(records) == 3
        assert [dataset.decode(records[n]).text for n in (0, 2)] == ["caption 0", "caption 2"]
        assert reason(dataset, 1) == ("a@1024", "no whole header of a member is at byte 1024")


@pytest.mark.parametrize(("end", "expected"), [
    (512 + 5, "'0.txt' has 5 of its 10 bytes, then its archive ends"),
    (1024 + 100, "the archive ends within a header (byte 1024)"),
])  # fmt: skip
def test_a_shard_that_ends_too_soon_is_told(end, expected, media, tmp_path):
    path = write_tar(tmp_path / "a.tar", media_members(media, range(3), ends=("txt",)))
    path.write_bytes(path.read_bytes()[:end])
    for streaming in (False, True):
        dataset = WebDataset(path=str(path), streaming=streaming, **WHOLE)
        [*_, last] = dataset.records()
        with pytest.raises(RecordError) as caught:
            dataset.decode(last)
        assert caught.value.reason == expected


def test_shards_that_hold_nothing_or_are_packed(media, tmp_path):
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    for streaming in (False, True):
        with pytest.raises(DataError, match="is packed, expected a tar archive as it is"):
            list(WebDataset(path=str(path), streaming=streaming, **WHOLE).records())
    empty = write_tar(tmp_path / "b.tar", [("x.bin", b"x")])
    with pytest.raises(DataError, match="nothing of use in the shards, expected members such as"):
        WebDataset(path=str(empty))


@pytest.mark.parametrize("streaming", [False, True])
def test_other_processes_decode_records(shards, streaming):
    dataset = WebDataset(path=str(shards), streaming=streaming, **WHOLE)
    records = list(islice(dataset.records(), 3))
    twin = pickle.loads(pickle.dumps(dataset))
    for record in pickle.loads(pickle.dumps(records)):
        assert content(twin.decode(record)) == content(dataset.decode(record))
