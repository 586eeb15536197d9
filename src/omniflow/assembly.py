"""From names to a model: `build` assembles one, `load` brings a saved one back."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omniflow.checkpoints import (
    checkpoint_folder,
    content_hash,
    read_model_config,
    read_tensors,
)
from omniflow.draft import Draft
from omniflow.errors import CheckpointError, ConfigError, PluginError
from omniflow.hub.fetch import fetch_model
from omniflow.hub.names import is_on_hub
from omniflow.options import check_options, load_component, options_of
from omniflow.plugins import installed_plugins
from omniflow.recipe import Choice, Recipe
from omniflow.resolve import resolve

if TYPE_CHECKING:
    import torch

    from omniflow.interfaces import Backbone, Encoder, Head, Objective, Refiner
    from omniflow.model import OmniFlowModel
    from omniflow.registry import Component, Registry

log = logging.getLogger(__name__)

#: A component by name, or its name beside its options: `{"name": "vq", "codebook_size": 512}`.
Named = str | Mapping[str, Any]


def build(
    recipe: Recipe | str | Path | Mapping[str, Any] | None = None,
    *,
    backbone: Named | None = None,
    head: Named | None = None,
    refiner: Named | None = None,
    encoder: Named | Iterable[Named] | None = None,
    options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> OmniFlowModel:
    """Assemble a model: a frozen backbone with a trainable head and refiner.

    >>> model = build(head="vq", refiner="mlp", options={"head.codebook_size": 64})
    >>> model.head.codebook_size
    64

    Args:
        recipe: A resolved recipe, the name of a shipped one, a YAML file, or plain data in the
            shape of one; the other arguments are laid over it.
        backbone: Backbone to use instead of the recipe's (`tiny`), by name.
        head: Head, by name.
        refiner: Refiner, by name.
        encoder: One encoder or several.
        options: Options as `--set` takes them: `{"head.codebook_size": 4096}`.
        registry: Where names are looked up; the installed plugins by default.

    Returns:
        The model in evaluation mode on the CPU; head and refiner are freshly initialised from the
        recipe's seed.

    Raises:
        UsageError: If anything does not fit; found before any weight is read.
    """
    registry = registry or installed_plugins().registry
    named = {"backbone": backbone, "head": head, "refiner": refiner, "encoder": encoder}
    given = {kind: _listed(value) for kind, value in named.items() if value is not None}
    if isinstance(recipe, Recipe) and not given and not options:
        return assemble(recipe, registry)
    draft = Draft.from_mapping(given).over(_draft_of(recipe))
    for key, value in (options or {}).items():
        draft = draft.with_setting(key, value, where="options")
    return assemble(resolve(draft, registry), registry)


def assemble(
    recipe: Recipe, registry: Registry, *, device: torch.device | None = None
) -> OmniFlowModel:
    """Construct every part of a resolved recipe, then read the weights.

    Args:
        recipe: The recipe.
        registry: Where its names are looked up.
        device: Where the model goes; the CPU when None.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.training.seed)
        objective = load_component(registry, "objective", recipe.objective.name)
        model = construct(
            recipe.backbone,
            recipe.head,
            recipe.refiner,
            recipe.encoder,
            registry,
            trains_backbone=cast("type[Objective]", objective).trains_backbone,
        )
        read_weights(model, device=device)
        model.head.initialise_from(model.backbone, model.features)
    return model.eval() if device is None else model.eval().to(device)


def assemble_shapes(recipe: Recipe, registry: Registry) -> OmniFlowModel:
    """Construct every part of a resolved recipe on torch's meta device: shapes without values.

    The backbone's weights are not read and no memory is taken for them. Encoders of the recipe,
    whose size their weights alone tell, are read one after the other and let go again.

    Args:
        recipe: The recipe.
        registry: Where its names are looked up.
    """
    import torch

    objective = load_component(registry, "objective", recipe.objective.name)
    with torch.device("meta"):
        model = construct(
            recipe.backbone,
            recipe.head,
            recipe.refiner,
            recipe.encoder,
            registry,
            trains_backbone=cast("type[Objective]", objective).trains_backbone,
        )
    for encoder in model.encoders:
        cast("Encoder", encoder).load_weights()
        encoder.to("meta")
    model.to("meta").freeze()
    return model.eval()


