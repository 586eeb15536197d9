"""`omniflow sample` on a small random model: files, texts, and what a person can get wrong."""

import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from omniflow.errors import UsageError
from omniflow.generation.grid import GAP, picture_grid
from omniflow.generation.outputs import output_files
from omniflow.generation.sheet import Section, sheet
from omniflow.interfaces import Audio, Sample
from omniflow.media.audio import write_wav
from omniflow.sampling.generate import Generated
from omniflow.tasks import Task

SIZE = 16


@pytest.fixture(scope="module")
def whole(parity_data):
    """Flags that name a random model with all of its parts."""
    tiny = parity_data / "pipeline_tiny"
    parts = {
        "path": "checkpoint",
        "t5": "external/flan_t5",
        "clip": "external/clip_vit_l",
        "audio_encoder": "external/languagebind_audio",
        "audio_vae": "external/audioldm2/vae",
    }
    settings = [f"backbone.{name}={tiny / place}" for name, place in parts.items()]
    flags = [part for setting in settings for part in ("--set", setting)]
    return ["--backbone", "folder", *flags, "--device", "cpu", "--steps", "2"]


@pytest.fixture
def files(tmp_path):
    """Inputs, good and bad."""
    Image.new("RGB", (40, 30), "red").save(tmp_path / "in.png")
    Image.new("RGB", (30_000, 10)).save(tmp_path / "thin.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "cut.png").write_bytes((tmp_path / "in.png").read_bytes()[:60])
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "empty.wav").write_bytes(b"")
    write_wav(tmp_path / "in.wav", Audio(np.zeros((1, 800), np.float32), 8000))
    for name, samples, rate_hz in (("one.wav", 1, 8000), ("hour.wav", 3600 * 100, 100)):
        with wave.open(str(tmp_path / name), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(1)
            file.setframerate(rate_hz)
            file.writeframes(b"\x80" * samples)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("not to be lost")
    (tmp_path / "folder.png").mkdir()
    return tmp_path


T2I = "--prompt x --output o.png"

MISTAKES = {
    "unknown task": ("--task t3i --prompt x", "--task: task is 't3i'", "did you mean: t2i"),
    "no input": ("--task t2i --output o.png", "--prompt: task t2i needs text", "--prompt TEXT"),
    "too much input": (f"{T2I} --image in.png", "--image: task t2i has no use for image"),
    "both wrong": ("--task i2t --prompt x", "2 things", "--image: ", "--prompt: "),
    "no picture": ("--task i2t --image bad.png", "bad.png: cannot be read as a picture"),
    "half a picture": ("--task i2t --image cut.png", "cut.png: cannot be read as a picture"),
    "missing picture": ("--task i2t --image none.png", "none.png: there is no such file"),
    "thin picture": ("--task i2t --image thin.png", "thin.png: the picture is 30000 x 10 pixels"),
    "empty sound": ("--task a2t --audio empty.wav", "empty.wav: the file is empty"),
    "one sample": ("--task a2t --audio one.wav", "one.wav: the sound has 1 samples"),
    "an hour": ("--task a2t --audio hour.wav", "hour.wav: the sound lasts 3600 s", "at most 600 s"),
    "no output": ("--prompt x", "--output: task t2i makes image, which cannot be printed"),
    "suffix": ("--prompt x --output o.wav", "--output: o.wav cannot hold image", ".png or .html"),
    "suffix of two": (
        "--task t2ia --prompt x --output o.png",
        "--output: o.png cannot hold image and audio, which t2ia makes",
        "ends in .html, or a folder",
    ),
    "output in use": ("--prompt x --output full", "--output: the folder full is not empty"),
    "output a folder": ("--prompt x --output folder.png", "--output: folder.png is a folder"),
    "output below a file": ("--prompt x --output in.png/o.png", "--output: ", "not a folder"),
    "guidance nan": (f"{T2I} --guidance nan", "--guidance: guidance is nan, expected a number"),
    "guidance of none": (f"{T2I} --guidance txt=2", "--guidance: guidance.txt", "mean: text"),
    "guidance twice": (f"{T2I} --guidance 2 --guidance text=3", "--guidance: ", "modality=number"),
    "guidance in words": (f"{T2I} --guidance much", "--guidance: ", "'much'"),
    "steps": (f"{T2I} --steps 0", "--steps: steps is 0, expected a whole number >= 1"),
    "count": (f"{T2I} --count 0", "--count: count is 0, expected a whole number >= 1"),
    "endless steps": (f"{T2I} --steps 9999999", "--steps: steps is 9999999", "<= 100000"),
    "endless count": (f"{T2I} --count 9999999", "--count: count is 9999999", "<= 100000"),
    "output nowhere": ("--prompt x --output=", "--output: the name is empty"),
    "output here": ("--prompt x --output .", "--output: ", "the folder . is not empty"),
    "output too long": (f"--prompt x --output {'n' * 300}.png", "--output: ", "File name too long"),
    "postscript": ("--task i2t --image program.png", "PostScript is a program"),
    "solver": (f"{T2I} --solver eulr", "--solver: solver is 'eulr'", "did you mean: euler"),
    "absent": (f"{T2I} --absent drp", "--absent: absent is 'drp'", "did you mean: drop"),
    "setting": (f"{T2I} --set sampling.shft=1", "--set: no sampling setting", "mean: shift"),
    "section": (f"{T2I} --set head.x=1", "--set: 'head.x' is neither", "sampling.NAME=VALUE"),
    "two models": (f"{T2I} --backbone tiny --checkpoint x", "--backbone: ", "either a checkpoint"),
    "no checkpoint": (f"{T2I} --checkpoint nothing", "nothing: there is no such folder"),
    "backbone": (f"{T2I} --backbone tinny", "--backbone: no backbone", "did you mean: tiny"),
    "device": (f"{T2I} --device gpu", "--device: ", "'gpu'"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_once_and_writes_nothing(mistake, omniflow, files):
    line, *expected = MISTAKES[mistake]
    before = sorted(files.rglob("*"))
    outcome = omniflow("sample", *line.split())
    assert outcome.code == 2, outcome.err
    for text in expected:
        assert text in outcome.err
    assert outcome.err.count("error: ") == 1
    assert outcome.out == ""
    assert sorted(files.rglob("*")) == before


def test_a_height_that_does_not_fit_is_told_by_its_flag(omniflow, whole):
    outcome = omniflow("sample", *whole, "--prompt", "x", "--output", "o.png", "--height", "7")
    assert outcome.code == 2
    assert "--height: height is 7" in outcome.err


def test_a_negative_prompt_without_guidance_is_refused(omniflow, whole):
    line = [*T2I.split(), "--negative-prompt", "y", "--guidance", "1"]
    outcome = omniflow("sample", *whole, *line)
    assert outcome.code == 2
    assert "--negative-prompt: negative_prompt is 'y', expected guidance above 1" in outcome.err


def test_pictures_become_a_grid_whose_cells_are_the_single_samples(omniflow, whole):
    line = ["sample", *whole, "--prompt", "a cat"]
    many = omniflow(*line, "--count", 3, "--batch-size", 2, "--output", "new/all.png", "--json")
    assert many.code == 0, many.err
    assert json.loads(many.out)["output"] == ["new/all.png"]
    assert "sampling: 6/6" in many.err
    assert omniflow(*line, "--seed", 2, "--output", "third.png").code == 0
    grid, third = Image.open("new/all.png"), Image.open("third.png")
    corner = (GAP, 2 * GAP + third.height)
    cell = grid.crop((*corner, corner[0] + third.width, corner[1] + third.height))
    # Float rounding differs with the batch by far less than one of 256 levels.
    assert np.abs(np.asarray(cell, int) - np.asarray(third, int)).max() <= 1


def test_a_long_prompt_is_cut_with_a_notice(omniflow, whole):
    outcome = omniflow("sample", *whole, "--prompt", "cat " * 10_000, "--output", "o.png")
    assert outcome.code == 0, outcome.err
    assert re.search(r"CLIP reads \d+ tokens of the prompt", outcome.err)
    assert re.search(r"the text VAE reads \d+ tokens of a prompt; the rest is left", outcome.err)
    assert len(outcome.err) < 2000
    assert Path("o.png").is_file()


def test_texts_are_printed_and_written(omniflow, whole, files):
    line = ["sample", *whole, "--task", "ia2t", "--image", "in.png", "--audio", "in.wav"]
    line += ["--guidance", "image=2", "--guidance", "audio=1.5", "--count", 2]
    line += ["--set", "sampling.max_new_tokens=4"]
    printed = omniflow(*line)
    assert printed.code == 0, printed.err
    outcome = omniflow(*line, "--output", "o.txt", "--json")
    summary = json.loads(outcome.out)
    assert summary["output"] == ["o-1.txt", "o-2.txt"]
    assert [Path(name).read_text()[:-1] for name in summary["output"]] == summary["texts"]
    assert printed.out == "".join(text + "\n" for text in summary["texts"])


def test_pictures_with_sounds_take_a_sheet_or_a_folder(omniflow, whole, files):
    (files / "vocoder").mkdir()
    (files / "vocoder" / "config.json").write_text(
        json.dumps({"model_type": "griffin-lim", "iterations": 1})
    )
    line = ["sample", *whole, "--task", "t2ia", "--prompt", "<i>", "--count", 2]
    line += ["--set", "backbone.vocoder=vocoder"]
    assert omniflow(*line, "--output", "o").code == 0
    assert sorted(file.name for file in Path("o").iterdir()) == [
        "1.png", "1.wav", "2.png", "2.wav",
    ]  # fmt: skip
    assert omniflow(*line, "--output", "o.html").code == 0
    page = Path("o.html").read_text()
    assert page.count("data:image/png;base64,") == page.count("data:audio/wav;base64,") == 2
    assert "<p>&lt;i&gt;</p>" in page


def test_a_checkpoint_speaks(omniflow, saved_model):
    line = [
        "--task",
        "t2t",
        "--prompt",
        "a cat",
        "--steps",
        2,
        "--set",
        "sampling.max_new_tokens=4",
    ]
    outcome = omniflow("sample", "--checkpoint", saved_model, *line, "--json")
    assert outcome.code == 0, outcome.err
    assert len(json.loads(outcome.out)["texts"]) == 1


def test_the_folder_one_stands_in_is_not_replaced(omniflow):
    outcome = omniflow("sample", "--prompt", "x", "--output", ".")
    assert outcome.code == 2
    assert "--output: . is, or holds, the folder that this runs in" in outcome.err


def test_a_tilde_is_the_home_folder(omniflow, whole, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert omniflow("sample", *whole, "--prompt", "x", "--output=~/o.png").code == 0
    assert (tmp_path / "home" / "o.png").is_file()


def test_an_interrupted_run_writes_nothing(omniflow, whole, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("omniflow.model.OmniFlowModel.generate", interrupted)
    outcome = omniflow("sample", *whole, *T2I.split())
    assert outcome.code == 130
    assert not Path("o.png").exists()


def made(count):
    return Generated(
        ["<b>one</b>", "two"][:count],
        [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")[:count]],
        [Audio(np.zeros((1, 200), np.float32), 8000)] * count,
        {},
    )


def test_a_sheet_holds_everything_and_asks_for_nothing():
    given = [Sample("given", text="a & b", image=Image.new("RGB", (2000, 10)))]
    page = sheet("t2iat <x>", [Section("text", given, made(2), ["seed 0", "seed 1"])])
    assert "&lt;b&gt;one&lt;/b&gt;" in page
    assert "a &amp; b" in page
    assert "t2iat &lt;x&gt;" in page
    assert "<b>" not in page
    assert page.count("data:image/png;base64,") == 3
    assert page.count("data:audio/wav;base64,") == 2
    assert page.index("seed 0") < page.index("seed 1")
    assert not re.search(r"https?:|<script|<link", page)
    assert "default-src 'none'" in page


def test_a_grid_is_as_nearly_square_as_it_gets():
    images = [Image.new("RGB", (3, 2), colour) for colour in ("red", "lime", "blue")]
    grid = picture_grid(images)
    assert grid.size == (2 * (3 + GAP) + GAP, 2 * (2 + GAP) + GAP)
    assert grid.getpixel((GAP, GAP)) == (255, 0, 0)
    assert grid.getpixel((3 + 2 * GAP, GAP)) == (0, 255, 0)
    assert grid.getpixel((GAP, 2 + 2 * GAP)) == (0, 0, 255)
    assert grid.getpixel((3 + 2 * GAP, 2 + 2 * GAP)) == (255, 255, 255)
    assert picture_grid(images, columns=3).size == (3 * (3 + GAP) + GAP, 2 + 2 * GAP)
    with pytest.raises(UsageError, match="no picture"):
        picture_grid([])


def test_names_of_files_follow_the_suffix():
    def names(path, task, count):
        return [str(file) for file in output_files(path, Task.parse(task), count)]

    assert names("o.png", "t2i", 4) == ["o.png"]
    assert names("o.wav", "t2a", 2) == ["o-1.wav", "o-2.wav"]
    assert names("o.html", "t2ia", 2) == ["o.html"]
    assert names("o", "t2ia", 2) == ["o/1.png", "o/1.wav", "o/2.png", "o/2.wav"]
