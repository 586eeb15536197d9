from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.errors import DataError, UnknownLengthError
from omniflow.interfaces import Dataset, Sample, StreamingDataset
from omniflow.seeds import mixed_seed
from omniflow.training.joined import JoinedDataset
from omniflow.training.order import SampleOrder


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


class Stream(StreamingDataset):
    """Numbers in a row; `readings` holds where each reading began and how far it went."""

    def __init__(self, length):
        self.length = length
        self.readings = []

    def records(self, start=0):
        reading = [start, start]
        self.readings.append(reading)
        for number in range(start, self.length):
            reading[1] += 1
            yield number

    def decode(self, record):
        return Sample(id=str(record))

    def length_of(self, record):
        # Neither sorted nor all different.
        return record * 7 % 31


def ids(order, positions):
    return [int(sample.id) for sample in order.samples(positions)]


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 60), block=st.integers(1, 70), seed=st.integers(0, 2**63 - 1))
def test_every_epoch_of_a_stream_holds_every_record_once_block_by_block(length, block, seed):
    order = SampleOrder(Stream(length), seed, shuffle_block=block)
    for epoch in range(3):
        seen = ids(order, range(epoch * length, (epoch + 1) * length))
        for start in range(0, length, block):
            expected = list(range(start, min(start + block, length)))
            assert sorted(seen[start : start + block]) == expected


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 60), block=st.integers(1, 70), start=st.integers(0, 300))
def test_a_stream_is_resumed_at_any_position(length, block, start):
    straight = SampleOrder(Stream(length), 3, shuffle_block=block)
    everything = ids(straight, range(320))
    # In another process, which knows neither the length nor what came before.
    assert (
        ids(SampleOrder(Stream(length), 3, shuffle_block=block), range(start, 320))
        == (everything[start:])
    )


def test_a_stream_is_read_on_and_never_held_whole():
    stream = Stream(1000)
    order = SampleOrder(stream, 0, shuffle_block=50)
    for position in range(0, 980, 7):
        order.samples(range(position, position + 7))
    # One look whether there is anything, and one reading.
    assert stream.readings[1:] == [[0, 1000]]
    assert sum(len(block) for block in order._shuffle._blocks._kept.values()) == 100
    assert order.length is None
    order.samples([1000])
    assert order.length == 1000


def test_epochs_and_seeds_of_a_stream_differ_in_order():
    orders = [ids(SampleOrder(Stream(60), s, shuffle_block=20), range(120)) for s in (0, 1)]
    parts = [order[start : start + 60] for order in orders for start in (0, 60)]
    assert len({tuple(part) for part in parts}) == 4


def test_a_stream_that_changes_between_epochs_is_refused():
    stream = Stream(60)
    order = SampleOrder(stream, 0, shuffle_block=20)
    order.samples(range(70))
    stream.length = 50
    with pytest.raises(DataError, match="the stream had 60 records before, and has 50 now"):
        order.samples(range(70, 200))


def test_streams_have_no_length_and_can_be_listed():
    with pytest.raises(UnknownLengthError, match="only known at its end"):
        len(Stream(3))
    assert [sample.id for sample in list(Stream(3))] == ["0", "1", "2"]
    assert Stream(3)[2].id == "2"
    with pytest.raises(IndexError):
        Stream(3)[3]


def test_an_empty_stream_and_a_stream_among_others_are_refused():
    with pytest.raises(DataError, match="the training split is empty"):
        SampleOrder(Stream(0), seed=0)
    with pytest.raises(DataError, match="2 datasets, of which one is streamed"):
        JoinedDataset([Numbers(2), Stream(3)])


class Lengths(Numbers):
    def length_of(self, record):
        return record * 7 % 31


@pytest.mark.parametrize("kind", [Lengths, Stream])
@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 700), step=st.integers(1, 20), start=st.integers(0, 900))
def test_grouped_samples_are_read_once_an_epoch_and_resumed_anywhere(kind, length, step, start):
    def order():
        return SampleOrder(kind(length), 5, shuffle_block=37, group=step)

    one = order()
    everything = ids(one, range(2 * length + 100))
    for epoch in range(2):
        seen = everything[epoch * length : (epoch + 1) * length]
        assert sorted(seen) == list(range(length))
    assert ids(order(), range(start, start + 50)) == ids(one, range(start, start + 50))


@pytest.mark.parametrize("kind", [Lengths, Stream])
def test_a_step_of_grouped_samples_has_similar_lengths(kind):
    def spread(group):
        order = SampleOrder(kind(1000), 0, shuffle_block=400, group=group)
        steps = [ids(order, range(start, start + 8)) for start in range(0, 2000, 8)]
        lengths = [[number * 7 % 31 for number in step] for step in steps]
        return sum(max(step) - min(step) for step in lengths) / len(lengths)

    # Of 31 lengths, each in 4 of a window's 128 samples, 8 neighbours span 2.
    assert spread(8) < 3.5
    assert spread(None) > 20


def test_grouped_steps_come_in_no_order_of_length():
    order = SampleOrder(Lengths(4000), 0, group=8)
    means = [
        sum(number * 7 % 31 for number in ids(order, range(start, start + 8))) / 8
        for start in range(0, 4000, 8)
    ]
    correlation = torch.corrcoef(torch.tensor([means[:-1], means[1:]]))[0, 1]
    # Three standard deviations of 500 independent ones.
    assert abs(correlation) < 0.14


def test_without_lengths_nothing_is_grouped_and_that_is_told():
    plain, grouped = SampleOrder(Numbers(40), 0), SampleOrder(Numbers(40), 0, group=8)
    assert grouped.samples(range(40)) == plain.samples(range(40))
    assert plain.notices() == ["40 numbers"]
    assert grouped.notices()[1].startswith("training.group_by_length has no effect")
