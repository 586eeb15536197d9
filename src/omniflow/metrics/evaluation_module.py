"""Metrics of ours, as metrics of Hugging Face `evaluate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from omniflow.interfaces.metric import Metric, Prediction

if TYPE_CHECKING:
    import evaluate


def as_evaluation_module(metric: Metric, name: str) -> evaluate.Metric:
    """A metric that takes part in whatever takes those of Hugging Face `evaluate`.

    `compute(predictions=[...], references=[...])` takes one text or a list of texts as each
    reference, and gives the figure under `name` and its details as `name_detail`; `add`,
    `add_batch` and `evaluate.combine` work as with any other.

    Args:
        metric: One that reads texts and references.
        name: What its figure is called; letters, digits and underscores.

    Example:
        >>> from omniflow.metrics.exact_match import ExactMatch
        >>> module = as_evaluation_module(ExactMatch(), "exact_match")
        >>> module.compute(predictions=["a", "b"], references=["a", ["c", "d"]])["exact_match"]
        0.5
    """
    import evaluate

    import datasets

    text, texts = datasets.Value("string"), datasets.Sequence(datasets.Value("string"))

    class OmniFlowMetric(evaluate.Metric):  # type: ignore[misc]
        def _info(self) -> Any:
            return evaluate.MetricInfo(
                description=type(metric).__doc__ or name,
                citation="",
                inputs_description="predictions: texts; references: a text or texts for each",
                # The first that fits is taken: a string is no list of strings.
                features=[
                    datasets.Features({"predictions": text, "references": texts}),
                    datasets.Features({"predictions": text, "references": text}),
                ],
            )

        def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
            score = metric.compute(
                [
                    Prediction(str(number), "", made, _listed(wanted))
                    for number, (made, wanted) in enumerate(
                        zip(predictions, references, strict=True), 1
                    )
                ]
            )
            details = {f"{name}_{key}": value for key, value in score.details.items()}
            return {score.name or name: score.value, **details}

    # `evaluate.combine` calls a metric by the name of its class.
    OmniFlowMetric.__name__ = OmniFlowMetric.__qualname__ = name
    made: evaluate.Metric = OmniFlowMetric(keep_in_memory=True)
    return made


def _listed(references: Any) -> tuple[str, ...]:
    return (references,) if isinstance(references, str) else tuple(references)
