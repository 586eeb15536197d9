"""Checkpoints of the research script: the same numbers come out, and nothing is guessed."""

import importlib.util
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import omniflow
from omniflow.errors import CheckpointError, ConfigError, UsageError
from omniflow.legacy.convert import convert_checkpoint

_SPEC = importlib.util.spec_from_file_location(
    "research_modules", Path(__file__).with_name("research_modules.py")
)
research = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(research)


@pytest.fixture(scope="module")
def backbone(random_backbone):
    return {"name": "folder", "path": str(random_backbone)}


@pytest.fixture(scope="module")
def width(random_backbone):
    """Width of the backbone's text latents."""
    return json.loads((random_backbone / "text_vae/config.json").read_text())["vae_config"][
        "vae_dim"
    ]


@pytest.fixture(scope="module")
def hidden(random_backbone):
    """Width of what the backbone's last text projection reads."""
    config = json.loads((random_backbone / "transformer/config.json").read_text())
    return config["joint_attention_dim"]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "best_step1000.pt"


@pytest.fixture
def convert(backbone, file, tmp_path):
    """Convert a checkpoint with these weights, or a file that is there, and load the result."""

    def run(*, options=(), **weights):
        if weights:
            torch.save(research.checkpoint(**weights), file)
        result = convert_checkpoint(file, tmp_path / "out", backbone=backbone, **dict(options))
        return result, omniflow.load(tmp_path / "out")

    return run


def randomised(module):
    """Every tensor drawn anew: norms and biases of a fresh module do next to nothing."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def predicted(model, width):
    """What the model makes of noisy latents, and the backbone's own text features below it."""
    generator = torch.Generator().manual_seed(2)
    latents = torch.randn(3, model.backbone.latent_tokens, width, generator=generator)
    timesteps = torch.full((3,), 500.0)
    with torch.no_grad():
        below = model.backbone.text_features(latents, timesteps)
        return model(latents, timesteps).latents, below


@pytest.mark.parametrize("layers", [2, 3])
def test_a_head_and_a_refiner_give_what_the_script_gives(convert, width, layers):
    head = randomised(research.TextDecoderHead(width, 24, width, layers))
    refiner = randomised(research.LatentRefiner(width, 10, layers))
    result, model = convert(
        text_decoder_head=head.state_dict(), latent_refiner=refiner.state_dict()
    )
    found, below = predicted(model, width)
    with torch.no_grad():
        torch.testing.assert_close(found, refiner(head(below.x0)), rtol=1e-4, atol=1e-4)
    assert result.head == {
        "name": "norm-mlp", "hidden_dim": 24, "layers": layers, "dropout": 0.1,
        "features": "x0", "latent_dim": None,
    }  # fmt: skip
    assert (result.refiner["name"], result.refiner["hidden_dim"]) == ("norm-mlp", 10)
    assert (result.step, result.backbone) == (1000, model.backbone.identity())
    weights = sum(p.numel() for part in (head, refiner) for p in part.parameters())
    assert result.parameters == weights
    assert set(result.left_out) == {
        "global_step",
        "epoch",
        "optimizer",
        "scheduler",
        "best_val_ppl",
    }
    assert any("gelu" in note for note in result.notes)
    assert any("never what the refiner made of it" in note for note in result.notes)


@pytest.mark.parametrize("name", ["embedding.weight", "upsampler.embedding"])
def test_a_head_with_a_codebook_gives_its_nearest_code(convert, width, name):
    # The script trains in bfloat16.
    head = randomised(research.HeadWithCodebook(width, 24, width, codes=30)).bfloat16()
    stored = {name if key == "embedding.weight" else key: t for key, t in head.state_dict().items()}
    result, model = convert(text_decoder_head=stored)
    found, below = predicted(model, width)
    with torch.no_grad():
        torch.testing.assert_close(found, head.float()(below.x0))
    assert (result.head["name"], result.head["codebook_size"]) == ("norm-vq", 30)
    assert model.head.statistics() == {"code_perplexity": pytest.approx(30), "dead_codes": 0.0}


@pytest.mark.parametrize("wrapper", ["module.", "module._orig_mod."])
def test_names_that_a_wrapper_has_changed_are_those_without_it(convert, width, wrapper):
    head, refiner = research.TextDecoderHead(width, 24, width), research.LatentRefiner(width, 10)
    plain, _ = convert(
        text_decoder_head=below(wrapper, head.state_dict()),
        latent_refiner=below(wrapper, refiner.state_dict()),
        **{"odd\x1b[31m": 1},
    )
    assert (plain.head["name"], plain.refiner["name"]) == ("norm-mlp", "norm-mlp")
    assert r"'odd\x1b[31m'" in plain.left_out


def test_a_trained_text_output_becomes_the_linear_head(convert, width, hidden):
    layer = randomised(nn.Linear(hidden, width))
    result, model = convert(state_dict=layer.state_dict())
    found, below = predicted(model, width)
    with torch.no_grad():
        torch.testing.assert_close(found, layer(below.hidden))
    assert (result.head["name"], result.refiner["name"]) == ("linear", "none")


@pytest.mark.parametrize("gate", ["first", "second"])
def test_a_gated_refiner_needs_to_be_told_its_gate(convert, width, gate, tmp_path):
    weights = {
        "text_decoder_head": randomised(research.TextDecoderHead(width, 8, width)).state_dict(),
        "latent_refiner": randomised(research.GatedRefiner(width, 10, gate)).state_dict(),
    }
    with pytest.raises(CheckpointError, match="does not say which of them goes through silu"):
        convert(**weights)
    with pytest.raises(ConfigError, match="refiner_gate is 'gelu', expected first or second"):
        convert(**weights, options={"refiner_gate": "gelu"})
    assert not (tmp_path / "out").exists()
    result, model = convert(**weights, options={"refiner_gate": gate})
    latents = torch.randn(2, 3, width)
    with torch.no_grad():
        expected = randomised(research.GatedRefiner(width, 10, gate))(latents)
        torch.testing.assert_close(model.refiner(latents), expected, rtol=1e-4, atol=1e-4)
    assert result.refiner["name"] == "mlp"


