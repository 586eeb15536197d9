"""Means and differences over seeds and records, against tables and simulation."""

import numpy as np
import pytest

from omniflow.experiments.estimates import Measured, contrasts_of, holm, mean_of
from omniflow.experiments.student import two_sided_p, two_sided_quantile


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.7062), (2, 4.30265), (10, 2.22814), (499, 1.96473)]
)
def test_quantiles_are_those_of_the_tables(degrees, expected):
    assert two_sided_quantile(0.95, degrees) == pytest.approx(expected, abs=1e-4)
    assert two_sided_p(expected, degrees) == pytest.approx(0.05, abs=1e-5)


def test_a_mean_over_seeds_alone_has_the_interval_of_the_t_test():
    estimate = mean_of(Measured({0: 1.0, 1: 2.0, 2: 3.0}, {}, 0))
    half = 4.30265 * 1.0 / 3**0.5
    assert estimate.value == 2.0
    assert estimate.deviation == pytest.approx(1.0)
    assert estimate.interval == pytest.approx((2 - half, 2 + half), abs=1e-4)


def test_one_seed_has_the_interval_of_the_records_and_no_deviation():
    draws = np.random.default_rng(0).normal(0.5, 0.1, 1000)
    estimate = mean_of(Measured({7: 0.5}, {7: draws}, 500))
    assert estimate.deviation is None
    half = 1.9647 * draws.std(ddof=1)
    assert estimate.interval == pytest.approx((0.5 - half, 0.5 + half), rel=1e-3)


def test_one_seed_without_figures_of_records_has_no_interval():
    assert mean_of(Measured({0: 0.5}, {}, 500)).interval is None


def test_what_never_varies_is_certain():
    same = {seed: np.ones(100) for seed in (0, 1)}
    estimate = mean_of(Measured({0: 1.0, 1: 1.0}, same, 50))
    assert estimate.interval == (1.0, 1.0)


def test_a_difference_is_taken_seed_by_seed():
    # Seeds differ much, the recipes at each seed hardly.
    one = Measured({0: 1.0, 1: 5.0, 2: 9.0}, {}, 0)
    other = Measured({0: 1.5, 1: 5.6, 2: 9.4, 3: 100.0}, {}, 0)
    [contrast] = contrasts_of({"a": one, "b": other})
    assert contrast.estimate.value == pytest.approx(0.5)
    assert contrast.estimate.seeds == (0, 1, 2)
    assert contrast.estimate.deviation == pytest.approx(0.1)
    # t = 0.5 / (0.1 / sqrt(3)) = 8.66 with 2 degrees of freedom.
    assert contrast.estimate.p_value == pytest.approx(0.01307, abs=1e-4)


def test_p_values_are_adjusted_for_their_number():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06], nan_ok=True)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_recipes_that_do_not_differ_are_hardly_ever_told_apart():
    random = np.random.default_rng(1)
    told = 0
    for _ in range(200):
        records = random.normal(size=60)
        recipes = {}
        weights = random.multinomial(60, [1 / 60] * 60, size=80) / 60
        for name in ("a", "b"):
            rows = {s: records + random.normal(size=60) + random.normal() / 3 for s in range(3)}
            recipes[name] = Measured(
                {s: row.mean() for s, row in rows.items()},
                {s: weights @ row for s, row in rows.items()},
                60,
            )
        told += contrasts_of(recipes)[0].is_clear
    # At most 5 % are meant; 200 of them vary by 1.5 points.
    assert told / 200 <= 0.08
