"""The flags of `omniflow train` as a draft of its recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow_cli.flags import flag_of, key_and_value
from omniflow_cli.weighted_names import with_weights

if TYPE_CHECKING:
    from omniflow.draft import Draft

#: Parameter of the command -> the option that it sets.
SETTINGS: Mapping[str, str] = {
    "latent_dim": "head.latent_dim",
    "max_length": "objective.max_length",
    **{
        f"{name}_weight": f"objective.weights.{name}" for name in ("ce", "mse", "contrastive", "vq")
    },
    **{
        name: f"training.{name}"
        for name in (
            "batch_size", "epochs", "max_steps", "lr", "weight_decay", "warmup_steps", "grad_accum",
            "ema_decay", "lr_schedule", "min_lr", "early_stopping", "log_interval", "eval_interval",
            "save_interval", "keep", "precision", "gradient_checkpointing", "compile", "shard",
            "workers", "device", "seed", "cache",
        )
    },
    "tracker": "training.trackers",
}  # fmt: skip

#: What `--backbone-config` takes in place of a file.
PUBLISHED = "published"

#: Parameters that name one component, and those that name any number.
NAMES = ("head", "refiner", "objective")
LISTS = ("encoder", "dataset")


def draft_of(said: Mapping[str, Any], base: Draft) -> Draft:
    """What the flags say, laid over a recipe; `--set` is laid over the flags.

    Args:
        said: Parameters of the command; None, or an empty list, for a flag that was not given.
        base: The recipe, or nothing.
    """
    from omniflow.draft import Draft

    draft = base
    for name in (*NAMES, *LISTS):
        if is_said(said[name]):
            entries = with_weights(said[name]) if name == "dataset" else said[name]
            draft = Draft.from_mapping({name: entries}, where=flag_of(name)).over(draft)
    if said.get("data_config") is not None:
        draft = _data_config(said).over(draft)
    if said["backbone"] is not None:
        backbone = backbone_named(said["backbone"])
        draft = Draft.from_mapping({"backbone": backbone}, where="--backbone").over(draft)
    if said.get("backbone_config") is not None:
        draft = _with_transformer_config(draft, said)
    for name, key in SETTINGS.items():
        if is_said(said[name]):
            draft = draft.with_setting(key, said[name], where=flag_of(name))
    for scale in said.get("lr_scale") or ():
        part, factor = key_and_value(scale, flag="--lr-scale", example="refiner=0.5")
        draft = draft.with_setting(f"training.lr_scale.{part}", factor, where="--lr-scale")
    for setting in said["setting"] or ():
        key, value = key_and_value(setting)
        draft = draft.with_setting(key, value, where="--set")
    return draft


def _data_config(said: Mapping[str, Any]) -> Draft:
    from omniflow.data_config import read_data_config
    from omniflow.errors import UsageError

    if is_said(said["dataset"]):
        raise UsageError(
            "the datasets are said twice",
            where="--data-config",
            expected="either --data-config or --dataset",
        )
    return read_data_config(said["data_config"], where="--data-config")


def is_said(value: Any) -> bool:
    """Whether a flag was given; one that may be repeated is an empty list otherwise."""
    return value is not None and value != []


def _with_transformer_config(draft: Draft, said: Mapping[str, Any]) -> Draft:
    """The draft with a transformer of a file's sizes, or the published ones."""
    from omniflow.draft import Draft
    from omniflow.models.published_sizes import TRANSFORMER

    where = "--backbone-config"
    if said["backbone_config"] != PUBLISHED:
        config = _transformer_config(said["backbone_config"])
    elif said["device"] == "meta" and said["backbone"] is None:
        # Nothing of the published models is needed to count them.
        return Draft.from_mapping({"backbone": "published-sizes"}, where=where).over(draft)
    else:
        config = dict(TRANSFORMER)
    return draft.with_setting("backbone.transformer_config", config, where=where)


def _transformer_config(file: str) -> dict[str, Any]:
    """The contents of a transformer's config.json, which the recipe then holds itself."""
    from omniflow.checkpoints import read_json
    from omniflow.errors import CheckpointError, UsageError

    try:
        values = read_json(Path(file))
    except CheckpointError as error:
        raise UsageError(f"{file}: {error.problem}", where="--backbone-config") from error
    if not isinstance(values, dict):
        raise UsageError(
            f"{file} holds a {type(values).__name__}",
            where="--backbone-config",
            expected="a JSON object: the config.json of a transformer",
        )
    # Where diffusers keeps its notes; they are no part of the configuration.
    return {name: value for name, value in values.items() if not name.startswith("_")}


def backbone_named(named: str) -> str | dict[str, str]:
    """A registered name, or the folder that is meant."""
    is_path = os.sep in named or "/" in named or Path(named).is_dir()
    return {"name": "folder", "path": named} if is_path else named
