"""Every head with every refiner and every set of encoders takes two steps."""

import json
from itertools import product

import pytest
from safetensors.torch import load_file

from omniflow.draft import Draft
from omniflow.resolve import resolve
from omniflow.training.trainer import train

HEADS = {
    "linear": {},
    "mlp": {"hidden_dim": 8},
    "vq": {"hidden_dim": 8, "codebook_size": 4},
}
NORMED = {
    "norm-mlp": {"hidden_dim": 8},
    "norm-vq": {"hidden_dim": 8, "codebook_size": 4},
}


@pytest.fixture
def encoders(parity_data):
    external = parity_data / "pipeline_tiny" / "external"
    clip = {"name": "clip", "path": str(external / "clip_vit_l")}
    t5 = {"name": "t5", "path": str(external / "flan_t5")}
    image = {**clip, "modality": "image"}
    return {"none": [], "clip": [clip], "t5": [t5], "clip image and t5": [image, t5]}


@pytest.mark.parametrize(
    ("head", "refiner", "chosen", "features"),
    [
        *product(HEADS, ("none", "mlp"), ("none", "clip", "t5", "clip image and t5"), ["hidden"]),
        *product(HEADS, ("none", "mlp"), ("none",), ["x0"]),
        *product(NORMED, ("norm-mlp",), ("none",), ["x0"]),
    ],
)
def test_two_steps_change_the_trained_parts_and_are_logged(
    head, refiner, chosen, features, encoders, registry, random_backbone, tmp_path
):
    draft = Draft.from_mapping(
        {
            "backbone": {"name": "folder", "path": str(random_backbone)},
            "head": {"name": head, "features": features, **(HEADS | NORMED)[head]},
            "refiner": refiner,
            "encoder": encoders[chosen],
            "dataset": {"name": "scenes", "size": 8},
            "training": {
                "batch_size": 4, "samples": 0, "max_steps": 2, "log_interval": 1,
                "eval_interval": 1,
                "save_interval": 1, "lr": 1e-2,
            },
        }
    )  # fmt: skip
    result = train(resolve(draft, registry), output_dir=tmp_path / "run", registry=registry)
    before = load_file(tmp_path / "run/checkpoints/step-1/model.safetensors")
    after = load_file(tmp_path / "run/checkpoints/step-2/model.safetensors")
    changed = {name.split(".")[0] for name in after if not after[name].equal(before[name])}
    has_adapter = chosen != "none"
    assert changed == {
        "head",
        *({"refiner"} if refiner != "none" else ()),
        *({"adapters"} if has_adapter else ()),
    }
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == [1, 2]
    assert result.steps == 2
