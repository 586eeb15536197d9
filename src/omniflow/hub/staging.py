"""From a run or a saved model to the files that are published; nothing is sent or written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from omniflow.checkpoints import checkpoint_folder, content_hash, read_json, read_model_config
from omniflow.errors import CheckpointError, UsageError
from omniflow.hub.card import trained
from omniflow.hub.figures import RESULTS, CardFigures, read_figures
from omniflow.hub.names import HubName
from omniflow.hub.origins import portable
from omniflow.hub.publishable import places_in, publishable, publishable_text
from omniflow.recipe import LIST_SECTIONS, SINGLE_SECTIONS, dump_yaml

CONFIG, WEIGHTS, CARD, RECIPE = "config.json", "model.safetensors", "README.md", "recipe.yaml"
REPORT, SAMPLES, LATEST, STATE = "report.html", "samples", "latest", "training_state"

#: Of these, a push leaves what it brings and nothing else.
OURS = (CONFIG, WEIGHTS, RECIPE, RESULTS, REPORT, f"{SAMPLES}/", f"{LATEST}/")

#: Models of a run, by the names of their folders.
_MODELS = frozenset({"best", "final", LATEST})

#: What the card tells of a model, besides its parts.
_TOLD = {"omniflow_version": str, "trainable": int}

#: What samples are.
_MEDIA = frozenset({".json", ".png", ".jpg", ".wav", ".flac"})

#: What a checkpoint with its training state is.
_CHECKPOINT = (CONFIG, WEIGHTS, f"{STATE}/state.json", f"{STATE}/tensors.safetensors")

#: A results file that is so much older than the weights was not made of them.
_CLOCK_S = 2.0


@dataclass(frozen=True)
class Inclusions:
    """What is published besides the model, its card, its recipe and its figures.

    Args:
        training_state: Optimizer, schedule and random states of the latest checkpoint, with it.
        report: The run's page.
        samples: What evaluations made.
    """

    training_state: bool = False
    report: bool = False
    samples: bool = False


@dataclass(frozen=True)
class Staged:
    """What is to be published.

    Args:
        run: The folder of the run, or of the model where that is of none.
        model: Which model of the run it is, a path in it; `.` where it is of none.
        files: Path in the repository -> a file here, or its content; the card is not among them.
        config: config.json as it is published.
        recipe: The recipe as it is published; None where there is none.
        figures: What was measured; None where nothing was.
        card: The card that was written with the model; None where there is none.
        notes: What a person should know of it, a sentence each.
    """

    run: Path
    model: str
    files: Mapping[str, Path | bytes]
    config: Mapping[str, Any]
    recipe: Mapping[str, Any] | None
    figures: CardFigures | None
    card: str | None
    notes: tuple[str, ...]

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of weights by their path in the repository, as their config.json tells."""
        configs = [path for path in self.files if path.rpartition("/")[2] == CONFIG]
        found = {
            path.removesuffix(CONFIG) + WEIGHTS: json.loads(_bytes(self.files[path]))
            for path in configs
        }
        return {
            path: config["weights_hash"]
            for path, config in found.items()
            if config.get("weights_hash")
        }

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(
            len(file) if isinstance(file, bytes) else file.stat().st_size
            for file in self.files.values()
        )


def stage(
    place: Path,
    *,
    base_model: HubName | None = None,
    results: Path | None = None,
    include: Inclusions | None = None,
) -> Staged:
    """Gather what is published of a run, or of a saved model.

    Args:
        place: A run, whose best model is taken; or one of its checkpoints; or any saved model.
        base_model: Where the backbone is on the Hub, if it was read from a folder.
        results: An eval_results.json; that of the run, if it is of this model, when None.
        include: What is published besides.

    Raises:
        CheckpointError: If there is no model, or a file of it is damaged.
        UsageError: If something is asked for that the run does not have.
    """
    include = include or Inclusions()
    folder = checkpoint_folder(place).absolute()
    run = _run_of(folder)
    files: dict[str, Path | bytes] = {}
    recipe = _recipe(run / RECIPE, base_model, read_model_config(folder / CONFIG))
    if recipe is not None:
        files[RECIPE] = dump_yaml(recipe).encode()
    files.update(_model(folder, base_model))
    figures, notes = _results(run, folder, results)
    if figures is not None:
        files[RESULTS] = _json(publishable(figures.content))
    if include.report:
        report = publishable_text(_text(_existing(run / REPORT)), _places(run, folder))
        files[REPORT] = report.encode()
    if include.samples:
        files.update(_samples(run))
    if include.training_state:
        files.update(_latest(run, base_model))
    card = folder / CARD
    return Staged(
        run=run,
        model=str(folder.relative_to(run)),
        files=files,
        config=json.loads(_bytes(files[CONFIG])),
        recipe=recipe,
        figures=figures,
        card=publishable_text(_text(card)) if card.is_file() else None,
        notes=tuple(notes),
    )


def _run_of(folder: Path) -> Path:
    """The run that a model is of: RUN/best, RUN/checkpoints/step-N, or the folder itself."""
    if (folder / RECIPE).is_file():
        return folder
    run = folder
    # A folder of another name may lie beside a recipe that is of something else.
    if folder.name in _MODELS:
        run = folder.parent
    elif folder.parent.name == "checkpoints":
        run = folder.parent.parent
    return run if (run / RECIPE).is_file() else folder