def load(
    path: str | Path,
    *,
    revision: str | None = None,
    options: Mapping[str, Any] | None = None,
    registry: Registry | None = None,
) -> OmniFlowModel:
    """Bring back a model that `save_pretrained` or a training run wrote.

    Args:
        path: A folder with `config.json` and `model.safetensors`, or a run (its `best`, else its
            `latest` checkpoint is taken); or one on the Hub, `OWNER/NAME` or
            `OWNER/NAME@REVISION`.
        revision: Branch, tag or commit on the Hub, where it does not stand in the name.
        options: Options that are other ones here than where it was saved, `{"backbone.path": ...}`.
        registry: Where names are looked up; the installed plugins by default.

    Returns:
        The model in evaluation mode on the CPU, giving bit for bit what it gave when saved.

    Raises:
        CheckpointError: If a file is missing, damaged or foreign, or the backbone has changed.
        PluginError: If a component's plugin is not installed; says which package to install.
        UsageError: If the Hub cannot be reached or does not have it.
    """
    registry = registry or installed_plugins().registry
    folder = _model_folder(path, revision)
    config = _with_options(read_model_config(folder / "config.json"), options or {})
    try:
        choices, encoders = _recorded_choices(config, registry)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"its components cannot be read ({type(error).__name__}: {error})",
            where=str(folder / "config.json"),
        ) from error
    state = read_tensors(folder / "model.safetensors")
    with _advising_on(choices["backbone"]):
        model = construct(
            choices["backbone"],
            choices["head"],
            choices["refiner"],
            encoders,
            registry,
            trains_backbone=config.get("trains_backbone") is True,
        )
    where = str(folder / "model.safetensors")
    model.check_trained_state(state, where=where)
    _check_weights_hash(folder, config)
    check_backbone(model, config["backbone_identity"], folder)
    read_weights(model)
    model.load_trained_state(state, where=where)
    return model.eval()


def _model_folder(path: str | Path, revision: str | None) -> Path:
    """The folder of a saved model, fetched from the Hub where that is meant."""
    # An address is no name on the Hub, and is told what would be.
    if is_on_hub(str(path)) or "://" in str(path):
        return fetch_model(str(path), revision)
    if revision is not None:
        raise ConfigError("revision", revision, expected=f"None, because {path} is no Hub id")
    return checkpoint_folder(Path(os.path.expanduser(path)))


