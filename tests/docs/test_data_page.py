"""Every command and snippet of docs/data.md is run, with the files that it shows."""

import csv
import json
import re
import shlex
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omniflow.datasets.member_names import MOST_BYTES as MOST_MEMBER_BYTES
from omniflow.datasets.record_columns import USUAL
from omniflow.datasets.record_index import MOST_BYTES
from omniflow.datasets.record_media import SUFFIXES
from omniflow.inspection.check import MOST_TEXTS, Extent
from omniflow.inspection.preview import LONGEST_S
from omniflow.inspection.split_reading import MOST_TOKENISED
from omniflow.interfaces.dataset import Audio
from omniflow.media.audio import LIMIT_S, write_wav
from omniflow.media.image import MOST_SLENDER
from omniflow.media.sound_checks import FEWEST_SAMPLES
from omniflow.options import options_of, signature_options
from omniflow.recipe import TrainingOptions
from omniflow.training.skipped import LEAST_READ
from omniflow_cli.app import main

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")

#: What makes a command short enough for a test without changing what it is about.
SHORTER = {
    "train": ["--max-steps", "1", "--batch-size", "2", "--device", "cpu", "--no-cache",
              "--set", "training.eval_batches=1",
              "--set", "training.samples=0", "--set", "training.bad_records=0"],
}  # fmt: skip


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The folder of somebody who has the files of the page."""
    folder = tmp_path_factory.mktemp("reader")
    [table], [lines] = blocks("csv"), blocks("json")
    (folder / "pets.csv").write_text(table, encoding="utf-8")
    (folder / "pets.jsonl").write_text(lines, encoding="utf-8")
    (folder / "media").mkdir()
    wave = np.sin(np.arange(16_000, dtype=np.float32) / 9)[None] / 2
    for number, row in enumerate(csv.DictReader(table.splitlines())):
        Image.new("RGB", (64, 64), (60 * number, 99, 20)).save(folder / row["image"])
        write_wav(folder / row["audio"], Audio(wave, 16_000))
        (folder / row["image"]).with_suffix(".txt").write_text(row["caption"])
    for number in range(2):
        with tarfile.open(folder / f"pets-{number}.tar", "w") as shard:
            for path in sorted((folder / "media").iterdir())[6 * number :][:6]:
                shard.add(path, path.name)
    return folder


def test_every_command_works(reader, monkeypatch, capsys):
    monkeypatch.chdir(reader)
    commands = [line for block in blocks("bash") for line in block.splitlines()]
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command)[1:]
        code = main([*words, *SHORTER.get(words[0], [])])
        assert code == 0, f"{command}\n{capsys.readouterr().err}"


def test_the_extent_of_a_check_is_that_of_the_code():
    for extent in (
        f"{Extent().records:,} records of a split", f"{MOST_TEXTS:,} texts of a split",
        f"{MOST_TOKENISED:,} of these in tokens", f"their first {LONGEST_S:g} s",
    ):  # fmt: skip
        assert extent in PAGE


def test_the_snippet_works(reader, monkeypatch, capsys):
    monkeypatch.chdir(reader)
    [snippet] = blocks("python")
    exec(snippet, {})
    assert "(64, 64) (1, 16000)" in capsys.readouterr().out


def test_a_record_is_listed_as_the_page_shows(reader, monkeypatch, registry):
    from omniflow.datasets.csv_table import CsvDataset
    from omniflow.errors import RecordError

    [shown] = blocks("text")
    line = json.loads(shown)
    monkeypatch.chdir(reader)
    Path("media/cat.png").rename("media/hidden.png")
    pets = CsvDataset(path="pets.csv", validation_share=0, test_share=0)
    with pytest.raises(RecordError) as caught:
        pets[1]
    Path("media/hidden.png").rename("media/cat.png")
    assert (caught.value.record, caught.value.reason) == (line["id"], line["reason"])


def test_options_defaults_and_limits_are_those_of_the_code(registry):
    for option in options_of(registry.get("dataset", "csv")):
        if option.name not in ("path", "split"):
            default = {None: "null"}.get(option.default, str(option.default))
            assert f"| `{option.name}` | `{default}` |" in PAGE
    for names in USUAL.values():
        assert all(name in PAGE for name in names)
    assert all(suffix in PAGE for suffixes in SUFFIXES.values() for suffix in suffixes)
    [share] = [o.default for o in signature_options(TrainingOptions) if o.name == "bad_records"]
    for limit in (
        f"{MOST_MEMBER_BYTES:,} bytes",
        f"{MOST_BYTES:,} bytes", f"{LIMIT_S:g} s", f"more than {MOST_SLENDER} times",
        f"{FEWEST_SAMPLES - 1} samples or fewer", f"at least {LEAST_READ:,}", f"{share} unless set",
    ):  # fmt: skip
        assert limit in PAGE
