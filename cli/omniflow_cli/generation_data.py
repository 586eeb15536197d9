"""The records that `omniflow generate` reads: said, or those of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.plugins import installed_plugins
from omniflow_cli import render

if TYPE_CHECKING:
    from omniflow.draft import Draft
    from omniflow.interfaces import Dataset
    from omniflow.recipe import Choice
    from omniflow.tasks import Task

#: Longest reference that is scored, in tokens, for a model that belongs to no run.
MAX_LENGTH = 256


def recipe_beside(folder: Path) -> Draft | None:
    """The recipe of the run that a checkpoint belongs to, if it stands in one."""
    from omniflow.draft import Draft

    # RUN/best, RUN/checkpoints/step-N, or the run itself when it was saved so.
    for place in (folder, folder.parent, folder.parent.parent):
        if (place / "recipe.yaml").is_file():
            return Draft.from_file(str(place))
    return None


def max_length_of(run: Draft | None) -> int:
    """The longest text in tokens that the run was trained on."""
    said = run.sections.get("objective", {}).get("max_length") if run is not None else None
    return said.value if said is not None and isinstance(said.value, int) else MAX_LENGTH


def dataset_choices(
    datasets: Sequence[str], settings: Mapping[str, str], run: Draft | None
) -> tuple[Choice, ...]:
    """The datasets that were said, else the run's own, else the default; none is opened.

    Raises:
        UsageError: If a name or an option is unknown.
    """
    from omniflow.draft import Draft
    from omniflow.resolve import resolve_datasets

    if datasets:
        draft = Draft.from_mapping({"dataset": list(datasets)}, where="--dataset")
    elif run is not None and run.sections.get("dataset"):
        draft = Draft({"dataset": run.sections["dataset"]})
    else:
        draft = Draft.empty()
    for key, value in settings.items():
        draft = draft.with_setting(key, value, where="--set")
    return tuple(resolve_datasets(draft, installed_plugins().registry))


def open_datasets(choices: Sequence[Choice], split: str, task: Task) -> Dataset:
    """The records of a split, several datasets one after the other."""
    from omniflow.assembly import construct_component
    from omniflow.training.joined import JoinedDataset

    registry = installed_plugins().registry
    parts: list[Dataset] = [
        construct_component(registry, "dataset", choice, split=split) for choice in choices
    ]
    for part in parts:
        # Texts for references; what is made needs no model of itself.
        part.restrict_to({"text", *task.given})
        for notice in part.notices():
            render.note(f"note: {notice}")
    names = [choice.name for choice in choices]
    return parts[0] if len(parts) == 1 else JoinedDataset(parts, names)


def identity_of(choices: Sequence[Choice], split: str) -> dict[str, Any]:
    """What tells these records from others: names, options, and the files that options name."""
    return {
        "split": split,
        "sources": [
            {**choice.to_dict(), "files": _stamps(choice.options)} for choice in choices
        ],
    }  # fmt: skip


def _stamps(options: Mapping[str, Any]) -> dict[str, list[int]]:
    """Size and time of change of the files that options name."""
    found = {}
    for name, value in options.items():
        if isinstance(value, str | Path) and str(value) and Path(value).is_file():
            facts = Path(value).stat()
            found[name] = [facts.st_size, facts.st_mtime_ns]
    return found
