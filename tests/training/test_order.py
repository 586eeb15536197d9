from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniflow.errors import DataError
from omniflow.interfaces import Dataset, Sample
from omniflow.seeds import mixed_seed
from omniflow.training.order import JoinedDataset, SampleOrder


class Numbers(Dataset):
    def __init__(self, length, prefix=""):
        self.length = length
        self.prefix = prefix

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return Sample(id=f"{self.prefix}{index}")

    def notices(self):
        return [f"{self.length} numbers"]


@given(length=st.integers(1, 60), seed=st.integers(0, 2**63 - 1))
def test_every_epoch_holds_every_sample_once(length, seed):
    order = SampleOrder(Numbers(length), seed)
    for epoch in range(3):
        seen = Counter(s.id for s in order.samples(range(epoch * length, (epoch + 1) * length)))
        assert seen == Counter(str(index) for index in range(length))


def test_a_sample_depends_on_seed_and_position_alone():
    first, second = (SampleOrder(Numbers(50), seed=3) for _ in range(2))
    late = first.samples(range(140, 160))
    for position in range(140):
        first.samples([position])
    assert first.samples(range(140, 160)) == late
    assert late == [*second.samples(range(140, 150)), *second.samples(range(150, 160))]
    assert SampleOrder(Numbers(50), seed=4).samples(range(140, 160)) != late


def test_epochs_differ_in_order():
    order = SampleOrder(Numbers(40), seed=0)
    assert order.samples(range(40)) != order.samples(range(40, 80))


def test_an_empty_dataset_is_refused():
    with pytest.raises(DataError, match="the training split is empty"):
        SampleOrder(Numbers(0), seed=0)


def test_joined_datasets_follow_one_another():
    joined = JoinedDataset([Numbers(2, "a"), Numbers(3, "b")])
    assert [sample.id for sample in joined] == ["0/a0", "0/a1", "1/b0", "1/b1", "1/b2"]
    assert joined.notices() == ["2 numbers", "3 numbers"]
    with pytest.raises(IndexError):
        joined[5]


def test_mixed_seeds_of_neighbours_are_unrelated_and_in_range():
    seeds = [mixed_seed(42, position) for position in range(10_000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    bits = Counter((a ^ b).bit_count() for a, b in pairwise(seeds))
    mean = sum(count * times for count, times in bits.items()) / (len(seeds) - 1)
    assert mean == pytest.approx(31.5, abs=0.5)
