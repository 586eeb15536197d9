"""What `omniflow new-plugin` writes: a complete package, from the texts in `plugin_template/`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from omniflow.plugins import API_VERSION
from omniflow.registry import KINDS
from omniflow.version import __version__

#: What a plugin can bring: a component of a kind, or a hook that follows runs.
HOOK = "hook"
BRINGS = (*KINDS, HOOK)

#: What each is good for: a line for lists, and a command that uses it.
_ABOUT = {
    "backbone": ("Model in the published layout", "omniflow train --backbone {name}"),
    "head": ("Normalised features, a perceptron beside a line", "omniflow train --head {name}"),
    "refiner": ("Perceptron over normalised latents", "omniflow train --refiner {name}"),
    "encoder": ("Hashed words of a text", "omniflow train --encoder {name}"),
    "dataset": ("Sums of two numbers, written out", "omniflow train --dataset {name}"),
    "objective": ("Squared error of text latents", "omniflow train --objective {name}"),
    "metric": (
        "Words of a reference that were predicted",
        "omniflow evaluate predictions.json --metrics {name}",
    ),
    HOOK: ("a hook that leaves summary.json in the folder of a run", "omniflow train"),
}


@dataclass(frozen=True)
class NewPlugin:
    """A plugin to be written.

    Args:
        name: Name of its components and of its entry point: `acme-head`.
        kinds: What it brings, some of `BRINGS`.
    """

    name: str
    kinds: tuple[str, ...]

    @property
    def distribution(self) -> str:
        """What people install: `omniflow-acme-head`."""
        return f"omniflow-{self.name}"

    @property
    def package(self) -> str:
        """What Python imports: `omniflow_acme_head`."""
        return self.distribution.replace("-", "_")

    def class_name(self, kind: str) -> str:
        """The class of its component of a kind: `AcmeHead`."""
        words = [*self.name.split("-"), kind]
        if len(words) > 2 and words[-2] == kind:
            words.pop()
        return "".join(word.capitalize() for word in words)

    def files(self) -> dict[str, str]:
        """Every file, by its path in the new folder."""
        source = f"src/{self.package}"
        written = {
            "pyproject.toml": self._filled("pyproject.toml"),
            "README.md": self._filled("README.md"),
            ".gitignore": self._filled("gitignore"),
            ".github/workflows/ci.yml": self._filled("ci.yml"),
            ".github/workflows/publish.yml": self._filled("publish.yml"),
            f"{source}/__init__.py": self._module(),
            f"{source}/py.typed": "",
            "tests/test_plugin.py": self._filled("test_plugin.py"),
        }
        for kind in self.kinds:
            written[f"{source}/{kind}.py"] = self._filled(f"{kind}.py", kind)
            written[f"tests/test_{kind}.py"] = self._filled(f"test_{kind}.py", kind)
        return written

    def _filled(self, template: str, kind: str = "") -> str:
        text = (
            files("omniflow_cli").joinpath("plugin_template", f"{template}.tmpl").read_text("utf-8")
        )
        facts = {
            "name": self.name,
            "distribution": self.distribution,
            "package": self.package,
            "Class": self.class_name(kind) if kind else "",
            "description": self._description(),
            "use": "\n".join(_ABOUT[each][1].format(name=self.name) for each in self.kinds),
            "omniflow": ".".join(__version__.split(".")[:2]),
        }
        for word, value in facts.items():
            text = text.replace(f"<<{word}>>", value)
        return text

    def _description(self) -> str:
        return f"{_listed(self.kinds).capitalize()} {self.name} for omniflow"

    def _module(self) -> str:
        """The module that the entry point names: the level, and the hooks."""
        components = [kind for kind in self.kinds if kind != HOOK]
        imports = ["from omniflow import hookimpl", "from omniflow.hooks import Register"]
        lines = [f'"""Plugin {self.distribution}: the hooks that omniflow calls."""', ""]
        if components:
            lines += [*imports, ""]
        if HOOK in self.kinds:
            hook = "omniflow_run_ended"
            lines += [f"from {self.package}.hook import {hook} as {hook}", ""]
        lines += [
            "#: The level of omniflow's names that this is written for; see its docs/plugins.md.",
            f"OMNIFLOW_API_VERSION = {API_VERSION}",
        ]
        if components:
            lines += [
                "",
                "",
                "@hookimpl",
                "def omniflow_register(register: Register) -> None:",
                '    """Register what this brings; each is imported when somebody uses it."""',
            ]
        for kind in components:
            lines += [
                "    register(",
                f'        kind="{kind}",',
                f'        name="{self.name}",',
                f'        target="{self.package}.{kind}:{self.class_name(kind)}",',
                f'        summary="{_ABOUT[kind][0]}",',
                "    )",
            ]
        return "\n".join(lines) + "\n"


def _listed(kinds: Sequence[str]) -> str:
    """`head`, `head and metric`, `head, metric and hook`."""
    return " and ".join([part for part in (", ".join(kinds[:-1]), kinds[-1]) if part])
