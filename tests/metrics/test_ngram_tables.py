"""N-grams by record, a table at a time: the same as counting them in a dictionary."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omniflow.interfaces.metric import Prediction
from omniflow.metrics import ngram_tables as module
from omniflow.metrics.cider import CIDErD
from omniflow.metrics.distinct import Distinct
from omniflow.metrics.ngram_tables import ngram_tables

#: Few different keys, so that records share some, the smallest and the largest among them.
KEYS = st.sampled_from([0, 1, 7, 2**32, 2**63, 2**64 - 2, 2**64 - 1]) | st.integers(0, 40)
RECORDS = st.lists(st.sets(KEYS, max_size=8), max_size=12)


@settings(max_examples=80, deadline=None)
@given(records=RECORDS, limit=st.integers(1, 60), block=st.integers(1, 30))
def test_every_key_is_in_one_table_with_who_has_it(records, limit, block):
    arrays = [np.array(sorted(record), np.uint64) for record in records]
    tables = list(ngram_tables(lambda: iter(arrays), limit=limit, block=block))
    assert all(len(table.keys) <= limit for table in tables)
    found = [
        row for table in tables for row in zip(table.keys, table.counts, table.owners, strict=True)
    ]
    holders = {
        key: [number for number, record in enumerate(records) if key in record]
        for key in set().union(*records)
    }
    assert [tuple(map(int, row)) for row in found] == [
        (key, len(holders[key]), holders[key][0]) for key in sorted(holders)
    ]


@pytest.mark.parametrize("metric", [CIDErD(), Distinct(), Distinct(order=4)])
def test_figures_do_not_depend_on_how_much_fits(metric, monkeypatch):
    rng = np.random.default_rng(0)

    def text():
        return " ".join(rng.choice(list("abcdefgh"), rng.integers(0, 9)))

    records = [
        Prediction(id=str(number), task="i2t", prediction=text(), references=(text(), text()))
        for number in range(40)
    ]
    whole = metric.compute(records)
    monkeypatch.setattr(module, "ngram_tables", partial(ngram_tables, limit=9, block=20))
    parts = metric.compute(records)
    assert (parts.value, parts.details, parts.interval) == (
        whole.value, whole.details, whole.interval
    )  # fmt: skip
    if whole.records is not None:
        np.testing.assert_array_equal(parts.records.values, whole.records.values)
