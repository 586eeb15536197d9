"""The reference of Python: what is public, by the lists of the modules that say so."""

from __future__ import annotations

from importlib import import_module

#: Modules whose `__all__` is public, with the sentence that introduces them.
PUBLIC = {
    "omniflow": "What most programs need: `import omniflow`.",
    "omniflow.interfaces": "What a component of each kind offers; a plugin derives from these.",
    "omniflow.testing": "Checks for the tests of a plugin.",
}
#: Single names, for modules that hold more than that.
NAMED = {
    "omniflow.hooks": (("Register", "Hooks"), "What a plugin may register and follow."),
    "omniflow.tasks": (("Task",), "What is given and what is made."),
    "omniflow.recipe": (("Choice", "TrainingOptions"), "Parts of a recipe."),
    "omniflow.sampling.settings": (("SamplingSettings",), "How samples are made."),
    "omniflow.interfaces.text_decoding": (("TextDecoding",), "How texts are decoded."),
    "omniflow.generation.predict": (("generate_predictions",), "A model over a dataset."),
    "omniflow.generation.outputs": (("write_samples",), "Samples as files."),
    "omniflow.training.trainer": (("train",), "The loop."),
    "omniflow.training.reporter": (("Reporter",), "Who is told of a run."),
    "omniflow.errors": (
        ("UsageError", "ConfigError", "UnknownNameError", "MistakesError",
         "PluginError", "DataError", "RecordError", "CheckpointError", "TrainingError"),
        "All derive from `OmniFlowError`; a person's mistake is a `UsageError`.",
    ),
}  # fmt: skip
#: Told by its value, which a signature does not hold.
_PLAIN = ("__version__", "HEAD_LOSSES")


def api_reference() -> str:
    """Markdown: directives of mkdocstrings, which reads signatures and docstrings."""
    parts = []
    for module, introduction in PUBLIC.items():
        names = [name for name in import_module(module).__all__ if name not in _PLAIN]
        # Functions, which come first in a program, begin with a small letter.
        names.sort(key=lambda name: name[0].isupper())
        parts.append(_section(module, names, introduction))
    for module, (names, introduction) in NAMED.items():
        parts.append(_section(module, names, introduction))
    return "\n\n".join(parts)


def _section(module: str, names: object, introduction: str) -> str:
    directives = [f"::: {module}.{name}" for name in names]  # type: ignore[attr-defined]
    return "\n\n".join([f"## {module}", introduction, *directives])
