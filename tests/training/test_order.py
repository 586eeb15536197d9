from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniflow.errors import DataError
from omniflow.interfaces import Dataset, Sample
from omniflow.seeds import mixed_seed
from omniflow.training.order import BatchOrder, JoinedDataset


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


@given(length=st.integers(1, 60), batch_size=st.integers(1, 20), seed=st.integers(0, 2**63 - 1))
def test_every_epoch_holds_every_sample_once(length, batch_size, seed):
    order = BatchOrder(Numbers(length), batch_size, seed)
    for epoch in range(3):
        positions = range(epoch * order.batches_per_epoch, (epoch + 1) * order.batches_per_epoch)
        seen = Counter(sample.id for position in positions for sample in order.batch(position))
        assert seen == Counter(str(index) for index in range(length))


def test_a_batch_depends_on_seed_and_position_alone():
    first, second = (BatchOrder(Numbers(50), 8, seed=3) for _ in range(2))
    late = first.batch(19)
    for position in range(19):
        first.batch(position)
    assert first.batch(19) == late == second.batch(19)
    assert BatchOrder(Numbers(50), 8, seed=4).batch(19) != late


def test_epochs_differ_in_order():
    order = BatchOrder(Numbers(40), 40, seed=0)
    assert order.batch(0) != order.batch(1)


def test_an_empty_dataset_is_refused():
    with pytest.raises(DataError, match="the training split is empty"):
        BatchOrder(Numbers(0), 8, seed=0)


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
