"""Metrics of Hugging Face `evaluate` among ours, and ours among theirs."""

import sys

import pytest

from omniflow.errors import DataError, UnknownNameError, UsageError
from omniflow.evaluation.bootstrap import intervals
from omniflow.metrics.bleu import BLEU
from omniflow.metrics.evaluation_module import as_evaluation_module
from omniflow.metrics.exact_match import ExactMatch
from omniflow.metrics.hugging_face import HuggingFaceMetric
from omniflow.metrics.rouge_l import RougeL

MODULE = """
import datasets
import evaluate


class Shorter(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="", citation="", inputs_description="",
            features=datasets.Features({"predictions": text, "references": REFERENCES}),
        )

    def _compute(self, predictions, references, factor=1):
        if "crash" in predictions:
            raise ZeroDivisionError("on purpose")
        shares = [len(made) / 10 * factor for made in predictions]
        return {"first": 1, "shorter": sum(shares), "each": shares, "words": ["a"]}
"""


@pytest.fixture(autouse=True, scope="module")
def caches(tmp_path_factory):
    """Modules that are executed are copied to a folder of the tests' own."""
    import evaluate

    folder = tmp_path_factory.mktemp("modules")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", str(folder))
        patch.syspath_prepend(str(folder))
        # Another test of this process may have imported the package from its own folder.
        for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
            patch.delitem(sys.modules, name)
        yield


@pytest.fixture
def module(tmp_path):
    """A folder with a metric of somebody else."""

    def write(references="datasets.Sequence(text)"):
        folder = tmp_path / "shorter"
        folder.mkdir(exist_ok=True)
        (folder / "shorter.py").write_text(MODULE.replace("REFERENCES", references))
        return str(folder)

    return write


def test_a_metric_of_theirs_is_scored_as_one_of_ours(module, records):
    import evaluate

    path = module()
    corpus = records(["ab", "abcd"], [["x", "y"], ["z"]])
    score = HuggingFaceMetric(path=path).compute(corpus)
    assert score.value == pytest.approx(0.6)
    assert score.details == {"first": 1.0, "each": pytest.approx(0.3)}
    assert score.signature["implementation"] == f"evaluate {path}"
    assert score.signature["version"] == evaluate.__version__
    assert score.signature["figure"] == "shorter"
    # Without figures of records it is computed anew for an interval.
    metric = HuggingFaceMetric(path=path, figure="each", arguments={"factor": 2})
    assert metric.compute(corpus).records.values.tolist() == pytest.approx([0.4, 0.8])
    found = intervals({"hf": HuggingFaceMetric(path=path)}, {"hf": score}, corpus, resamples=40)[
        "hf"
    ]
    assert (found.low, found.high) == (pytest.approx(0.4), pytest.approx(0.8))
    assert found.method == "percentile bootstrap over records, recomputed"


def test_what_it_cannot_take_or_does_not_have_is_told(module, records):
    corpus = records(["ab"], [["x", "y"]])
    single = HuggingFaceMetric(path=module("text"))
    with pytest.raises(DataError, match="record 0: hf:.* takes one reference, and there are 2"):
        single.compute(corpus)
    assert single.compute(records(["ab"], [["x"]])).value == pytest.approx(0.2)
    with pytest.raises(UnknownNameError, match=r"(?s)called 'shortr'.*did you mean: shorter"):
        HuggingFaceMetric(path=module("text"), figure="shortr").compute(records(["a"], [["x"]]))
    with pytest.raises(DataError, match=r"fails \(ZeroDivisionError: on purpose\)"):
        single.compute(records(["crash"], [["x"]]))


def test_a_module_that_is_not_there_is_told_with_what_helps(tmp_path):
    with pytest.raises(UsageError) as caught:
        HuggingFaceMetric(path="nowhere_to_be_found")
    message = caught.value.render()
    assert message.startswith("hf:nowhere_to_be_found cannot be loaded")
    assert "a local folder NAME with NAME.py works without the Hub" in message
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "broken.py").write_text("import evaluate\nimport package_that_nobody_has\n")
    with pytest.raises(UsageError, match="package_that_nobody_has"):
        HuggingFaceMetric(path=str(broken))


def test_metrics_of_ours_work_wherever_theirs_do(both_references):
    import evaluate

    texts = [record.prediction for record in both_references]
    references = [list(record.references) for record in both_references]
    bleu = as_evaluation_module(BLEU(), "bleu")
    assert isinstance(bleu, evaluate.Metric)
    found = bleu.compute(predictions=texts, references=references)
    assert found["bleu"] == BLEU().compute(both_references).value
    assert found["bleu_brevity_penalty"] == 1.0
    match = as_evaluation_module(ExactMatch(), "exact_match")
    assert match.compute(predictions=["a", "b"], references=["a", "c"])["exact_match"] == 0.5
    match.add(prediction="a", reference=["b", "a"])
    match.add_batch(predictions=["c"], references=[["d"]])
    assert match.compute()["exact_match"] == 0.5
    both = evaluate.combine([bleu, as_evaluation_module(RougeL(), "rouge")])
    together = both.compute(predictions=texts, references=references)
    assert together["bleu"] == found["bleu"]
    assert together["rouge"] == pytest.approx(0.759546, abs=1e-6)


def test_other_numbers_of_predictions_and_references_are_refused():
    module = as_evaluation_module(ExactMatch(), "exact_match")
    with pytest.raises(ValueError, match="Mismatch in the number of predictions"):
        module.compute(predictions=["a", "b"], references=["a"])
