import sys
from pathlib import Path

import pytest

from omniflow.cache.store import CacheStore

# Shared with the processes that tests start.
sys.path.insert(0, str(Path(__file__).parent))

from tests_cache import ABOUT, IDENTITY, keys_of, values_of


@pytest.fixture
def open_store(tmp_path):
    """A store on the test's folder, and its space of numbers."""

    def make(**options):
        store = CacheStore(tmp_path / "cache", **options)
        return store, store.space(IDENTITY, ABOUT)

    return make


@pytest.fixture
def filled(open_store):
    """A cache with the numbers 0 to 9, in one shard."""
    store, space = open_store()
    store.keep(space, keys_of(range(10)), values_of(range(10)))
    store.close()
    return store.folder


@pytest.fixture
def shards(tmp_path):
    return lambda: sorted((tmp_path / "cache").rglob("[!.]*.safetensors"))
