"""Datasets of a hundred thousand records and of a million: memory stays flat, batches come soon."""

import importlib
import sys
import time
from itertools import islice

import pytest

from omniflow.datasets.json_lines import JsonLinesDataset
from omniflow.datasets.text import TextDataset
from omniflow.training.order import SampleOrder

RECORDS = 100_000

#: Bytes of a text, about: all of them together are 25 MB.
BYTES = 250

#: Growth that is no leak: what allocators keep, and places that are remembered.
FLAT_MB = 10


def held_mb():
    """Memory of this process that is in use, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


def texts(count):
    filling = "a red circle above a blue square " * (BYTES // 33)
    return (f"{number} {filling}" for number in range(count))


@pytest.mark.parametrize("suffix", [".txt", ".parquet"])
def test_memory_stays_flat_while_a_hundred_thousand_texts_are_streamed(tmp_path, suffix):
    path = tmp_path / f"texts{suffix}"
    write(path)
    dataset = TextDataset(path=str(path), streaming=True, validation_share=0, test_share=0)
    order = SampleOrder(dataset, seed=0)
    order.samples(range(RECORDS // 5))
    seen = bytearray(RECORDS)
    before, blocks = held_mb(), sys.getallocatedblocks()
    for start in range(RECORDS // 5, RECORDS, 500):
        for sample in order.samples(range(start, start + 500)):
            seen[int(sample.text.partition(" ")[0])] += 1
    # Blocks too: memory that was free before would hide what is kept.
    assert sys.getallocatedblocks() - blocks < RECORDS // 10
    assert held_mb() - before < FLAT_MB
    assert (sum(seen), max(seen)) == (RECORDS * 4 // 5, 1)


def write(path):
    if path.suffix == ".parquet":
        arrow, parquet = map(importlib.import_module, ("pyarrow", "pyarrow.parquet"))
        lines = texts(RECORDS)
        with parquet.ParquetWriter(path, arrow.schema([("text", arrow.string())])) as writer:
            while batch := list(islice(lines, 5_000)):
                writer.write_table(arrow.table({"text": batch}))
        return
    with path.open("w", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in texts(RECORDS))


def test_the_first_batch_of_a_million_records_comes_within_five_seconds(tmp_path):
    path = tmp_path / "pets.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for start in range(0, 1_000_000, 10_000):
            numbers = range(start, start + 10_000)
            file.write("".join(f'{{"text": "pet {n}", "image": "{n}.png"}}\n' for n in numbers))
    start = time.process_time()
    dataset = JsonLinesDataset(path=str(path))
    dataset.restrict_to({"text"})
    first = SampleOrder(dataset, seed=0).samples(range(16))
    # Indexing included.
    assert time.process_time() - start < 5
    assert len(dataset) == pytest.approx(900_000, rel=0.01)
    assert len({sample.text for sample in first}) == 16
