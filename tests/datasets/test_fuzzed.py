"""A thousand damaged records through every dataset of files: read, or told, and soon."""

import json
import random
import struct
import tarfile
import time
import zlib
from collections import Counter
from contextlib import suppress

import pytest

from omniflow.datasets.csv_table import CsvDataset
from omniflow.datasets.folder import FolderDataset
from omniflow.datasets.json_lines import JsonLinesDataset
from omniflow.datasets.llava_cc3m import LlavaCc3mDataset
from omniflow.datasets.text import TextDataset
from omniflow.datasets.webdataset import WebDataset
from omniflow.errors import DataError, RecordError

from .archives import conversation, tar_member, write_llava, write_tar

COUNT = 1000
WHOLE = {"validation_share": 0.0, "test_share": 0.0}


def huge_png(rng):
    """A picture that says it is as large as a country, or as thin as a hair."""
    sizes = [(65_000, 65_000), (2**31 - 1, 1), (1, 90_000), (0, 5), (12_000, 12_000)]
    header = struct.pack(">IIBBBBB", *rng.choice(sizes), 8, rng.choice([0, 2, 3, 6]), 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 5000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def huge_wav(rng):
    """A sound that says it lasts for days, or has channels or a rate of its own kind."""
    channels, rate = rng.choice([1, 2, 0, 40_000]), rng.choice([1, 16_000, 2**31 - 1, 0])
    form = struct.pack("<HHIIHH", 1, channels, rate, 1, rng.choice([0, 2]), 16)
    data = b"data" + struct.pack("<I", 2**32 - 1) + rng.randbytes(400)
    return (
        b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WAVEfmt " + struct.pack("<I", 16) + form + data
    )


def damaged(whole, rng):
    """A file as disks, networks and people leave it."""
    kind = rng.randrange(6)
    if kind == 0:
        return whole[: rng.randrange(len(whole))]
    if kind == 1:
        return rng.randbytes(rng.randrange(300))
    if kind == 2:
        content = bytearray(whole)
        for _ in range(rng.randrange(1, 12)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        return bytes(content)
    if kind == 3:
        return rng.choice([huge_png, huge_wav])(rng)
    if kind == 4:
        return whole[:30] + rng.randbytes(rng.randrange(500))
    return whole


def value(names, rng):
    """What somebody may write where a path or a text is expected."""
    return rng.choice([
        rng.choice(names), rng.choice(names), rng.choice(names), None, "", 7, -1.5, True, [], {},
        ["a", 3], "../" * 9 + "etc/passwd", "/dev/zero", "/", ".", "\0", "\ud800", "x" * 9000,
        "http://a/b.png", "\n", '"', "a\r\nb", "~nobody/x",
    ])  # fmt: skip


@pytest.fixture
def broken(media):
    """A folder of damaged files, most of them; their names."""
    rng = random.Random(4)
    pictures, sounds, texts = (
        [path.read_bytes() for path in sorted(media.glob(f"*{end}"))]
        for end in (".png", ".wav", ".txt")
    )
    for number in range(COUNT):
        for suffix, whole in ((".png", pictures), (".wav", sounds), (".txt", texts)):
            if rng.random() < 0.8:
                path = media / f"r{number}{rng.choice(['', suffix])}{suffix}"
                path.write_bytes(damaged(rng.choice(whole), rng))
    return media


def outcome(dataset):
    """Records read, and reasons of the others; anything else that is raised is a fault."""
    started = time.process_time()
    read, errors = 0, []
    for record in dataset.records():
        try:
            sample = dataset.decode(record)
        except RecordError as error:
            errors.append(error)
            continue
        read += 1
        assert sample.text is None or sample.text.strip()
        assert sample.audio is None or sample.audio.waveform.shape[1] > 100
        assert (sample.text, sample.image, sample.audio) != (None, None, None)
    assert time.process_time() - started < 10
    assert all(error.record and "\n" not in error.reason for error in errors)
    return read, [error.reason for error in errors]


def test_folder(broken):
    read, reasons = outcome(FolderDataset(path=str(broken), **WHOLE))
    assert read + len(reasons) >= COUNT
    assert read > 50
    assert len(reasons) > 300
    assert any("too large" in reason for reason in reasons)


def test_jsonl(broken):
    rng = random.Random(5)
    names = [path.name for path in sorted(broken.iterdir())]
    with (broken / "table.jsonl").open("wb") as file:
        for _ in range(COUNT):
            row = {
                key: value(names, rng)
                for key in ("text", "image", "audio", "id")
                if rng.random() < 0.8
            }
            line = json.dumps(row).encode()
            file.write((damaged(line, rng) if rng.random() < 0.2 else line) + b"\n")
    options = {"text_column": "text", "image_column": "image", "audio_column": "audio"}
    dataset = JsonLinesDataset(path=str(broken / "table.jsonl"), id_column="id", **options, **WHOLE)
    read, reasons = outcome(dataset)
    assert read + len(reasons) >= COUNT
    assert read > 20
    assert any("lies outside" in reason for reason in reasons)


@pytest.mark.parametrize("names_stay", [True, False])
def test_csv(names_stay, broken):
    rng = random.Random(6)
    names = [path.name for path in sorted(broken.iterdir())]
    with (broken / "table.csv").open("wb") as file:
        file.write(b"text,image,audio\n")
        for number in range(COUNT):
            fields = [f"text {number}", rng.choice(names), rng.choice(names)]
            if not names_stay or rng.random() < 0.3:
                fields = [str(value(names, rng)) for _ in range(rng.choice([3, 3, 3, 2, 4]))]
            line = ",".join(fields).encode(errors="surrogatepass")
            file.write((damaged(line, rng) if rng.random() < 0.3 else line) + b"\n")
    read, reasons = outcome(CsvDataset(path=str(broken / "table.csv"), **WHOLE))
    assert read + len(reasons) > COUNT // 2
    assert reasons
    assert read > 5 or not names_stay


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
def test_text(kind, tmp_path):
    rng = random.Random(7)
    whole = {
        "txt": "line {} wörds",
        "jsonl": '{{"n": 1, "text": "line {} wörds"}}',
        "csv": '"line\n{}","wörds"',
    }[kind]
    lines = [whole.format(number).encode() for number in range(COUNT)]
    broken = [damaged(line, rng) if rng.random() < 0.8 else line for line in lines]
    path = tmp_path / f"texts.{kind}"
    path.write_bytes(b"text,more\n" * (kind == "csv") + b"\n".join(broken) + b"\n")
    options = {"path": str(path), "column": None if kind == "txt" else "text", **WHOLE}
    read, reasons = outcome(TextDataset(**options))
    assert read > COUNT // 4
    assert len(reasons) > COUNT // 5
    assert any("is not UTF-8" in reason for reason in reasons)
    assert outcome(TextDataset(**options, streaming=True)) == (read, reasons)


def test_webdataset(media, tmp_path):
    rng = random.Random(8)
    files = {end: (media / f"1.{end}").read_bytes() for end in ("png", "wav", "txt")}
    files["json"] = b'{"caption": "one", "width": [1, 2]}'
    others = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE]
    members = []
    for number in range(COUNT):
        for end in rng.sample(sorted(files), rng.randrange(1, 4)):
            name = rng.choice(["{}", "{}", "{}", "../{}", "/{}", "{}/..", "d" * 120 + "/{}"])
            content = damaged(files[end], rng)
            said = {"type": rng.choice(others), "linkname": "../x"} if rng.random() < 0.1 else {}
            members.append(tar_member(f"{name.format(number)}.{end}", content, **said))
    path = write_tar(tmp_path / "whole.tar", members)
    whole = path.read_bytes()
    broken = bytearray(whole)
    for _ in range(200):  # Of headers most of all, as members are short.
        broken[rng.randrange(len(broken))] = rng.randrange(256)
    (tmp_path / "broken.tar").write_bytes(broken)
    (tmp_path / "short.tar").write_bytes(whole[: len(whole) // 3 + 100])
    for name, least in (("broken", COUNT - 200), ("short", COUNT // 4)):
        options = {"path": str(tmp_path / f"{name}.tar"), **WHOLE}
        read, reasons = outcome(WebDataset(**options))
        assert read + len(reasons) >= least
        assert read > least // 10
        assert any("leads out" in reason for reason in reasons)
        assert any("link" in reason for reason in reasons)
        assert outcome(WebDataset(**options, streaming=True)) == (read, reasons)
    for _ in range(50):
        (tmp_path / "any.tar").write_bytes(damaged(whole[:4096], rng))
        with suppress(DataError):
            outcome(WebDataset(path=str(tmp_path / "any.tar"), **WHOLE))


def test_llava_cc3m(media, tmp_path):
    rng = random.Random(9)
    picture = (media / "1.png").read_bytes()
    pictures = {f"{number}.jpg": damaged(picture, rng) for number in range(COUNT)}
    names = [*pictures, *pictures, "../0.jpg", "/etc/passwd", "none.jpg"]
    rows = []
    for number in range(COUNT):
        row = conversation(number, rng.choice(names), f"text {number}")
        if rng.random() < 0.2:
            row[rng.choice(list(row))] = value(names, rng)
        if rng.random() < 0.1:
            row["conversations"] = [{"from": "gpt", "value": value(names, rng)}, 3]
        rows.append(value(names, rng) if rng.random() < 0.1 else row)
    folder = write_llava(tmp_path / "llava", pictures, rows)
    dataset = LlavaCc3mDataset(path=str(folder), **WHOLE)
    read, reasons = outcome(dataset)
    assert read + len(reasons) == COUNT
    assert read > 50
    assert len(reasons) > 300
    assert outcome(LlavaCc3mDataset(path=str(folder), streaming=True, **WHOLE)) == (read, reasons)


def test_files_of_llava_cc3m(media, tmp_path):
    rng = random.Random(10)
    picture = (media / "1.png").read_bytes()
    rows = [conversation(number, f"{number}.jpg", f"text {number}") for number in range(20)]
    folder = write_llava(tmp_path / "llava", {row["image"]: picture for row in rows}, rows)
    whole = {name: (folder / name).read_bytes() for name in ("images.zip", "chat.json")}
    kinds = Counter()
    for _ in range(120):
        for name, content in whole.items():
            (folder / name).write_bytes(content)
        name = rng.choice(list(whole))
        broken = bytearray(damaged(whole[name], rng) or b"x")
        for _ in range(rng.randrange(4)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        (folder / name).write_bytes(broken)
        try:
            read, _ = outcome(LlavaCc3mDataset(path=str(folder), **WHOLE))
        except DataError as error:
            kinds[error.where == str(folder / name)] += 1
        else:
            kinds[f"read {read > 0}"] += 1
    assert kinds[False] == 0
    assert kinds[True] > 50
    assert kinds["read True"] > 10
