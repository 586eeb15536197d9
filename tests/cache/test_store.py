"""Entries on disk: what comes back, what is found damaged, who else may write."""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_cache import ABOUT, IDENTITY, keys_of, values_of

import omniflow.cache.store as store_module
from omniflow.cache.limit import clear, contents, evict, sweep
from omniflow.cache.merging import SMALL_SHARDS
from omniflow.cache.shards import DamagedShardError, Shard, write_shard
from omniflow.cache.store import CacheStore
from omniflow.errors import OmniFlowError, UsageError


def read(space, numbers):
    """The numbers that are found, whose values are those they should be."""
    values, missing = space.gather(keys_of(numbers))
    found = [i for i in range(len(numbers)) if i not in missing]
    if found:
        assert torch.equal(values[found], values_of([numbers[i] for i in found]).to(values.dtype))
    return [numbers[i] for i in found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_values_come_back_bit_for_bit_in_any_order(open_store, dtype):
    store, space = open_store()
    store.keep(space, keys_of(range(50)), values_of(range(50), dtype=dtype))
    store.close()
    _, space = open_store()
    order = [7, 3, 3, 49, 0]
    values, missing = space.gather(keys_of(order))
    assert missing == []
    assert values.dtype == dtype
    assert torch.equal(values, values_of(order, dtype=dtype))


def test_nan_and_minus_zero_come_back_as_they_were(open_store):
    store, space = open_store()
    odd = torch.tensor([[float("nan"), -0.0, float("inf")]])
    store.keep(space, keys_of([1]), odd)
    store.close()
    values, _ = open_store()[1].gather(keys_of([1]))
    assert torch.equal(values.view(torch.int32), odd.view(torch.int32))


def test_what_is_put_is_found_before_it_is_written(open_store, shards):
    store, space = open_store()
    store.keep(space, keys_of([1, 2]), values_of([1, 2]))
    assert shards() == []
    assert read(space, [2, 5, 1]) == [2, 1]
    assert len(space) == 2


def test_values_that_were_put_do_not_change_with_the_tensor(open_store):
    store, space = open_store()
    values = values_of([1])
    store.keep(space, keys_of([1]), values)
    values.zero_()
    assert read(space, [1]) == [1]


def test_a_batch_may_come_from_several_shards_and_from_memory(open_store):
    for numbers in ([1, 2], [3], [4, 5]):
        store, space = open_store()
        store.keep(space, keys_of(numbers), values_of(numbers))
        store.close()
    store, space = open_store()
    store.keep(space, keys_of([6]), values_of([6]))
    assert read(space, [6, 5, 9, 1, 3, 2]) == [6, 5, 1, 3, 2]


@settings(max_examples=20, deadline=None)
@given(
    actions=st.lists(
        st.one_of(
            st.tuples(st.just("keep"), st.lists(st.integers(0, 30), min_size=1, unique=True)),
            st.tuples(st.just("read"), st.lists(st.integers(0, 30), min_size=1)),
            st.tuples(st.just("flush"), st.just([])),
            st.tuples(st.just("reopen"), st.just([])),
        ),
        max_size=12,
    )
)
def test_a_store_finds_what_a_dictionary_finds(actions):
    with tempfile.TemporaryDirectory() as folder:
        act(Path(folder), actions)


def act(folder, actions):
    store = CacheStore(folder)
    held = set()
    for action, numbers in actions:
        space = store.space(IDENTITY, ABOUT)
        if action == "keep":
            store.keep(space, keys_of(numbers), values_of(numbers))
            held.update(numbers)
        elif action == "read":
            assert read(space, numbers) == [number for number in numbers if number in held]
        elif action == "flush":
            store.flush()
        else:
            store.close()
            store = CacheStore(folder)


def test_a_process_sees_what_another_writes_meanwhile(open_store):
    _, reader = open_store()
    writer, space = open_store()
    assert read(reader, [1, 2]) == []
    for number in (1, 2):
        writer.keep(space, keys_of([number]), values_of([number]))
        writer.flush()
        assert read(reader, [number]) == [number]


FILL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[4])
from tests_cache import ABOUT, IDENTITY, keys_of, values_of
from omniflow.cache.store import CacheStore
store = CacheStore(Path(sys.argv[1]))
space = store.space(IDENTITY, ABOUT)
print("ready", flush=True)
sys.stdin.readline()
for start in range(int(sys.argv[2]), int(sys.argv[3]), 5):
    numbers = range(start, start + 5)
    missing = space.gather(keys_of(numbers))[1]
    if missing:
        chosen = [numbers[i] for i in missing]
        store.keep(space, keys_of(chosen), values_of(chosen))
        store.flush()
    print(start, flush=True)