def _with_options(config: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a saved model with other options of its backbone, head or refiner."""
    for key, value in options.items():
        kind, _, name = key.partition(".")
        if kind not in ("backbone", "head", "refiner") or not name:
            raise ConfigError(
                "options", {key: value}, expected='keys such as "backbone.path", "head.dropout"'
            )
        config[kind] = {**config[kind], name: value}
    return config


@contextmanager
def _advising_on(backbone: Choice) -> Iterator[None]:
    """Says what to do where a backbone was read from a folder that is not here."""
    try:
        yield
    except CheckpointError as error:
        path = backbone.options.get("path")
        if error.where == path and str(path).startswith("./"):
            error.notes += (
                'say where yours is: load(..., options={"backbone.path": FOLDER}), '
                "or --set backbone.path=FOLDER",
            )
        raise


def construct(
    backbone: Choice,
    head: Choice,
    refiner: Choice,
    encoders: Iterable[Choice],
    registry: Registry,
    *,
    trains_backbone: bool = False,
) -> OmniFlowModel:
    """The parts put together, before any frozen weight is read.

    Raises:
        ConfigError: If a constructor refuses a value; told with the option's full name.
    """
    from omniflow.model import ModelParts, OmniFlowModel

    encoders = tuple(encoders)
    built_backbone = cast("Backbone", construct_component(registry, "backbone", backbone))
    options = dict(head.options)
    features = options.pop("features")
    head_dim = options.pop("latent_dim")
    if head_dim is None:
        head_dim = built_backbone.latent_dim
    if head_dim < 1:
        raise ConfigError(
            "head.latent_dim",
            head_dim,
            expected="a whole number >= 1",
            where=head.where.get("latent_dim"),
        )
    built_head = construct_component(
        registry,
        "head",
        Choice(head.name, options, head.where),
        feature_dim=built_backbone.feature_dims[features],
        latent_dim=head_dim,
    )
    built_refiner = construct_component(registry, "refiner", refiner, latent_dim=head_dim)
    built_encoders = [
        cast("Encoder", construct_component(registry, "encoder", choice)) for choice in encoders
    ]
    kinds = [
        ("backbone", backbone),
        ("head", head),
        ("refiner", refiner),
        *(("encoder", choice) for choice in encoders),
    ]
    components = tuple(registry.get(kind, choice.name) for kind, choice in kinds)
    return OmniFlowModel(
        backbone=built_backbone,
        head=cast("Head", built_head),
        refiner=cast("Refiner", built_refiner),
        encoders=built_encoders,
        features=features,
        head_dim=head_dim,
        parts=ModelParts(backbone, head, refiner, encoders, components),
        trains_backbone=trains_backbone,
    )


def read_weights(model: OmniFlowModel, *, device: torch.device | None = None) -> None:
    """Fill in the weights of the backbone, straight on its device, and of the encoders."""
    model.backbone.load_weights(device=device)
    for encoder in model.encoders:
        cast("Encoder", encoder).load_weights()
    model.freeze()


def construct_component(registry: Registry, kind: str, choice: Choice, **supplied: Any) -> Any:
    """One component from its choice; what the constructor refuses is told with its full name."""
    loaded = load_component(registry, kind, choice.name, where=choice.where.get("name"))
    try:
        return loaded(**supplied, **choice.options)
    except ConfigError as error:
        raise error.located(kind, choice.where.get(error.name)) from error


def _draft_of(recipe: Recipe | str | Path | Mapping[str, Any] | None) -> Draft:
    if recipe is None:
        return Draft.empty()
    if isinstance(recipe, Recipe):
        return Draft.from_mapping(recipe.to_dict())
    if isinstance(recipe, Mapping):
        return Draft.from_mapping(recipe)
    return Draft.from_file(str(recipe))


def _listed(value: Named | Iterable[Named]) -> Any:
    if isinstance(value, str | Mapping):
        return value
    return [{"name": item} if isinstance(item, str) else item for item in value]


def _recorded_choices(
    config: Mapping[str, Any], registry: Registry
) -> tuple[dict[str, Choice], tuple[Choice, ...]]:
    """The choices of a saved model: one a kind, and its encoders."""
    origins = {(entry["kind"], entry["name"]): entry for entry in config["components"]}
    choices = {
        kind: _recorded_choice(kind, config[kind], origins, registry)
        for kind in ("backbone", "head", "refiner")
    }
    encoders = [
        _recorded_choice("encoder", entry, origins, registry) for entry in config["encoder"]
    ]
    return choices, tuple(encoders)


def _check_weights_hash(folder: Path, config: Mapping[str, Any]) -> None:
    """Refuse weights that were not written together with the configuration."""
    weights = folder / "model.safetensors"
    recorded = config.get("weights_hash")
    if recorded is not None and content_hash(weights) != recorded:
        raise CheckpointError(
            "the weights are not those that config.json was written with",
            where=str(weights),
            expected=f"content hash {str(recorded)[:12]}",
        )


def _recorded_choice(
    kind: str,
    entry: Mapping[str, Any],
    origins: Mapping[tuple[str, str], Mapping[str, str]],
    registry: Registry,
) -> Choice:
    """The choice that a saved model names, from the very distribution it came from."""
    options = dict(entry)
    name = options.pop("name").rpartition(":")[2]
    recorded = origins[(kind, name)]
    component = _from_distribution(registry, kind, name, recorded)
    if component.origin.version != recorded["version"]:
        log.warning(
            "%s %s was saved with %s %s, installed is %s",
            kind, name, recorded["distribution"], recorded["version"], component.origin.version,
        )  # fmt: skip
    resolved, mistakes = check_options(options_of(component), options, owner=f"{kind} {name}")
    if mistakes:
        raise mistakes[0]
    return Choice(component.qualified_name, resolved)


def _from_distribution(
    registry: Registry, kind: str, name: str, recorded: Mapping[str, str]
) -> Component:
    distribution, version = recorded["distribution"], recorded["version"]
    for component in registry.components(kind):
        if component.name == name and component.origin.distribution == distribution:
            return component
    raise PluginError(
        f"{kind} {name!r} comes from {distribution} {version}, which is not loaded",
        expected=f"that package: pip install {distribution}=={version}",
        notes=[f"not loaded: {line}" for line in registry.not_loaded],
    )


def check_backbone(model: OmniFlowModel, recorded: Mapping[str, str], folder: Path) -> None:
    """Refuse a backbone other than the one that a saved model was trained on.

    Raises:
        CheckpointError: If the content hashes differ.
    """
    found = model.backbone.identity()
    if found["hash"] != recorded.get("hash"):
        raise CheckpointError(
            f"it was trained on backbone {recorded.get('id')}, content hash "
            f"{str(recorded.get('hash'))[:12]}; here {found['id']} has {found['hash'][:12]}",
            where=str(folder),
            expected="the backbone that it was trained on",
        )
