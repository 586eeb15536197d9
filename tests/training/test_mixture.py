"""Several datasets as one: by weight or by size, mapped and streamed, to be resumed anywhere."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.cache.key import SampleKeys
from omniflow.errors import ConfigError, DataError, RecordError, UnservedRecordError
from omniflow.interfaces import Dataset, Sample, StreamingDataset
from omniflow.tasks import Task
from omniflow.training.mixture import MixedDataset, Part
from omniflow.training.order import SampleOrder
from omniflow.training.serving import ServingDataset


class Numbers(Dataset):
    def __init__(self, length, bad=(), text="text"):
        self.length, self.bad, self.text = length, bad, text

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if index in self.bad:
            raise RecordError(str(index), "it is bad")
        return Sample(id=str(index), text=self.text)

    def length_of(self, record):
        return record * 7 % 31

    def notices(self):
        return [f"{self.length} numbers"]


class Stream(StreamingDataset):
    def __init__(self, length):
        self.length = length

    def records(self, start=0):
        return iter(range(start, self.length))

    def decode(self, record):
        return Sample(id=str(record), text="text")


def mixed(*parts):
    return MixedDataset([Part(*part) for part in parts])


def three():
    return mixed(("a", Numbers(40), 2.0), ("b", Stream(50), 1.0), ("c", Numbers(7), 1.0))


def ids(order, positions):
    return [sample.id for sample in order.samples(positions)]


@settings(max_examples=15, deadline=None)
@given(start=st.integers(0, 600), seed=st.integers(0, 2**63 - 1))
def test_a_mix_of_mapped_and_streamed_is_resumed_at_any_position(start, seed):
    straight = SampleOrder(three(), seed, shuffle_block=13)
    everything = ids(straight, range(650))
    assert (
        ids(SampleOrder(three(), seed, shuffle_block=13), range(start, 650)) == everything[start:]
    )


def test_each_is_shuffled_by_itself_and_read_evenly_again_and_again():
    drawn = ids(SampleOrder(three(), 5, shuffle_block=10), range(4000))
    by_label = Counter(each.partition("/")[0] for each in drawn)
    assert [by_label[label] for label in "abc"] == pytest.approx([2000, 1000, 1000], abs=15)
    for label, length in (("a", 40), ("b", 50), ("c", 7)):
        own = [each.partition("/")[2] for each in drawn if each.startswith(label)]
        for start in range(0, len(own) - length, length):
            assert sorted(map(int, own[start : start + length])) == list(range(length))
        assert own[:length] != own[length : 2 * length]


def test_without_weights_every_sample_of_all_comes_once_an_epoch():
    order = SampleOrder(mixed(("a", Numbers(5)), ("b", Numbers(3))), 0)
    assert order.length == 8
    for epoch in range(2):
        seen = sorted(ids(order, range(8 * epoch, 8 * epoch + 8)))
        assert seen == ["a/0", "a/1", "a/2", "a/3", "a/4", "b/0", "b/1", "b/2"]


def test_an_epoch_of_weighted_datasets_is_as_long_as_all_of_them():
    order = SampleOrder(mixed(("a", Numbers(5), 9.0), ("b", Numbers(3), 1.0)), 0)
    assert order.length == 8
    assert SampleOrder(three(), 0).length is None


def test_a_streamed_one_among_others_needs_weights():
    with pytest.raises(ConfigError, match=r"dataset\.b\.weight is None, expected a weight"):
        mixed(("a", Numbers(2)), ("b", Stream(3)))


def test_read_through_the_parts_take_turns_and_each_record_comes_once():
    dataset = mixed(("a", Numbers(8), 2.0), ("b", Stream(9), 1.0))
    assert [sample.id for sample in islice(dataset, 6)] == [
        "a/0",
        "b/0",
        "a/1",
        "a/2",
        "b/1",
        "a/3",
    ]
    assert len(list(dataset)) == 17
    assert [sample.id for sample in mixed(("a", Numbers(2)), ("b", Numbers(1)))] == [
        "a/0",
        "b/0",
        "a/1",
    ]


def test_proportions_and_sizes_are_told():
    told = three().notices()
    assert told[0] == "mixing a 50 % (40 samples), b 25 % (streamed), c 25 % (7 samples)"
    assert told[1:] == ["40 numbers", "7 numbers"]
    by_size = mixed(("a", Numbers(3000)), ("b", Numbers(1000)))
    assert by_size.notices()[0] == "mixing a 75 % (3,000 samples), b 25 % (1,000 samples)"


def test_what_cannot_be_read_is_replaced_from_the_same_dataset():
    whole, gaps = (
        SampleOrder(mixed(("a", Numbers(20, bad), 1.0), ("b", Numbers(20), 1.0)), seed=5)
        for bad in ((), range(0, 20, 2))
    )
    expected, found = ids(whole, range(300)), ids(gaps, range(300))
    for position, (left, right) in enumerate(zip(expected, found, strict=True)):
        if left[0] == "b" or int(left[2:]) % 2:
            assert left == right
        else:
            after = (each for each in expected[position:] if each[0] == "a" and int(each[2:]) % 2)
            assert right == next(after, right)
    with pytest.raises(RecordError) as caught:
        gaps.dataset.decode((0, 4))
    assert (caught.value.dataset, caught.value.record) == ("a", "4")
    assert str(caught.value) == "a, record 4: it is bad"


@pytest.mark.parametrize("kinds", [(Numbers, Numbers), (Numbers, Stream)])
def test_grouped_by_length_a_mix_is_resumed_anywhere(kinds):
    def order():
        parts = [
            (name, kind(90), 2.0 - n)
            for n, (name, kind) in enumerate(zip("ab", kinds, strict=True))
        ]
        return SampleOrder(mixed(*parts), 5, shuffle_block=37, group=8)

    everything = ids(order(), range(500))
    assert Counter(each[0] for each in everything)["a"] == pytest.approx(333, abs=4)
    for start in (3, 128, 301):
        assert ids(order(), range(start, start + 100)) == everything[start : start + 100]


def serving(dataset, *tasks, is_own=False):
    return ServingDataset(dataset, "a", {Task.parse(task): 1.0 for task in tasks}, is_own)


def test_a_sample_that_serves_no_task_is_told_apart_from_a_bad_one():
    dataset = serving(Numbers(3, text=None), "t2i", "t2t")
    with pytest.raises(UnservedRecordError) as caught:
        dataset[1]
    assert caught.value.reason == "it brings nothing, which serves none of the tasks t2i, t2t"
    assert serving(Numbers(3), "t2i", "t2t")[1].text == "text"
    assert serving(Numbers(3, text=None))[1].id == "1"


def test_samples_of_a_dataset_with_tasks_of_its_own_say_so():
    own = serving(Numbers(3), "t2t", is_own=True)[0]
    assert own.tasks == {Task.parse("t2t"): 1.0}
    assert serving(Numbers(3), "t2t")[0].tasks is None


@pytest.mark.parametrize("dataset", [Numbers(3000), Stream(3000)])
def test_a_dataset_that_serves_no_task_is_refused(dataset):
    serving(dataset, "t2i", "t2t").require_use()
    with pytest.raises(DataError) as caught:
        serving(dataset, "t2i", "i2t").require_use()
    assert str(caught.value) == (
        "dataset a: it serves no task of the run: the 1000 records that were looked at bring text, "
        "expected records for one of t2i, i2t"
    )


def test_what_is_cached_of_a_sample_does_not_depend_on_its_mix():
    alone = Numbers(3, text="a text")
    in_mix = mixed(("a", Numbers(9), 1.0), ("b", serving(alone, "t2t", is_own=True), 5.0))
    keys = [
        SampleKeys([sample]).of("text", [0])
        for sample in (alone[2], in_mix.decode((1, 2)), alone[1])
    ]
    assert keys[0] == keys[1] == keys[2]
    assert keys[0] != SampleKeys([Numbers(1)[0]]).of("text", [0])
