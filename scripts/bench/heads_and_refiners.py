"""Every built-in head with every refiner on `tiny` and `scenes`: the table of the README.

    python scripts/bench/heads_and_refiners.py

Trains the six one after the other with the defaults of `omniflow train`, generates the test split
from clean latents and scores it. Prints a Markdown table; the rows come from one run on one
machine, so that their seconds can be compared with one another and with nothing else.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from omniflow.assembly import construct_component, load
from omniflow.draft import Draft
from omniflow.evaluation.predictions import PredictionFile
from omniflow.evaluation.scoring import evaluate_predictions
from omniflow.generation.predict import generate_predictions
from omniflow.plugins import installed_plugins
from omniflow.recipe import Choice
from omniflow.resolve import resolve
from omniflow.tasks import Task
from omniflow.training.splits import open_datasets
from omniflow.training.trainer import train

METRICS = ("bleu", "rouge", "meteor-no-synonyms", "accuracy", "perplexity")


def main() -> None:
    """Train, generate and score each combination."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=1000, help="test records to score")
    options = parser.parse_args()
    print(
        "| head | refiner | PPL | accuracy | clean PPL | clean accuracy "
        "| BLEU-4 | ROUGE-L | METEOR | trained | s |"
    )
    print("| --- " * 2 + "| ---: " * 9 + "|", flush=True)
    for head in ("linear", "mlp", "vq"):
        for refiner in ("none", "mlp"):
            print(row(head, refiner, options.limit), flush=True)


def row(head: str, refiner: str, limit: int) -> str:
    """One line of the table: validation before -> after training, then test figures."""
    registry = installed_plugins().registry
    recipe = resolve(Draft.from_mapping({"head": head, "refiner": refiner}), registry)
    with tempfile.TemporaryDirectory() as folder:
        result = train(recipe, output_dir=Path(folder) / "run", registry=registry)
        model = load(Path(folder) / "run")
    test = open_datasets(recipe, registry, "test", {"text"})
    max_length = recipe.objective.options["max_length"]
    predictions = generate_predictions(
        model, test, task=Task.parse("t2t"), limit=limit, max_length=max_length
    )
    metrics = {name: construct_component(registry, "metric", Choice(name)) for name in METRICS}
    file = PredictionFile(model=None, task="t2t", records=tuple(predictions))
    scores = {
        name: figure.value
        for name, figure in evaluate_predictions(file, metrics, resamples=0).figures.items()
    }
    return (
        f"| {head} | {refiner} | {result.first['ppl']:.3g} -> {result.best['ppl']:.3g} "
        f"| {result.first['accuracy']:.3f} -> {result.best['accuracy']:.3f} "
        f"| {scores['perplexity']:.4f} | {scores['accuracy']:.4f} | {scores['bleu']:.4f} "
        f"| {scores['rouge']:.4f} | {scores['meteor-no-synonyms']:.4f} "
        f"| {result.trainable:,} | {result.seconds:.0f} |"
    )


if __name__ == "__main__":
    main()
