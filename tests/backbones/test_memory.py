"""Loading never holds a model twice: its peak, measured in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from omniflow.backbones.published import PublishedBackbone

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux tells it"
)

#: More than 200 MB in float32, none of its tensors larger than 7.
SIZES = {"num_layers": 4, "attention_head_dim": 64, "num_attention_heads": 8}
WIDTHS = {"caption_projection_dim": 512, "audio_pos_embed_max_size": 32, "audio_height": 64}


@pytest.fixture(scope="module")
def figures(random_backbone, tmp_path_factory):
    """Case -> (bytes of the model, bytes at the peak beyond what was there before)."""
    root = tmp_path_factory.mktemp("large")
    for name in ("bin", "safetensors"):
        shutil.copytree(random_backbone, root / name)
        path = root / name / "transformer" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **SIZES, **WIDTHS}))
    whole = root / "bin" / "transformer" / "diffusion_pytorch_model.bin"
    (root / "safetensors" / "transformer" / whole.name).unlink()
    backbone = PublishedBackbone(path=str(root / "bin"))
    state = backbone.transformer.state_dict() | {
        f"text_decoder.{name}": tensor for name, tensor in backbone.text_vae.state_dict().items()
    }
    tensors = {name: torch.ones(tensor.shape) for name, tensor in state.items()}
    torch.save(tensors, whole)
    save_file(tensors, root / "safetensors" / "transformer" / f"{whole.stem}.safetensors")
    del tensors
    script = Path(__file__).with_name("loading_memory.py")
    done = subprocess.run(
        [sys.executable, str(script), str(random_backbone), str(root), str(root / "converted")],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    shutil.rmtree(root)
    return {case: (int(size), int(extra)) for case, size, extra in lines}


@pytest.mark.parametrize("case", ["safetensors-bf16", "bin-fp32"])
def test_loading_takes_at_most_a_tenth_more_than_the_model(figures, case):
    size, extra = figures[case]
    assert size > (200e6 if case.endswith("fp32") else 100e6)
    # 8 MB for what a process does besides: pages of the libraries that it had not touched before.
    assert extra < 1.1 * size + 8e6


def test_converting_takes_a_tenth_of_the_model_at_most(figures):
    size, extra = figures["convert"]
    assert size > 200e6
    assert extra < 0.1 * size + 8e6
