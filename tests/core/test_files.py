"""Files and folders are whole or as they were, whatever happens on the way."""

import json
import os
import re
import stat

import pytest

from omniflow.errors import OmniFlowError, UsageError
from omniflow.files import (
    check_name,
    check_new_folder,
    remove_leftovers,
    replacing,
    write_json,
    write_text,
    writing_folder,
)


class Crash(BaseException):
    """Ctrl-C, or worse."""


@pytest.fixture
def umask():
    """Sets the mask for new files; the old one is put back."""
    before = os.umask(0o022)
    os.umask(before)
    yield os.umask
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def everything_in(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_text_is_written_as_utf8(tmp_path):
    write_text(tmp_path / "a.txt", "Grüße 你好\n")
    assert (tmp_path / "a.txt").read_bytes() == "Grüße 你好\n".encode()


def test_folders_on_the_way_are_made(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert everything_in(tmp_path) == ["a", "a/b", "a/b/c.txt"]


def test_json_is_readable_by_people(tmp_path):
    write_json(tmp_path / "a.json", {"é": [1, 0.5]})
    assert (tmp_path / "a.json").read_text("utf-8") == '{\n  "é": [\n    1,\n    0.5\n  ]\n}\n'


def test_lone_surrogate_stays_valid_json(tmp_path):
    write_json(tmp_path / "a.json", {"text": "a\ud800b"})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"text": "a\ud800b"}


def test_number_that_json_does_not_have_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", float("nan"))
    assert (tmp_path / "a.json").read_text() == "1\n"


@pytest.mark.parametrize("error", [RuntimeError, Crash, KeyboardInterrupt])
def test_error_in_the_block_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half():
        with replacing(target) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_text() == "old"
    assert everything_in(tmp_path) == ["a.txt"]


def test_old_file_is_whole_until_the_block_ends(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
        assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert everything_in(tmp_path) == ["a.txt"]


def test_new_file_has_the_permissions_of_any_new_file(tmp_path, umask):
    umask(0o027)
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("x")
        # Some writers make files for themselves alone.
        temporary.chmod(0o600)
    assert mode(tmp_path / "a.txt") == 0o640


def test_replaced_file_keeps_its_permissions(tmp_path, umask):
    umask(0o022)
    target = tmp_path / "a.txt"
    target.write_text("private")
    target.chmod(0o600)
    write_text(target, "still private")
    assert mode(target) == 0o600


def test_symbolic_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"


def test_folder_of_that_name_is_the_persons_mistake(tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UsageError) as caught:
        write_text(tmp_path / "a.txt", "x")
    assert str(caught.value) == (
        f"{tmp_path}/a.txt: cannot be written (Is a directory), "
        "expected a place with room that you may write to"
    )
    assert everything_in(tmp_path) == ["a.txt"]


def test_file_in_the_way_is_the_persons_mistake(tmp_path):
    (tmp_path / "a").write_text("x")
    with pytest.raises(UsageError, match="cannot be written"):
        write_text(tmp_path / "a" / "b.txt", "x")


def test_names_as_long_as_the_disk_takes_them_are_written(tmp_path):
    write_text(tmp_path / ("n" * 255), "x")
    with writing_folder(tmp_path / ("é" * 127)):
        pass
    assert everything_in(tmp_path) == ["n" * 255, "é" * 127]


def test_name_too_long_is_the_persons_mistake(tmp_path):
    with pytest.raises(UsageError, match=r"cannot be written \(File name too long\)"):
        write_text(tmp_path / ("n" * 256), "x")
    with (
        pytest.raises(UsageError, match=r"cannot be written \(File name too long\)"),
        writing_folder(tmp_path / ("n" * 256)),
    ):
        pass
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize("name", ["", "n" * 256, "circle", "circle/a.txt", "n" * 256 + "/a.txt"])
def test_what_cannot_be_a_name_is_refused(tmp_path, name):
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(UsageError) as caught:
        check_name(tmp_path / name if name else "", where="--output")
    assert caught.value.where == "--output"


def test_what_can_be_a_name_is_let_pass(tmp_path):
    (tmp_path / "dangling").symlink_to("gone")
    for name in (".", "new", "new/deep/a.txt", "dangling"):
        check_name(tmp_path / name)


def test_folder_in_use_is_not_to_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    for folder in (".", "..", tmp_path / "a"):
        with pytest.raises(UsageError, match="is, or holds, the folder that this runs in"):
            check_new_folder(folder)
    with pytest.raises(UsageError, match="is where a disk or volume is mounted"):
        check_new_folder("/proc")
    check_new_folder("new")


def test_full_disk_is_a_fault(tmp_path):
    with (
        pytest.raises(
            OmniFlowError, match=r"cannot be written \(No space left on device\)"
        ) as caught,
        replacing(tmp_path / "a.txt"),
    ):
        raise OSError(28, "No space left on device")
    assert caught.value.exit_code == 1


def test_folder_appears_whole(tmp_path, umask):
    umask(0o022)
    target = tmp_path / "run" / "model"
    with writing_folder(target) as temporary:
        (temporary / "sub").mkdir()
        (temporary / "sub" / "a").write_text("1")
        assert not target.exists()
    assert everything_in(tmp_path) == ["run", "run/model", "run/model/sub", "run/model/sub/a"]
    assert mode(target) == 0o755


def test_folder_is_replaced_as_a_whole(tmp_path):
    target = tmp_path / "model"
    target.mkdir()
    (target / "stale").write_text("old")
    with writing_folder(target) as temporary:
        (temporary / "fresh").write_text("new")
    assert everything_in(tmp_path) == ["model", "model/fresh"]


@pytest.mark.parametrize("error", [RuntimeError, Crash, KeyboardInterrupt])
@pytest.mark.parametrize("is_there", [True, False])
def test_error_in_the_block_leaves_the_old_folder_and_nothing_else(tmp_path, error, is_there):
    target = tmp_path / "model"
    if is_there:
        target.mkdir()
        (target / "a").write_text("old")
    before = everything_in(tmp_path)

    def write_half():
        with writing_folder(target) as temporary:
            (temporary / "a").write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert everything_in(tmp_path) == before
    assert not is_there or (target / "a").read_text() == "old"


@pytest.mark.parametrize("failing_call", [1, 2])
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), Crash()])
def test_folder_that_cannot_be_put_in_place_brings_the_old_one_back(
    tmp_path, monkeypatch, failing_call, error
):
    target = tmp_path / "model"
    target.mkdir()
    (target / "a").write_text("old")
    replace, calls = os.replace, []

    def failing_replace(source, destination):
        calls.append(source)
        if len(calls) == failing_call:
            raise error
        replace(source, destination)

    monkeypatch.setattr(os, "replace", failing_replace)
    with pytest.raises((OmniFlowError, Crash)), writing_folder(target) as temporary:
        (temporary / "a").write_text("new")
    assert (target / "a").read_text() == "old"
    assert everything_in(tmp_path) == ["model", "model/a"]