def _model(folder: Path, base_model: HubName | None) -> Iterator[tuple[str, Path | bytes]]:
    """config.json with no place of this machine in it, and the weights as they are."""
    config = read_model_config(folder / CONFIG)
    for name, kind in _TOLD.items():
        if not isinstance(config.get(name), kind):
            raise CheckpointError(f"it lacks {name}", where=str(folder / CONFIG))
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise CheckpointError("there is no such file", where=str(weights))
    if content_hash(weights) != config.get("weights_hash"):
        raise CheckpointError(
            "the weights are not those that config.json was written with",
            where=str(weights),
            expected="both of one save; of a run that goes on, push it again",
        )
    backbone = portable(config["backbone"], base_model, is_local=_is_local(config))
    parts = {
        "backbone": backbone,
        "head": portable(config["head"]),
        "refiner": portable(config["refiner"]),
        "encoder": [portable(encoder) for encoder in config["encoder"]],
    }
    identity = dict(config["backbone_identity"])
    if identity.get("id") == config["backbone"].get("path"):
        identity["id"] = backbone["path"]
    yield CONFIG, _json(publishable({**config, **parts, "backbone_identity": identity}))
    yield WEIGHTS, weights


def _is_local(config: Mapping[str, Any]) -> bool:
    """Whether the backbone was read from a folder: one of the Hub has a commit."""
    return not config["backbone_identity"].get("revision")


def _recipe(
    path: Path, base_model: HubName | None, config: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The recipe with no place of this machine in it."""
    if not path.is_file():
        return None
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
        if not isinstance(content, dict):
            raise TypeError("no mapping")
        backbone = portable(content["backbone"], base_model, is_local=_is_local(config))
        content |= {section: portable(content[section]) for section in SINGLE_SECTIONS}
        content["backbone"] = backbone
        for section in LIST_SECTIONS:
            content[section] = [portable(entry) for entry in content[section]]
        cleaned: dict[str, Any] = publishable(content)
        # What the card tells of it has to be there.
        list(trained(cleaned))
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(
            "is not a resolved recipe",
            where=str(path),
            expected="one as `omniflow train` writes it, or none",
        ) from error
    return cleaned


def _results(run: Path, folder: Path, said: Path | None) -> tuple[CardFigures | None, list[str]]:
    """The figures of the model; those of another one are left out, with a note."""
    if said is not None:
        return read_figures(said), []
    path = run / RESULTS
    if not path.is_file():
        return None, ["no figures were measured: omniflow evaluate, then push with --results FILE"]
    figures = read_figures(path)
    take = f"--results {RESULTS} takes them"
    if figures.model is not None and Path(figures.model).name not in (folder.name, run.name):
        return None, [f"{path.name} is of {Path(figures.model).name}, left out; {take}"]
    if path.stat().st_mtime < (folder / WEIGHTS).stat().st_mtime - _CLOCK_S:
        return None, [f"{path.name} is older than the weights, left out; {take}"]
    return figures, []


def _samples(run: Path) -> Iterator[tuple[str, Path | bytes]]:
    for file in sorted(_existing(run / SAMPLES).rglob("*")):
        path = file.relative_to(run)
        # Nobody means the files of other folders that a link leads to.
        is_left_out = file.is_symlink() or any(part.startswith(".") for part in path.parts)
        if is_left_out or not file.is_file() or file.suffix.lower() not in _MEDIA:
            continue
        is_json = file.suffix.lower() == ".json"
        yield path.as_posix(), _json(publishable(read_json(file))) if is_json else file


def _latest(run: Path, base_model: HubName | None) -> Iterator[tuple[str, Path | bytes]]:
    """The latest checkpoint, laid out so that a run goes on from where it is pulled to."""
    from omniflow.tensor_files import check_whole

    folder = run / LATEST
    if not (folder / STATE / "state.json").is_file():
        raise UsageError(
            "there is no training state",
            where=str(run),
            expected="a run with a checkpoint in latest/",
        )
    contents: dict[str, Path | bytes] = dict(_model(folder, base_model))
    state = f"{STATE}/state.json"
    contents[state] = _json(publishable(read_json(folder / state)))
    tensors = folder / STATE / "tensors.safetensors"
    check_whole(tensors)
    contents[f"{STATE}/tensors.safetensors"] = tensors
    for name in _CHECKPOINT:
        yield f"{LATEST}/{name}", contents[name]


def _places(run: Path, folder: Path) -> set[str]:
    """What of this machine the page of a run may show: where it is, and what it read."""
    recipe = yaml.safe_load((run / RECIPE).read_text("utf-8")) if (run / RECIPE).is_file() else None
    return {
        *(str(place) for place in (run, *run.parents[:-1])),
        *places_in(recipe),
        *places_in(read_json(folder / CONFIG)),
    }


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UsageError(f"there is no {path.name}", where=str(path.parent))
    return path


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise CheckpointError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise CheckpointError(
            "cannot be read as text", where=str(path), expected="UTF-8, or no such file"
        ) from error


def _json(content: Any) -> bytes:
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()


def _bytes(file: Path | bytes) -> bytes:
    return file if isinstance(file, bytes) else file.read_bytes()


def is_ours(path: str, kinds: Iterable[str] = OURS) -> bool:
    """Whether a path in a repository is one that pushes write, the card apart."""
    return any(path.startswith(kind) if kind.endswith("/") else path == kind for kind in kinds)
