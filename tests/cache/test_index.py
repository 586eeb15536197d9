"""Finding places of keys, compared with a dictionary."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from omniflow.cache.index import KeyIndex

# Few first halves, so that many keys share theirs.
KEYS = st.builds(
    lambda high, low: high.to_bytes(8, "little") + low.to_bytes(8, "little"),
    st.sampled_from([0, 1, 2**63, 2**64 - 1]),
    st.integers(0, 2**64 - 1) | st.integers(0, 3),
)
SHARDS = st.lists(st.lists(KEYS, min_size=1, max_size=6, unique=True), max_size=5)


def as_array(keys):
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 16)


@given(shards=SHARDS, wanted=st.lists(KEYS, min_size=1, max_size=8), gone=st.integers(0, 4))
def test_an_index_finds_what_a_dictionary_finds(shards, wanted, gone):
    index = KeyIndex()
    for number, keys in enumerate(shards):
        index.add(number, as_array(keys))
    index.find(wanted)
    index.remove(gone)
    places = {
        (key, number, row)
        for number, keys in enumerate(shards)
        for row, key in enumerate(keys)
        if number != gone
    }
    assert len(index) == len(places)
    wanted = wanted + [key for keys in shards for key in keys]
    for key, shard, row in zip(wanted, *(a.tolist() for a in index.find(wanted)), strict=True):
        if (shard, row) == (-1, -1):
            assert not any(key == held for held, _, _ in places)
        else:
            assert (key, shard, row) in places


def test_a_million_keys_are_found_and_strangers_are_not():
    random = np.random.default_rng(0)
    keys = random.integers(0, 256, (1_000_000, 16), dtype=np.uint8)
    index = KeyIndex()
    for number, part in enumerate(np.split(keys, 100)):
        index.add(number, part)
    rows = random.integers(0, 1_000_000, 64)
    shards, places = index.find([keys[row].tobytes() for row in rows])
    assert (shards * 10_000 + places == rows).all()
    strangers = random.integers(0, 256, (64, 16), dtype=np.uint8)
    assert (index.find([key.tobytes() for key in strangers])[0] == -1).all()
