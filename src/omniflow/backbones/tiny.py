"""The embedded backbone: small, trained on `scenes`, shipped inside the package."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Any, ClassVar

from omniflow.backbones.published import PublishedBackbone


class TinyBackbone(PublishedBackbone):
    """A real OmniFlow model of a few million parameters that needs no download.

    It speaks the captions of `scenes` and, less well, short pieces of English. How it was made and
    how good it is: `assets/tiny/README.md`.

    Args:
        transformer_config: Contents of a transformer's config.json: start from random weights of
            these sizes instead of reading the model's own; null reads them.
    """

    recipe_defaults: ClassVar[Mapping[str, Any]] = {
        "head": {
            "mlp": {"hidden_dim": 512},
            "vq": {"hidden_dim": 512, "codebook_size": 2048},
        },
        "objective": {
            "text-decoder": {
                "max_length": 64,
                "text_coupling": "matched",
                "weights": {"mse": 1.0},
            },
            "flow": {"max_length": 64, "text_coupling": "matched", "absent_noise_share": 0.06},
        },
        "training": {
            "batch_size": 48,
            "epochs": 1,
            "lr": 1e-3,
            "warmup_steps": 30,
            "log_interval": 20,
            "eval_interval": 100,
            "eval_batches": 6,
            "save_interval": 200,
        },
    }

    #: It was trained with absent streams left out, which is faster as well; more guidance than this
    #: makes what it makes worse.
    sampling_defaults: ClassVar[Mapping[str, Any]] = {"absent": "drop", "guidance": 2.0}

    def __init__(self, *, transformer_config: dict[str, Any] | None = None) -> None:
        super().__init__(
            path=str(files("omniflow") / "assets" / "tiny"), transformer_config=transformer_config
        )

    def identity(self) -> dict[str, str]:
        """What a saved model needs to find this backbone again: id, revision, content hash."""
        return {**super().identity(), "id": "tiny"}
