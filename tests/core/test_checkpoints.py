"""Tensor files: what is written comes back, and what is no whole file is refused by name."""

import hashlib
import json
import struct
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omniflow.checkpoints import content_hash, read_json, read_tensors, write_tensors
from omniflow.errors import CheckpointError

TENSORS = {
    "weight": torch.linspace(-1, 1, 12).reshape(3, 4),
    "half": torch.tensor([0.5, -2.0]).bfloat16(),
    "ids": torch.arange(5),
    "mask": torch.tensor([True, False]),
    "scalar": torch.tensor(3.25, dtype=torch.float64),
    "empty": torch.zeros(0, 7),
}


@pytest.fixture
def file(tmp_path):
    write_tensors(tmp_path / "model.safetensors", TENSORS)
    return tmp_path / "model.safetensors"


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_tensors_come_back_bit_for_bit(file):
    assert_same(read_tensors(file), TENSORS)


def test_views_and_parameters_are_written_as_plain_tensors(tmp_path):
    wide = torch.arange(12.0).reshape(3, 4)
    tensors = {"transposed": wide.T, "parameter": torch.nn.Parameter(torch.ones(2))}
    write_tensors(tmp_path / "a.safetensors", tensors)
    found = read_tensors(tmp_path / "a.safetensors")
    assert_same(found, {"transposed": wide.T.contiguous(), "parameter": torch.ones(2)})
    assert not found["parameter"].requires_grad


def test_file_is_as_readable_as_any_other(file):
    (file.parent / "plain").write_text("")
    assert file.stat().st_mode == (file.parent / "plain").stat().st_mode


def test_writing_that_fails_leaves_the_old_file(file):
    shared = torch.zeros(3)
    with pytest.raises(RuntimeError, match="share memory"):
        write_tensors(file, {"a": shared, "b": shared})
    assert_same(read_tensors(file), TENSORS)
    assert [path.name for path in file.parent.iterdir()] == ["model.safetensors"]


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError) as caught:
        read_tensors(tmp_path / "model.safetensors")
    assert str(caught.value) == f"{tmp_path}/model.safetensors: there is no such file"


def test_folder_is_no_file(tmp_path):
    with pytest.raises(CheckpointError, match="there is no such file"):
        read_tensors(tmp_path)


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.7, 0.999])
def test_truncated_file_is_refused_with_its_size(file, share):
    content = file.read_bytes()
    size = int(len(content) * share)
    file.write_bytes(content[:size])
    with pytest.raises(CheckpointError) as caught:
        read_tensors(file)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{file}: not a whole safetensors file (")
    assert second == f"  its size is {size} bytes; copy or download it again"


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 a pickle in a zip",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n",
        b"<!DOCTYPE html><html>Not found</html>",
        b"\x00" * 100,
        b"\xff" * 100,
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 14) + b'{"a": "tensor"}'[:14],
    ],
)
def test_foreign_file_is_refused(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match="not a whole safetensors file"):
        read_tensors(tmp_path / "model.safetensors")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_header_is_read_or_refused_but_never_crashes(file, data):
    content = bytearray(file.read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    damaged = file.with_name("damaged.safetensors")
    damaged.write_bytes(content)
    with suppress(CheckpointError):
        read_tensors(damaged)


def test_hash_is_that_of_the_content(file):
    assert content_hash(file) == hashlib.sha256(file.read_bytes()).hexdigest()
    write_tensors(file.with_name("same.safetensors"), dict(reversed(TENSORS.items())))
    assert content_hash(file.with_name("same.safetensors")) == content_hash(file)


def test_json_comes_back(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"é": [1, None]}), encoding="utf-8")
    assert read_json(tmp_path / "a.json") == {"é": [1, None]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1', "not readable as JSON (Expecting ',' delimiter: line 1 column 8 (char 7))"),
        (b"", "not readable as JSON (Expecting value: line 1 column 1 (char 0))"),
        (b"\xff\xfe", "not readable as JSON ('utf-8' codec can't decode byte 0xff"),
        (b"[" * 100_000, "not readable as JSON (maximum recursion depth exceeded"),
        (None, "there is no such file"),
    ],
)
def test_file_that_is_no_json_is_refused(tmp_path, content, problem):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(CheckpointError) as caught:
        read_json(tmp_path / "a.json")
    assert str(caught.value).startswith(f"{tmp_path}/a.json: {problem}")


def test_folder_is_no_json(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_json(tmp_path)
