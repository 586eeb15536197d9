"""Refusing inputs that do not fit the joint transformer, by shapes alone.

Nothing here reads a value of a tensor, so nothing waits for a device.
"""

from torch import Tensor

from omniflow.errors import UsageError
from omniflow.interfaces.backbone import Streams
from omniflow.models.joint_config import JointTransformerConfig

_WHERE = "joint transformer"


def check_streams(config: JointTransformerConfig, given: Streams, pooled: Tensor) -> None:
    """Refuse streams that the configuration has no place for.

    Args:
        config: The configuration of the network.
        given: What was passed as image, text and audio, before any embedding.
        pooled: The pooled condition.

    Raises:
        UsageError: If there is no stream, a shape does not fit, batch sizes differ, or a stream is
            passed whose parts the configuration drops.
    """
    audio = ("tokens", config.audio_input_dim) if config.use_audio_mae else config.audio_shape
    expected = {
        "image": (config.in_channels, "height", "width"),
        "text": ("tokens", config.joint_attention_dim),
        "audio": audio,
    }
    batches: dict[str, int] = {}
    for name, part in given._asdict().items():
        if part is None:
            continue
        if getattr(config, f"drop_{name}"):
            raise UsageError(
                f"{name} is passed to a model without {name} parts",
                where=_WHERE,
                expected=f"no {name}: the configuration says drop_{name}",
            )
        _check_shape(name, part, ("batch", *expected[name]))
        batches[name] = len(part)
    if not batches:
        raise UsageError(
            "no stream is passed",
            where=_WHERE,
            expected="at least one of image, text and audio",
        )
    _check_shape("pooled", pooled, ("batch", config.pooled_projection_dim))
    if len(pooled) != 1:
        batches["pooled"] = len(pooled)
    if len(set(batches.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in batches.items())
        raise UsageError(f"batch sizes differ: {told}", where=_WHERE, expected="one batch size")


def check_timestep(stream: str, timestep: Tensor | None, batch: int) -> None:
    """Refuse a timestep that is missing or is neither one for all nor one an example.

    Args:
        stream: The stream it belongs to, `image`, `text` or `audio`.
        timestep: What was passed.
        batch: Examples in the batch.

    Raises:
        UsageError: If it is missing or its shape is neither [1] nor [batch].
    """
    if timestep is None:
        raise UsageError(
            f"timestep_{stream} is missing",
            where=_WHERE,
            expected=f"a timestep for the {stream} stream that is passed",
        )
    if timestep.dim() != 1 or len(timestep) not in (1, batch):
        raise UsageError(
            f"timestep_{stream} has shape {list(timestep.shape)}",
            where=_WHERE,
            expected=f"[{batch}] or [1]",
        )


def _check_shape(name: str, tensor: Tensor, expected: tuple[int | str, ...]) -> None:
    """Compare a shape with one in which a word stands for any size."""
    fits = tensor.dim() == len(expected) and all(
        isinstance(wanted, str) or size == wanted
        for size, wanted in zip(tensor.shape, expected, strict=True)
    )
    if not fits:
        told = ", ".join(str(wanted) for wanted in expected)
        raise UsageError(
            f"{name} has shape {list(tensor.shape)}", where=_WHERE, expected=f"[{told}]"
        )
