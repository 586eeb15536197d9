"""What an experiment is made of, and the folder that it fills."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.draft import Draft
from omniflow.errors import CheckpointError, ConfigError, UsageError
from omniflow.experiments.changes import changes_between
from omniflow.experiments.options import ExperimentOptions
from omniflow.files import write_json
from omniflow.resolve import resolve

if TYPE_CHECKING:
    from omniflow.recipe import Recipe
    from omniflow.registry import Registry

FORMAT = "omniflow.experiment/1"

#: Differences that an error tells one by one.
_TOLD = 8


@dataclass(frozen=True)
class PlannedRun:
    """One recipe with one seed.

    Args:
        name: Of the recipe.
        seed: Of the run.
        folder: The run's folder.
    """

    name: str
    seed: int
    folder: Path

    @property
    def title(self) -> str:
        """What tables call it."""
        return f"{self.name}, seed {self.seed}"

    @property
    def log(self) -> Path:
        """Where a process of its own writes what it has to say."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def failure(self) -> Path:
        """Where it says why it failed."""
        return self.folder.with_name(f"{self.folder.name}.failed.json")


class ExperimentFolder:
    """`experiment.json`, a run in each `RECIPE/seed-N/`, and what has come of them.

    Args:
        path: The folder; made by what is first written to it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def plan(self) -> Path:
        """What has been asked for."""
        return self.path / "experiment.json"

    def run(self, name: str, seed: int) -> PlannedRun:
        """One of its runs."""
        return PlannedRun(name, seed, self.path / name / f"seed-{seed}")

    def runs(self, names: Sequence[str], seeds: Sequence[int]) -> Iterator[PlannedRun]:
        """Every recipe with the first seed, then with the next: an early end leaves all alike."""
        for seed in seeds:
            yield from (self.run(name, seed) for name in names)

    def check(self, recipes: Mapping[str, Recipe]) -> None:
        """Refuse a folder that holds something else, or other recipes of these names.

        Raises:
            UsageError: If it does; it says what differs.
        """
        if not self.plan.is_file():
            # Hidden: what marks the folder as claimed.
            held = [one for one in self.path.glob("*") if not one.name.startswith(".")]
            if held or self.path.is_file():
                raise UsageError(
                    "it holds something else than an experiment",
                    where=str(self.path),
                    expected="a new or empty folder, or that of an experiment to go on with",
                )
            return
        before = self._read()["recipes"]
        told = [
            f"{name}: {change}"
            for name, recipe in recipes.items()
            if name in before
            for change in changes_between(before[name], plain_recipe(recipe))
        ]
        if told:
            more = [f"... and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
            raise UsageError(
                "it was begun with other recipes, or other options of them",
                where=str(self.path),
                expected="the same ones to go on with it, or another folder for the changed ones",
                notes=[*told[:_TOLD], *more],
            )

    def write(self, recipes: Mapping[str, Recipe], options: ExperimentOptions) -> None:
        """Note what is asked for; recipes that were asked for before are kept."""
        before = self._read()["recipes"] if self.plan.is_file() else {}
        said = {name: plain_recipe(recipe) for name, recipe in recipes.items()}
        content = {
            "format": FORMAT, "options": options.to_dict(), "recipes": {**before, **said},
        }  # fmt: skip
        write_json(self.plan, content)

    def recipe(self, name: str, seed: int, registry: Registry) -> Recipe:
        """The recipe of a run, as it was noted."""
        return with_seed(resolve(Draft.from_mapping(self._read()["recipes"][name]), registry), seed)

    def options(self) -> ExperimentOptions:
        """How runs are tried out, as it was noted."""
        said = self._read()["options"]
        lists = {name: tuple(said[name]) for name in ("metrics", "noise_levels")}
        return ExperimentOptions(**{**said, **lists})

    def _read(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.plan.read_text(encoding="utf-8"))
            if content["format"] == FORMAT and isinstance(content["recipes"], dict):
                return content
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise self._damaged() from error
        raise self._damaged()

    def _damaged(self) -> CheckpointError:
        return CheckpointError(
            "it is damaged, or of another version",
            where=str(self.plan),
            expected=f"format {FORMAT}",
        )


def check_seeds(seeds: Sequence[int]) -> None:
    """Refuse seeds that cannot be, and ones that are there twice.

    Raises:
        ConfigError: If there are any, or none at all.
    """
    fitting = all(0 <= seed < 2**63 for seed in seeds)
    if not seeds or len(set(seeds)) != len(seeds) or not fitting:
        raise ConfigError(
            "seeds", list(seeds), expected="whole numbers in [0, 2**63), each once, such as 0,1,2"
        )


def with_seed(recipe: Recipe, seed: int) -> Recipe:
    """The recipe with another start of its random numbers."""
    return replace(recipe, training=replace(recipe.training, seed=seed))


def plain_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON has it, without the seed, which is the run's."""
    content: dict[str, Any] = json.loads(json.dumps(recipe.to_dict(), default=str))
    del content["training"]["seed"]
    return content
