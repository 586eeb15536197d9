"""Whose turn it is among several datasets: by weight, from any position, in no regular order."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omniflow.training.turns import BLOCK, WeightedTurns, interleaved

WEIGHTS = st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**63 - 1)


@settings(max_examples=60, deadline=None)
@example(weights=[470.0, 1.0, 1.0, 3.0], seed=479452544, blocks=3)
@given(weights=WEIGHTS, seed=SEEDS, blocks=st.integers(1, 5))
def test_every_source_gets_its_share_of_any_number_of_blocks(weights, seed, blocks):
    turns = WeightedTurns(weights, seed)
    drawn = Counter(turns.turn(position)[0] for position in range(blocks * BLOCK))
    for source, weight in enumerate(weights):
        share = weight / sum(weights)
        # Clocks are off by less than a tick each, and all of them together by nothing.
        bound = 1 + share * (len(weights) - 2)
        assert abs(drawn[source] - blocks * BLOCK * share) <= bound + 1e-9
    assert turns.counts(blocks * BLOCK) == [drawn[source] for source in range(len(weights))]


@settings(max_examples=60, deadline=None)
@given(weights=WEIGHTS, seed=SEEDS, start=st.integers(0, 10**12))
def test_turns_are_counted_without_a_gap_from_any_position_on(weights, seed, start):
    turns = WeightedTurns(weights, seed)
    expected = turns.counts(start)
    assert sum(expected) == start
    for position in range(start, start + 2 * BLOCK):
        source, turn = turns.turn(position)
        assert turn == expected[source]
        expected[source] += 1
    # In another process, which was never anywhere else.
    assert WeightedTurns(weights, seed).turn(start + BLOCK) == turns.turn(start + BLOCK)
    assert WeightedTurns(weights, seed).counts(start + 300) == turns.counts(start + 300)


@settings(max_examples=30, deadline=None)
@given(weights=WEIGHTS, factor=st.sampled_from([0.25, 2.0, 1024.0]), seed=SEEDS)
def test_only_proportions_count(weights, factor, seed):
    one, other = WeightedTurns(weights, seed), WeightedTurns([factor * w for w in weights], seed)
    assert [one.turn(n) for n in range(300)] == [other.turn(n) for n in range(300)]


def test_two_one_one_within_sampling_error_over_any_stretch_and_in_no_pattern():
    turns = WeightedTurns([2, 1, 1], seed=42)
    drawn = [turns.turn(position)[0] for position in range(40_000)]
    for start in range(0, 39_000, 617):
        counts = Counter(drawn[start : start + 400])
        # Five standard deviations of independent draws.
        assert abs(counts[0] - 200) < 50
        assert abs(counts[1] - 100) < 44
    # Neighbours are alike as often as independent ones: 0.5**2 + 2 * 0.25**2.
    alike = sum(a == b for a, b in pairwise(drawn)) / len(drawn)
    assert alike == pytest.approx(0.375, abs=0.012)
    for parity in (0, 1):  # Two processes with a batch of one each.
        share = Counter(drawn[parity::2])[0] / 20_000
        assert share == pytest.approx(0.5, abs=0.02)


def test_seeds_differ_and_the_smallest_of_weights_gets_its_turn():
    one, other = (WeightedTurns([1, 1], seed) for seed in (0, 1))
    assert [one.turn(n) for n in range(64)] != [other.turn(n) for n in range(64)]
    rare = WeightedTurns([1e6, 1], seed=3)
    assert rare.counts(50_000_000)[1] in (49, 50, 51)
    assert sum(WeightedTurns([1e300, 1e-300], seed=0).counts(1000)) == 1000
    assert 511 <= WeightedTurns([1.7e308, 1.7e308], seed=0).counts(1024)[0] <= 513


@given(lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5), data=st.data())
def test_read_once_everything_comes_once_and_in_proportion_while_it_lasts(lengths, data):
    weights = data.draw(st.lists(st.floats(0.1, 10), min_size=len(lengths), max_size=len(lengths)))
    sources = {number: iter(range(length)) for number, length in enumerate(lengths)}
    read = list(interleaved(sources, weights))
    for number, length in enumerate(lengths):
        assert [item for source, item in read if source == number] == list(range(length))
    pairs = zip(lengths, weights, strict=True)
    together = min(int(length / weight * sum(weights)) for length, weight in pairs)
    counts = Counter(source for source, _ in read[:together])
    for number, weight in enumerate(weights):
        assert abs(counts[number] - together * weight / sum(weights)) <= len(weights)
