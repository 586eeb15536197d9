"""Metrics of Hugging Face `evaluate`, as metrics of ours."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.errors import DataError, UnknownNameError, UsageError
from omniflow.hub_access import one_line, without_secrets
from omniflow.interfaces.metric import Metric, Prediction, RecordFigures, Score
from omniflow.metrics.inputs import require_references

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class HuggingFaceMetric(Metric):
    """Any metric of Hugging Face `evaluate`: `--metrics hf:NAME`.

    A folder is read as it is; a name is a module on the Hub, which is fetched and then executed:
    name only what you trust. What was fetched before, and with HF_HUB_OFFLINE nothing else, is
    read from the cache. Where the metric gives several figures, the one of its own name is
    reported, or the first; all are among the details. A list with a figure for each record is
    reported as its mean.

    Args:
        path: Name on the Hub (`bertscore`, `owner/name`), or a folder with a module.
        figure: Which of its figures is reported; its own choice when null.
        revision: Branch, tag or commit on the Hub.
        config: Configuration of the module, where it has several.
        arguments: Further arguments of its `compute`, such as `{lang: en}`.
        higher_is_better: Whether more is better.

    Raises:
        UsageError: If the module cannot be fetched, read or imported.
    """

    def __init__(
        self,
        *,
        path: str,
        figure: str | None = None,
        revision: str | None = None,
        config: str | None = None,
        arguments: dict[str, Any] | None = None,
        higher_is_better: bool = True,
    ) -> None:
        self.path, self.chosen, self.revision = path, figure, revision
        self.arguments = arguments or {}
        self.higher_is_better = higher_is_better
        self._module = _loaded(path, config, revision)

    def compute(self, predictions: Sequence[Prediction]) -> Score:
        """Whatever the metric computes.

        Raises:
            DataError: If the metric cannot take the records: it says why.
            UnknownNameError: If it has no figure of the name asked for.
        """
        require_references(predictions)
        import evaluate

        found = self._computed(predictions)
        figures, lists = _sorted_out(found, len(predictions))
        name = self._reported(figures)
        return Score(
            value=figures[name],
            signature={
                "implementation": f"evaluate {self.path}",
                "version": str(evaluate.__version__),
                "revision": self.revision or "",
                "figure": name,
                "arguments": " ".join(f"{key}={value}" for key, value in self.arguments.items()),
            },
            details={key: value for key, value in figures.items() if key != name},
            records=RecordFigures(lists[name]) if name in lists else None,
        )

    def _computed(self, predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        texts = [record.prediction for record in predictions]
        references: list[Any] = [list(record.references) for record in predictions]
        if not _takes_lists(self._module.features):
            for record in predictions:
                if len(record.references) > 1:
                    raise DataError(
                        f"hf:{self.path} takes one reference, and there are "
                        f"{len(record.references)}",
                        where=f"record {record.id}",
                    )
            references = [group[0] for group in references]
        with _quiet_bars():
            try:
                found = self._module.compute(
                    predictions=texts, references=references, **self.arguments
                )
            # Code of strangers: whatever it raises is about these records.
            except Exception as error:
                raise DataError(
                    f"hf:{self.path} fails ({type(error).__name__}: {one_line(error)})",
                    expected="predictions and references that it can take",
                ) from error
        if not isinstance(found, Mapping):
            raise DataError(f"hf:{self.path} gives {type(found).__name__}", expected="a dict")
        return found

    def _reported(self, figures: Mapping[str, float]) -> str:
        if not figures:
            raise DataError(f"hf:{self.path} gives no number", expected="at least one figure")
        if self.chosen is not None:
            if self.chosen not in figures:
                raise UnknownNameError(
                    "figure of the metric", self.chosen, list(figures), where=f"hf:{self.path}"
                )
            return self.chosen
        own = Path(self.path).stem
        return own if own in figures else next(iter(figures))


def _loaded(path: str, config: str | None, revision: str | None) -> Any:
    import evaluate

    with _quiet_bars():
        try:
            return evaluate.load(
                path, config, revision=revision, keep_in_memory=True, module_type="metric"
            )
        except ImportError as error:
            raise UsageError(
                f"hf:{path} cannot be imported ({one_line(error)})",
                notes=["install what it asks for"],
            ) from error
        # FileNotFoundError is what is left of every trouble with the Hub; a module's own code may
        # raise anything when it is imported.
        except Exception as error:
            raise UsageError(
                f"hf:{path} cannot be loaded ({without_secrets(one_line(error))})",
                expected="a metric of Hugging Face evaluate, or a folder with its module",
                notes=[
                    "what was fetched once is read without the Hub",
                    "a local folder NAME with NAME.py works without the Hub: hf:./NAME",
                ],
            ) from error


def _takes_lists(features: Any) -> bool:
    """Whether a module takes several references for a prediction."""
    alternatives = features if isinstance(features, list) else [features]
    return any(
        type(one.get("references")).__name__ in ("Sequence", "List", "list") for one in alternatives
    )


def _sorted_out(
    found: Mapping[str, Any], records: int
) -> tuple[dict[str, float], dict[str, NDArray[np.float64]]]:
    """Numbers by name, and lists of a number for each record, which count as their mean."""
    import numpy as np

    figures: dict[str, float] = {}
    lists: dict[str, NDArray[np.float64]] = {}
    for name, value in found.items():
        if isinstance(value, np.ndarray | np.generic):
            value = value.tolist()
        if isinstance(value, int | float):
            figures[str(name)] = float(value)
        elif (
            isinstance(value, list)
            and len(value) == records
            and all(isinstance(one, int | float) for one in value)
        ):
            lists[str(name)] = np.array(value, dtype=np.float64)
            figures[str(name)] = float(lists[str(name)].mean())
    return figures, lists


@contextmanager
def _quiet_bars() -> Iterator[None]:
    """Without the progress bars and notices of the libraries behind `evaluate`."""
    import datasets

    had_bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    logger = logging.getLogger("evaluate")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
        if not had_bars:
            datasets.enable_progress_bars()
