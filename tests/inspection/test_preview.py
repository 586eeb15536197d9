"""Pages of samples."""

import re

import numpy as np
import pytest

from omniflow.errors import ConfigError, DataError
from omniflow.inspection.preview import preview
from omniflow.interfaces import Audio, Dataset, Sample
from omniflow.registry import Component, Origin

from .conftest import TRAIN, write_table


def test_a_page_shows_what_records_bring_and_asks_for_nothing(recipe_of, table_of, registry, pets):
    rows = [("<script>alert('pet')</script>", "0.png", "dog.wav", ""), ("a cat", "1.png", "", ""),
            ("a bird", "none.png", "", "")]  # fmt: skip
    write_table(pets / "train.csv", rows)
    page = preview(recipe_of(table_of), registry, limit=24)
    assert (page.shown, page.failed) == (3, 1)
    html = page.html
    assert html.count('src="data:image/png;base64,') == 2
    assert html.count('<audio controls src="data:audio/wav;base64,') == 1
    assert "&lt;script&gt;alert(&#x27;pet&#x27;)&lt;/script&gt;" in html
    assert "train:3<br>image: 32 x 24<br>serves i2t, t2i" in html
    assert "audio: 0.5 s, 8,000 Hz, 1 channel" in html
    assert '<figure class="bad"><figcaption>train:4<br>cannot be read: ' in html
    assert "<h2>csv, train</h2>" in html
    assert "columns: caption (text), image (image), audio (audio)" in html
    assert not re.search(r"https?:|<script|<link", html)
    assert "default-src 'none'" in html


def test_several_datasets_share_the_page(recipe_of, table_of, registry):
    scenes = {"name": "scenes", "size": 10, "streaming": True}
    page = preview(recipe_of([table_of, scenes]), registry, limit=6)
    assert page.shown == 6
    assert "3 records, of 20" in page.html
    assert "3 records, the first of a stream" in page.html
    # Spread evenly, the last one among them.
    assert f"train:{TRAIN + 1}" in page.html


def test_large_media_are_made_small_and_strange_ones_are_told(recipe_of, registry):
    class Large(Dataset):
        def __init__(self, *, split: str) -> None:
            self.split = split

        def __len__(self):
            return 2

        def __getitem__(self, index):
            from PIL import Image

            if index == 1:
                return Sample("odd", audio=Audio(np.full((1, 900), np.nan, np.float32), 8_000))
            noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), dtype=np.uint8)
            wave = np.zeros((2, 48_000 * 30), np.float32)
            return Sample("large", image=Image.fromarray(noise), audio=Audio(wave, 48_000))

    registry.add([Component("dataset", "large", Large, "Large", Origin("tests", "0"))])
    page = preview(recipe_of("large"), registry)
    assert (page.shown, page.failed) == (2, 1)
    assert "image: 1200 x 900" in page.html
    assert "audio: 30.0 s, the first 10 s here, 48,000 Hz, 2 channels" in page.html
    assert "data:image/jpeg;base64," in page.html
    # Ten seconds of 16 bits at 16 kHz, in base64.
    assert len(page.html) < 10 * 32_000 * 4 / 3 + 100_000
    assert "odd<br>cannot be read: " in page.html
    assert "not finite" in page.html


def test_what_cannot_be_shown_is_refused(recipe_of, table_of, registry):
    with pytest.raises(ConfigError, match="limit is 0"):
        preview(recipe_of(table_of), registry, limit=0)
    with pytest.raises(DataError, match="there is no split 'trian'"):
        preview(recipe_of(table_of), registry, split="trian")
