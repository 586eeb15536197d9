"""When bad records are too many."""

import pytest

from omniflow.inspection.bad_share import chance_of, is_beyond


def test_chances_are_those_of_the_binomial_distribution():
    # Two or three heads of three throws.
    assert chance_of(2, 3, 0.5) == pytest.approx(4 / 8)
    assert chance_of(3, 3, 0.1) == pytest.approx(1e-3)
    assert chance_of(0, 3, 0.1) == 1
    assert chance_of(1, 3, 0.0) == 0
    assert chance_of(1000, 100_000, 0.01) == pytest.approx(0.5, abs=0.02)


def test_a_whole_split_is_judged_by_its_share():
    assert not is_beyond(1, 100, 0.01, is_whole=True)
    assert is_beyond(2, 100, 0.01, is_whole=True)
    assert is_beyond(1, 100, 0.0, is_whole=True)


def test_a_sample_is_judged_with_its_doubt():
    # One of 32 is more than 1 %, and no wonder at 1 %.
    assert not is_beyond(1, 32, 0.01, is_whole=False)
    assert is_beyond(3, 32, 0.01, is_whole=False)
    assert is_beyond(1, 32, 0.0, is_whole=False)
    assert not is_beyond(32, 32, 1.0, is_whole=False)
