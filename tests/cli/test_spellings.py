import pytest
import typer

from omniflow_cli.app import app
from omniflow_cli.spellings import SWITCHES, modernise


def modern(line):
    return " ".join(modernise(line.split()))


def test_underscores_and_dashes_are_the_same_in_flags():
    assert modern("train --batch_size 8 --max_steps=3") == "train --batch-size 8 --max-steps=3"
    assert modern("list-components --kind head") == "list-components --kind head"


def test_values_are_never_touched(capsys):
    arguments = ["train", "--output-dir", "--my_run", "--set=head.hidden_dim=4", "--recipe=a_b.yml"]
    assert modernise(arguments) == arguments
    assert modernise(["evaluate", "my_file.json", "--", "--a_b"])[1:] == [
        "my_file.json", "--", "--a_b",
    ]  # fmt: skip
    assert capsys.readouterr().err == ""


def test_the_flags_of_the_original_script_are_translated(capsys):
    line = modern(
        "train --model_path weights/v0.5 --num_epochs 2 --text_decoder_head_dim 512 "
        "--latent_refiner_hidden_dim=64 --latent_refiner_layers 3 --batch_size 4 "
        "--num_workers 4 --use_vq_codebook --use_latent_refiner --use_contrastive"
    )
    assert line == (
        "train --backbone weights/v0.5 --epochs 2 --latent-dim 512 "
        "--set refiner.hidden_dim=64 --set refiner.layers=3 --batch-size 4 "
        "--workers 4 --head vq --refiner mlp --contrastive-weight 0.05"
    )
    assert capsys.readouterr().err == f"note: in today's spelling: omniflow {line}\n"


@pytest.mark.parametrize(
    "line",
    [
        "train --use_vq_codebook --use_text_decoder_head",
        "train --use-text-decoder-head --use-vq-codebook",
    ],
)
def test_a_codebook_wins_over_a_plain_head_in_either_order(line):
    assert modern(line) == "train --head vq"


def test_a_plain_head_of_the_script_is_the_mlp():
    assert modern("train --use_text_decoder_head") == "train --head mlp"


def test_a_head_that_is_named_wins_over_the_script_s_switch():
    assert modern("train --use_vq_codebook --head linear") == "train --head linear"


def test_a_weight_that_is_said_wins_over_the_script_s_switch():
    line = "train --use_contrastive --contrastive_weight 0.1"
    assert modern(line) == "train --contrastive-weight 0.1"


def test_the_script_s_model_is_a_folder_even_as_a_bare_word():
    assert modern("train --model_path v0.5") == "train --backbone ./v0.5"


def test_the_script_s_flags_belong_to_train_alone(capsys):
    assert modern("generate --num_epochs 2") == "generate --num-epochs 2"
    assert capsys.readouterr().err == ""


def test_the_switches_are_those_of_the_commands():
    """A flag missing from `SWITCHES` would have the next token taken for its value."""
    group = typer.main.get_command(app)
    context = typer.Context(group)
    commands = [group, *group.commands.values()]
    # `omniflow cache` has commands of its own.
    commands += [
        inner for outer in commands[1:] for inner in getattr(outer, "commands", {}).values()
    ]
    flags = {
        spelling
        for command in commands
        for parameter in command.get_params(context)
        if getattr(parameter, "is_flag", False)
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }
    assert flags | {"-h"} == SWITCHES
