"""Checks and previews of data sets that come from the Hub."""

import pytest

from omniflow.draft import Draft
from omniflow.inspection.check import Extent, check_data
from omniflow.inspection.preview import preview
from omniflow.registry import Component, Origin
from omniflow.resolve import resolve


@pytest.mark.parametrize("streaming", [False, True])
def test_a_mixture_is_checked_and_shown(served, registry, small_backbone, streaming):
    registry.add([Component("backbone", "small", small_backbone, "Small", Origin("tests", "0"))])
    said = {
        "backbone": "small",
        "objective": {"name": "flow", "tasks": ["i2t", "t2a"], "max_length": 8},
        "dataset": [
            {"name": "coco", "streaming": streaming, "weight": 2},
            {"name": "audiocaps", "streaming": streaming, "weight": 1},
            {"name": "llava-cc3m", "streaming": streaming, "weight": 1, "validation_weight": 0},
        ],
    }
    recipe = resolve(Draft.from_mapping(said), registry)
    check = check_data(recipe, registry, extent=Extent(records=4))
    assert check.is_usable, [str(finding) for finding in check.findings]
    reports = {(report.dataset, report.split): report for report in check.splits}
    # Of no weight in validation, and not read there.
    assert ("coco", "validation") in reports
    assert ("llava-cc3m", "validation") not in reports
    coco, audiocaps = reports["coco", "train"], reports["audiocaps", "train"]
    assert coco.mix == {"text+image": 4}
    assert coco.tasks == {"i2t": 4, "t2a": 0}
    assert audiocaps.tasks == {"i2t": 0, "t2a": 4}
    assert (coco.columns["image"], coco.columns["answer"]) == ("image", "text")
    assert coco.tokens.cut > 0
    if streaming:
        assert (coco.size, coco.texts_read) == (None, 4)
    else:
        assert coco.size == coco.texts_read > 4
    page = preview(recipe, registry, limit=6)
    assert (page.shown, page.failed) == (6, 0)
    assert page.html.count("<img") == 4
    assert page.html.count("<audio") == 2
    for title in ("coco, train", "audiocaps, train", "llava-cc3m, train"):
        assert f"<h2>{title}</h2>" in page.html