store.close()
"""


def start_filling(folder, first, last):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            FILL,
            str(folder),
            str(first),
            str(last),
            str(Path(__file__).parent),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_two_processes_fill_at_once_without_losing_anything(tmp_path, open_store):
    folder = tmp_path / "cache"
    both = [start_filling(folder, 0, 60), start_filling(folder, 20, 80)]
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in both:
        process.communicate(timeout=60)
        assert process.returncode == 0
    store, space = open_store()
    assert read(space, list(range(80))) == list(range(80))
    assert store.counts.damaged == 0
    # Entries that both have computed may lie there twice, and are merged when they are written.
    assert 80 <= len(space) <= 120
    assert len(list(folder.rglob("*.tmp"))) == 0


def test_a_process_killed_while_it_writes_leaves_the_cache_whole(tmp_path, open_store):
    process = start_filling(tmp_path / "cache", 0, 100_000)
    process.stdin.write("go\n")
    process.stdin.flush()
    written = 0
    while written < 30:
        written = int(process.stdout.readline())
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    store, space = open_store()
    assert read(space, list(range(30))) == list(range(30))
    store.keep(space, keys_of([-1]), values_of([-1]))
    store.close()
    assert store.counts.damaged == 0
    assert read(open_store()[1], [-1, 5]) == [-1, 5]


def test_half_written_files_of_killed_processes_go_after_an_hour(filled, shards):
    folder = shards()[0].parent
    old, young = folder / ".a.safetensors.1.tmp", folder / ".a.safetensors.2.tmp"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (time.time() - 7200,) * 2)
    sweep(folder)
    assert not old.exists()
    assert young.exists()


@pytest.mark.parametrize("left", ["{", "", None])
def test_entries_whose_description_is_lost_are_described_anew_and_can_be_cleared(
    filled, open_store, shards, left
):
    [about] = filled.rglob("about.json")
    about.unlink() if left is None else about.write_text(left)
    assert contents(filled) == []
    _, space = open_store()
    assert read(space, [3]) == [3]
    [found] = contents(filled)
    assert found.entries == 10
    clear(filled)
    assert shards() == []


def damage_truncate(data):
    return data[: len(data) // 2]


def damage_value(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def damage_key(data):
    position = data.index(keys_of([4])[0])
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


def damage_header(data):
    return data.replace(b'"F32"', b'"I32"')


def damage_order(data):
    # Two values change places: each is whole, and neither belongs to its key.
    first, second = (value.numpy().tobytes() for value in values_of([2, 3]))
    return data.replace(first, b"@" * 24).replace(second, first).replace(b"@" * 24, second)


def damage_empty(data):
    return b""


@pytest.mark.parametrize(
    "damage",
    [damage_truncate, damage_value, damage_key, damage_header, damage_order, damage_empty],
)
def test_a_damaged_shard_is_told_counted_and_computed_anew(
    filled, shards, open_store, caplog, damage
):
    shard = shards()[0]
    data = shard.read_bytes()
    assert damage(data) != data
    shard.write_bytes(damage(data))
    store, space = open_store()
    assert read(space, list(range(10))) == []
    assert store.counts.damaged == 1
    assert "is damaged" in caplog.text
    assert str(shard) in caplog.text
    assert "computed anew" in caplog.text
    assert not shard.exists()
    store.keep(space, keys_of(range(10)), values_of(range(10)))
    store.close()
    assert read(open_store()[1], list(range(10))) == list(range(10))


def test_the_undamaged_shards_beside_a_damaged_one_are_used(filled, shards, open_store):
    store, space = open_store()
    store.keep(space, keys_of([20]), values_of([20]))
    store.close()
    victim = next(path for path in shards() if len(Shard(path, space.digest)) == 10)
    victim.write_bytes(damage_value(victim.read_bytes()))
    assert read(open_store()[1], [3, 20]) == [20]


def test_a_shard_of_another_space_is_not_used(filled, shards, open_store):
    with pytest.raises(DamagedShardError, match="metadata"):
        Shard(shards()[0], "0" * 32)


def test_another_identity_never_finds_an_entry(filled, open_store):
    store, space = open_store()
    assert read(space, [1]) == [1]
    for change in ({"weights": "b"}, {"work": "words"}, {"max_length": "3"}):
        assert read(store.space({**IDENTITY, **change}, ABOUT), [1]) == []
    assert store.space(dict(reversed(IDENTITY.items())), ABOUT) is space


def full_disk(path, space, keys, values):
    path.write_bytes(b"half")
    raise OmniFlowError(f"cannot be written ({os.strerror(errno.ENOSPC)})", where=str(path))


def test_a_full_disk_ends_the_writing_and_not_the_run(open_store, caplog):
    store, space = open_store(write=full_disk)
    store.keep(space, keys_of([1, 2]), values_of([1, 2]))
    store.flush()
    assert "not added to any more" in caplog.text
    assert "No space left" in caplog.text
    assert read(space, [1]) == []
    store.keep(space, keys_of([3]), values_of([3]))
    store.close()
    assert caplog.text.count("not added to any more") == 1
    assert store.counts.lost == 3
    assert store.counts.written == 0


def test_a_full_disk_is_an_error_where_filling_is_the_purpose(open_store):
    store, space = open_store(write=full_disk, is_strict=True)
    store.keep(space, keys_of([1]), values_of([1]))
    with pytest.raises(OmniFlowError, match="No space left"):
        store.close()


def test_the_operating_systems_refusal_is_met_as_well(open_store, monkeypatch, caplog):
    def no_room(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    store, space = open_store()
    store.keep(space, keys_of([1]), values_of([1]))
    monkeypatch.setattr(os, "replace", no_room)
    store.close()
    assert "No space left" in caplog.text
    assert list(store.folder.rglob("*.tmp")) == []


def test_room_is_left_to_others(open_store, monkeypatch, caplog):
    store, space = open_store()
    monkeypatch.setattr(store_module, "RESERVED_BYTES", 2**62)
    store.keep(space, keys_of([1]), values_of([1]))
    store.close()
    assert "to be left to others" in caplog.text
    assert store.counts.lost == 1


def test_a_file_in_the_place_of_the_cache_is_refused(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(UsageError, match="is a file, expected a folder for the cache"):
        CacheStore(tmp_path / "cache")


def test_the_longest_unused_goes_first(open_store, shards):
    ages = {}
    for number in range(4):
        store, space = open_store()
        store.keep(space, keys_of([number]), values_of([number]))
        store.close()
        new = (set(shards()) - set(ages)).pop()
        ages[new] = number
        os.utime(new, (1000 * number + 1000,) * 2)
    # The oldest is used, the second oldest is now the first to go.
    assert read(open_store()[1], [0]) == [0]
    size = max(path.stat().st_size for path in shards())
    freed = evict(store.folder, 2 * size)
    assert freed.shards == 2
    assert read(open_store()[1], [0, 1, 2, 3]) == [0, 3]


def test_a_limit_is_kept_while_filling(open_store, monkeypatch, shards):
    monkeypatch.setattr(store_module, "SHARD_BYTES", 24)
    store, space = open_store(limit_bytes=2500)
    for number in range(12):
        store.keep(space, keys_of([number]), values_of([number]))
        assert sum(path.stat().st_size for path in shards()) <= 2500
    assert read(space, [11]) == [11]
    assert len(read(space, list(range(12)))) < 12


def test_what_was_cleared_meanwhile_is_missing_and_not_an_error(filled, open_store):
    store, space = open_store()
    clear(store.folder)
    assert read(space, [1, 2]) == []
    assert store.counts.damaged == 0


def test_small_shards_become_one(open_store, shards):
    for number in range(SMALL_SHARDS):
        reader = open_store()[1]
        store, space = open_store()
        # The number before is put again, as if two processes had computed it.
        numbers = [max(0, number - 1), number] if number else [0]
        store.keep(space, keys_of(numbers), values_of(numbers))
        store.close()
    assert len(shards()) == 1
    assert read(reader, list(range(SMALL_SHARDS))) == list(range(SMALL_SHARDS))
    space = open_store()[1]
    assert len(space) == SMALL_SHARDS
    assert read(space, list(range(SMALL_SHARDS))) == list(range(SMALL_SHARDS))


def test_shards_of_different_shapes_are_not_merged_into_one(open_store, shards, tmp_path):
    store, space = open_store()
    for number in range(2 * SMALL_SHARDS):
        values = values_of([number]) if number % 2 else values_of([number]).flatten(1)
        write_shard(space.folder / f"{number}.safetensors", space.digest, keys_of([number]), values)
    store.keep(space, keys_of([100]), values_of([100]))
    store.close()
    space = open_store()[1]
    odd = list(range(1, 2 * SMALL_SHARDS, 2))
    assert read(space, odd) == odd


def test_pages_are_let_go_of_and_read_again(filled, open_store, monkeypatch):
    import omniflow.cache.space as space_module

    monkeypatch.setattr(space_module, "MAPPED_BYTES", 0)
    space = open_store()[1]
    assert read(space, [1, 2]) == [1, 2]
    assert all(shard._values is None for shard in space._shards.values())
    assert read(space, [2, 3]) == [2, 3]


def test_contents_tell_what_there_is(filled, open_store, tmp_path):
    (tmp_path / "cache" / "mine").mkdir()
    (tmp_path / "cache" / "mine" / "a.safetensors").write_text("not of the cache")
    [space] = contents(filled)
    assert (space.component, space.work, space.source) == tuple(ABOUT.values())
    assert (space.entries, space.shards) == (10, 1)
    assert space.size == sum(path.stat().st_size for path in space.folder.glob("*.safetensors"))
    about = json.loads((space.folder / "about.json").read_text())
    assert about["identity"] == IDENTITY


def test_clearing_removes_what_is_old_and_nothing_else(filled, open_store, shards, tmp_path):
    mine = tmp_path / "cache" / "mine"
    mine.mkdir()
    (mine / "a.safetensors").write_text("not of the cache")
    store, space = open_store()
    store.keep(space, keys_of([20]), values_of([20]))
    store.close()
    old = next(path for path in shards() if mine not in path.parents and path.stat().st_size > 600)
    os.utime(old, (time.time() - 40 * 86400,) * 2)
    freed = clear(filled, older_than_days=30)
    assert (freed.entries, freed.shards) == (10, 1)
    assert read(open_store()[1], [1, 20]) == [20]
    assert clear(filled).entries == 1
    assert contents(filled) == []
    assert [path.name for path in filled.iterdir()] == ["mine"]
    assert clear(tmp_path / "nothing").shards == 0


def test_a_file_in_the_place_of_entries_is_told(open_store, tmp_path):
    _, space = open_store()
    space.folder.parent.mkdir(parents=True, exist_ok=True)
    space.folder.write_text("mine")
    with pytest.raises(UsageError) as caught:
        open_store()
    assert str(caught.value) == (
        f"{space.folder}: cannot be read (Not a directory), "
        "expected a folder of the cache, or --no-cache"
    )
    assert space.folder.read_text() == "mine"