def test_symbolic_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "old").write_text("1")
    (tmp_path / "link").symlink_to("real")
    with writing_folder(tmp_path / "link") as temporary:
        (temporary / "new").write_text("2")
    assert (tmp_path / "link").is_symlink()
    assert everything_in(tmp_path / "real") == ["new"]
    assert everything_in(tmp_path) == ["link", "real", "real/new"]


def test_file_where_a_folder_is_to_be_is_left_alone(tmp_path):
    (tmp_path / "model").write_text("precious")
    with pytest.raises(UsageError, match="it is a file"), writing_folder(tmp_path / "model"):
        raise AssertionError("the block must not run")
    assert (tmp_path / "model").read_text() == "precious"
    assert everything_in(tmp_path) == ["model"]


def test_what_killed_processes_left_is_removed_and_what_they_moved_aside_put_back(tmp_path):
    names = re.compile("best|final|metrics.jsonl")
    hexadecimal = "0123456789abcdef" * 2
    for folder in ("best", ".best.a_b1c2d3", ".best.x_y1z2w3.previous", ".final.abcdefgh",
                   ".final.abcdefgh.previous", ".other.abcdefgh", ".best.kept"):  # fmt: skip
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "name").write_text(folder)
    for file in (f".metrics.jsonl.{hexadecimal}.tmp", f".notes.{hexadecimal}.tmp", "metrics.jsonl"):
        (tmp_path / file).write_text(file)
    remove_leftovers(tmp_path, names)
    left = {".best.kept", ".other.abcdefgh", f".notes.{hexadecimal}.tmp", "metrics.jsonl"}
    assert {place.name for place in tmp_path.iterdir()} == {*left, "best", "final"}
    assert (tmp_path / "best/name").read_text() == "best"
    assert (tmp_path / "final/name").read_text() == ".final.abcdefgh.previous"
    remove_leftovers(tmp_path / "nowhere", names)
