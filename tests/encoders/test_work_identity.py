"""What the built-in encoders say shapes their embeddings, and that nothing else does."""

import shutil
from pathlib import Path

import pytest
import torch

from omniflow.encoders.clip import CLIPEncoder
from omniflow.encoders.languagebind import LanguageBindEncoder
from omniflow.encoders.t5 import T5Encoder
from omniflow.interfaces import Sample

EXTERNAL = Path(__file__).parents[1] / "parity" / "data" / "pipeline_tiny" / "external"

CASES = {
    "t5": (T5Encoder, "flan_t5", {}, ["config.json", "tokenizer.json", "model.safetensors"]),
    "clip text": (
        CLIPEncoder, "clip_vit_l", {"modality": "text"},
        ["config.json", "vocab.json", "merges.txt", "model.safetensors"],
    ),
    "clip image": (
        CLIPEncoder, "clip_vit_l", {"modality": "image"},
        ["config.json", "preprocessor_config.json", "model.safetensors"],
    ),
    "languagebind": (
        LanguageBindEncoder, "languagebind_audio", {}, ["config.json", "model.safetensors"]
    ),
}  # fmt: skip


def loaded(encoder):
    encoder.load_weights()
    return encoder


@pytest.mark.parametrize("case", CASES)
def test_every_file_that_is_read_counts_and_no_place(tmp_path, case):
    component, name, options, files = CASES[case]
    folder = shutil.copytree(EXTERNAL / name, tmp_path / "a", copy_function=shutil.copyfile)
    encoder = loaded(component(path=str(folder), **options))
    work = encoder.modalities[0]
    before = dict(encoder.work_identity(work))
    moved = shutil.copytree(folder, tmp_path / "b")
    assert loaded(component(path=str(moved), **options)).work_identity(work) == before
    for file in files:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content + b" ")
        assert encoder.work_identity(work) != before, file
        (folder / file).write_bytes(content)
    (folder / "README.md").write_text("of no importance")
    assert encoder.work_identity(work) == before


@pytest.mark.parametrize("case", CASES)
def test_another_precision_is_another_identity(case):
    component, name, options, _ = CASES[case]
    encoder = loaded(component(path=str(EXTERNAL / name), **options))
    work = encoder.modalities[0]
    before = dict(encoder.work_identity(work))
    assert encoder.bfloat16().work_identity(work) != before


def test_how_much_of_a_text_is_read_counts():
    first, second = (
        loaded(T5Encoder(path=str(EXTERNAL / "flan_t5"), max_tokens=most)) for most in (77, 20)
    )
    assert first.work_identity("text") != second.work_identity("text")


def test_the_longest_text_of_a_batch_changes_no_bit_of_the_others():
    encoder = loaded(T5Encoder(path=str(EXTERNAL / "flan_t5")))
    short = [Sample(str(number), text=f"a cat {number}") for number in range(3)]
    long = Sample("long", text="a much longer line of text than those of the other three " * 2)
    alone = encoder.encode([*short, short[0]], "text")
    assert torch.equal(encoder.encode([*short, long], "text")[:3], alone[:3])