def test_a_refiner_can_be_left_out(convert, width):
    head = randomised(research.TextDecoderHead(width, 8, width))
    weights = {"latent_refiner": research.LatentRefiner(width, 10).state_dict()}
    result, model = convert(
        text_decoder_head=head.state_dict(), **weights, options={"without_refiner": True}
    )
    assert result.refiner == {"name": "none"}
    assert "latent_refiner" in result.left_out
    found, below = predicted(model, width)
    with torch.no_grad():
        torch.testing.assert_close(found, head(below.x0), rtol=1e-4, atol=1e-4)


def test_weights_with_nothing_around_them_are_read_too(convert, width, file, tmp_path):
    head = randomised(research.TextDecoderHead(width, 8, width))
    torch.save(head.state_dict(), file)
    result, _ = convert()
    assert (result.head["name"], result.step, result.left_out) == ("norm-mlp", None, ())
    record = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert (record["source"], len(record["sha256"])) == (file.name, 64)


class Opens:
    """A pickle that calls a function when it is read in the ordinary way."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def save_plainly(content, file):
    file.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [torch.save, save_plainly])
def test_nothing_in_a_file_is_executed(convert, file, tmp_path, save):
    save({"text_decoder_head": Opens(tmp_path / "opened"), "global_step": 1}, file)
    with pytest.raises(CheckpointError) as told:
        convert()
    assert "mkdir" in told.value.problem
    assert "nothing in it was executed" in told.value.notes
    assert sorted(path.name for path in tmp_path.iterdir()) == [file.name]


LINEAR = {"0.weight": torch.ones(8, 4), "0.bias": torch.ones(8)}
NORM = {"1.weight": torch.ones(8), "1.bias": torch.ones(8)}
LAST = {"4.weight": torch.ones(4, 8), "4.bias": torch.ones(4)}
LAST_NORM = {"5.weight": torch.ones(4), "5.bias": torch.ones(4)}
WHOLE = {**LINEAR, **NORM, **LAST, **LAST_NORM}


def below(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def head_of(tensors, prefix="upsampler.", **others):
    return {"text_decoder_head": {**below(prefix, tensors), **others}}


def with_refiner(tensors, prefix="refiner."):
    return {**head_of(WHOLE), "latent_refiner": below(prefix, tensors)}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([1, 2], "it holds a list, expected a checkpoint of the research script"),
        ({}, "it holds nothing, and no weights of a head"),
        ({"model": {}, "epoch": 1}, "it holds epoch, model, and no weights of a head"),
        ({"text_decoder_head": 3}, "its text_decoder_head is a int, expected named tensors"),
        ({"text_decoder_head": {}}, "its head has no weights"),
        (
            head_of({**LINEAR, **LAST}),
            r"an architecture that nothing here computes \(linear 4 to 8, linear 8 to 4\)",
        ),
        (head_of({**LINEAR, **NORM}), r"nothing here computes \(linear 4 to 8, norm 8\)"),
        (
            head_of(WHOLE, **{"residual_proj.weight": LINEAR["0.weight"]}),
            "text_decoder_head.residual_proj.weight belongs to no layer",
        ),
        (
            head_of({"0.weight": LINEAR["0.weight"]}),
            r"upsampler.0 is neither a linear layer nor a layer norm \(weight \[8, 4\]\)",
        ),
        (head_of(WHOLE, "base_upsampler.upsampler."), "modulated by an embedding of the timestep"),
        (
            head_of(WHOLE, "upsampler.upsampler.", **{"embedding.weight": torch.ones(9, 5)}),
            r"text_decoder_head.embedding.weight is \[9, 5\], expected \[codes, 4\]",
        ),
        (
            head_of({**WHOLE, "0.bias": torch.full((8,), torch.nan)}),
            "upsampler.0.bias holds numbers that are not finite",
        ),
        (
            head_of({**WHOLE, "0.bias": torch.ones(8).int()}),
            "upsampler.0.bias is of type int32, expected a tensor of fractions",
        ),
        (with_refiner(WHOLE, "layers."), "latent_refiner.layers.0.weight belongs to no refiner"),
        (with_refiner(LINEAR), r"nothing here computes \(linear 4 to 8\)"),
        (head_of(WHOLE), "its head takes features of width 4 to latents of width 4; backbone"),
        (
            {"state_dict": {"weight": torch.ones(4), "bias": torch.ones(4)}},
            "its text output is norm 4",
        ),
    ],
)
def test_what_cannot_be_represented_is_refused(convert, file, tmp_path, content, told):
    torch.save(content, file)
    with pytest.raises(CheckpointError, match=told) as raised:
        convert()
    assert raised.value.exit_code == 2
    assert str(file) in raised.value.render()
    assert not (tmp_path / "out").exists()


def test_a_refiner_of_another_width_is_refused(convert, width):
    weights = {
        "text_decoder_head": research.TextDecoderHead(width, 8, width).state_dict(),
        "latent_refiner": research.LatentRefiner(width + 1, 10).state_dict(),
    }
    with pytest.raises(CheckpointError, match=f"reads latents of width {width + 1}"):
        convert(**weights)


def test_nothing_is_overwritten(convert, file, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("not to be lost")
    with pytest.raises(UsageError, match="is not empty"):
        convert(state_dict=nn.Linear(2, 2).state_dict())
