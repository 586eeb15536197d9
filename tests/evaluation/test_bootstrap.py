"""Intervals and paired differences: against closed forms and slow versions."""

import numpy as np
import pytest

from omniflow.errors import ConfigError, DataError, UnknownNameError
from omniflow.evaluation import bootstrap
from omniflow.evaluation.bootstrap import intervals, resampled_sums
from omniflow.evaluation.paired import paired_bootstrap
from omniflow.evaluation.predictions import PredictionFile, pair_predictions
from omniflow.evaluation.scoring import evaluate_predictions
from omniflow.interfaces.metric import Metric, Prediction, Score
from omniflow.metrics.bleu import BLEU
from omniflow.metrics.cider import CIDErD
from omniflow.metrics.distinct import Distinct
from omniflow.metrics.exact_match import ExactMatch
from omniflow.recipe import Choice

WORDS = ["a", "red", "circle", "left", "of", "a", "small", "blue", "square", "on", "white"]


def corpus(count, *, wrong, seed=0):
    """Texts of which a share of words is wrong."""
    random = np.random.default_rng(seed)
    made = [
        " ".join("star" if draw < wrong else word for word, draw in zip(WORDS, draws, strict=True))
        for draws in random.random((count, len(WORDS)))
    ]
    return pair_predictions(made, [" ".join(WORDS)] * count)


class Recomputed(Metric):
    """BLEU without figures of records."""

    def compute(self, predictions):
        return Score(BLEU().compute(predictions).value, {})


def test_the_interval_of_a_mean_is_the_normal_one_for_many_records():
    records = tuple(Prediction(str(n), "", "a" if n % 4 else "b", ("a",)) for n in range(2000))
    score = ExactMatch().compute(records)
    found = intervals({"m": ExactMatch()}, {"m": score}, records, resamples=2000)["m"]
    error = 1.96 * (0.75 * 0.25 / 2000) ** 0.5
    # The ends of 2,000 resamples are known to about 5 % of the error.
    assert found.low == pytest.approx(0.75 - error, abs=0.1 * error)
    assert found.high == pytest.approx(0.75 + error, abs=0.1 * error)
    assert (found.resamples, found.seed) == (2000, 0)


def test_bleu_of_added_up_statistics_is_bleu_of_the_records_drawn():
    file = corpus(30, wrong=0.3)
    score = BLEU().compute(file.records)
    [sums] = resampled_sums([score.records.statistics], resamples=5, seed=3)
    random = np.random.default_rng(3)
    for row in sums.tolist():
        drawn = random.integers(30, size=30)
        slow = BLEU().compute([file.records[index] for index in drawn]).value
        assert BLEU().figure(row) == pytest.approx(slow, abs=1e-12)


def test_draws_depend_on_the_seed_and_not_on_the_blocks(monkeypatch):
    table = np.arange(20.0)[:, None]
    whole = resampled_sums([table], resamples=50, seed=1)[0]
    monkeypatch.setattr(bootstrap, "_BLOCK", 60)
    assert resampled_sums([table], resamples=50, seed=1)[0].tolist() == whole.tolist()
    assert resampled_sums([table], resamples=50, seed=2)[0].tolist() != whole.tolist()


def test_a_metric_without_figures_of_records_is_computed_anew():
    file = corpus(20, wrong=0.3)
    found = evaluate_predictions(file, {"fast": BLEU(), "slow": Recomputed()}, resamples=1000)
    fast, slow = (found.figures[name].interval for name in ("fast", "slow"))
    assert slow.resamples == 100
    assert slow.low == pytest.approx(fast.low, abs=0.05)
    assert slow.high == pytest.approx(fast.high, abs=0.05)


def test_a_metric_keeps_its_own_interval_and_one_record_has_none():
    file = corpus(20, wrong=0.3)
    texts = [f"{file.records[n].prediction} {n} {n}" for n in range(20)]
    told = pair_predictions(texts, [f"{' '.join(WORDS)} {n} {n}" for n in range(20)])
    found = evaluate_predictions(told, {"distinct": Distinct(), "cider": CIDErD()})
    assert found.figures["distinct"].interval.method.startswith("jackknife")
    interval = found.figures["cider"].interval
    assert 0 < interval.low < found.figures["cider"].value < interval.high
    single = PredictionFile(None, None, file.records[:1])
    assert evaluate_predictions(single, {"bleu": BLEU()}).figures["bleu"].interval is None
    without = evaluate_predictions(file, {"distinct": Distinct(), "bleu": BLEU()}, resamples=0)
    assert [figure.interval for figure in without.figures.values()] == [None, None]


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"resamples": 39}, "resamples is 39"), ({"seed": -1}, "seed is -1")],
)
def test_numbers_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_predictions(corpus(3, wrong=0), {"bleu": BLEU()}, **settings)


def scored(file, **metrics):
    choices = {name: Choice(name, {}) for name in metrics}
    return evaluate_predictions(file, metrics, choices=choices, resamples=0)


def test_a_clear_difference_is_significant_and_none_is_not():
    good, bad = (scored(corpus(60, wrong=w, seed=5), bleu=BLEU()) for w in (0.1, 0.4))
    found = paired_bootstrap(bad, good, "bleu")
    assert found.value == pytest.approx(good.figures["bleu"].value - bad.figures["bleu"].value)
    assert 0 < found.interval.low < found.value < found.interval.high
    assert found.p_value == pytest.approx(2 / 1001)
    assert found.samples == 60
    same = paired_bootstrap(good, good, "bleu")
    assert (same.value, same.p_value) == (0.0, 1.0)


def test_pairing_sees_what_unpaired_intervals_do_not():
    records = [Prediction(str(n), "", "a" if n % 2 else "b", ("a",)) for n in range(100)]
    better = [
        Prediction(one.id, "", "a" if n < 10 else one.prediction, ("a",))
        for n, one in enumerate(records)
    ]
    first, second = (
        evaluate_predictions(PredictionFile(None, None, tuple(each)), {"m": ExactMatch()})
        for each in (records, better)
    )
    assert first.figures["m"].interval.high > second.figures["m"].interval.low
    assert paired_bootstrap(first, second, "m").p_value < 0.05


def test_records_are_paired_by_their_ids():
    file = corpus(40, wrong=0.3)
    turned = PredictionFile(None, None, tuple(reversed(file.records))[:25])
    found = paired_bootstrap(
        scored(file, bleu=BLEU(), cider=CIDErD()), scored(turned, bleu=BLEU()), "bleu"
    )
    assert (found.samples, found.value) == (25, 0.0)
    assert found.interval.high == found.interval.low == 0.0


def test_what_cannot_be_compared_is_told():
    file = corpus(5, wrong=0.3)
    plain = scored(file, bleu=BLEU(), distinct=Distinct())
    assert paired_bootstrap(plain, plain, "distinct") is None
    with pytest.raises(UnknownNameError, match="no metric is called 'blue'"):
        paired_bootstrap(plain, plain, "blue")
    with pytest.raises(DataError, match=r"(?s)settings differ.*case:mixed.*case:lc"):
        paired_bootstrap(plain, scored(file, bleu=BLEU(lowercase=True)), "bleu")
    others = tuple(Prediction(f"x{n}", "", "a", ("a",)) for n in range(3))
    with pytest.raises(DataError, match="no record is in both results"):
        paired_bootstrap(
            scored(PredictionFile(None, None, others), m=ExactMatch()),
            scored(file, m=ExactMatch()),
            "m",
        )
