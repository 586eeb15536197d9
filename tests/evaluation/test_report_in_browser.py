"""The page in a real browser: on a laptop and a phone, in light and dark, and its controls."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from omniflow.evaluation.comparison import compare
from omniflow.evaluation.entries import Entry, read_entries
from omniflow.evaluation.report.page import write_report
from omniflow.evaluation.run_samples import RunSample, to_json
from omniflow.interfaces.dataset import Audio
from omniflow.media.audio import write_wav

NASTY = '</script><script>document.title = "owned"</script><img src="http://127.0.0.1:9/x.png">'


@pytest.fixture(scope="module")
def page(two_runs, make_predictions, make_run, tmp_path_factory):
    """A report with all that there can be in one."""
    root = tmp_path_factory.mktemp("page")
    Image.new("RGB", (64, 64), "red").save(root / "a.png")
    write_wav(root / "a.wav", Audio(np.zeros((1, 1600), np.float32), 16_000))
    predictions = make_predictions(
        400, made=lambda place, text: f"{NASTY} needle" if place == 5 else text
    )
    first = replace(predictions.records[0], image=str(root / "a.png"), audio=str(root / "a.wav"))
    predictions = replace(predictions, records=(first, *predictions.records[1:]))
    long_name = "a-run-with-a-name-that-goes-on-and-on-until-no-phone-has-room-for-it" * 2
    entries = read_entries(two_runs)
    samples = [RunSample("v0", "t2t", {"text": "a circle"}, {"text": NASTY}, "a circle", 0.5)]
    folder = two_runs[0] / "samples"
    folder.mkdir(exist_ok=True)
    for step in (0, 10):
        (folder / f"step-{step}.json").write_text(json.dumps(to_json(step, samples)))
    entries.append(Entry(long_name, root, predictions=predictions))
    write_report(root / "report.html", compare(entries, resamples=100))
    return root / "report.html"


@pytest.fixture
def shown(browser, page):
    """The page, loaded anew at a size."""

    def show(width, height, *, dark=False):
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(page.as_uri())
        run = browser.execute_script
        return SimpleNamespace(
            run=run,
            count=lambda: run("return document.getElementById('count').textContent"),
            rows=lambda: run("return document.querySelectorAll('#list .row').length"),
        )

    return show


def search(shown_page, words):
    shown_page.run(
        "const box = document.getElementById('search'); box.value = arguments[0];"
        "box.dispatchEvent(new Event('input'))",
        words,
    )


def test_it_asks_nobody_and_complains_of_nothing(browser, shown, page):
    for log in ("browser", "performance"):
        browser.get_log(log)
    opened = shown(1366, 900)
    search(opened, "needle")
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        event["params"]["request"]["url"].split(",")[0][:60]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert page.as_uri()[:60] in asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "chrome:"))] == []
    assert browser.get_log("browser") == []
    # What a prediction holds is text, and nothing else.
    assert browser.title == "Comparison of runs"
    assert opened.run("return document.querySelectorAll('#list img').length") == 0
    assert NASTY in opened.run("return document.getElementById('list').textContent")


def test_search_and_kinds_choose_rows(shown):
    opened = shown(1366, 900)
    assert opened.rows() == 25
    opened.run("document.getElementById('more').click()")
    # All that the three runs share.
    assert opened.rows() == 40
    search(opened, "NEEDLE")
    assert (opened.rows(), opened.count()) == (1, "1 of 1 shown")
    search(opened, "no such words anywhere")
    assert (opened.rows(), opened.count()) == (0, "nothing found")
    search(opened, "")
    opened.run("document.querySelector('button[data-kind=different]').click()")
    pressed = opened.run("return document.querySelector('[aria-pressed=true]').textContent")
    assert pressed == "most different"
    kinds = opened.run("return [...document.querySelectorAll('.row header')].map(x => x.innerText)")
    assert kinds
    assert all("most different" in kind for kind in kinds)


def test_wrong_words_are_marked(shown):
    opened = shown(1366, 900)
    search(opened, "r1 blue star")
    marked = opened.run("return [...document.querySelectorAll('mark')].map(x => x.textContent)")
    assert {"blue", "star"} <= set(marked)
    assert "a" not in marked


def test_pictures_and_sounds_can_be_seen_and_heard(shown):
    opened = shown(1366, 900)
    search(opened, "r0")
    assert opened.run(
        "const image = document.querySelector('#list img');"
        "return image.decode().then(() => image.naturalWidth)"
    ) == 64  # fmt: skip
    assert opened.run("return document.querySelector('#list audio').controls") is True


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 568), (1366, 900)])
def test_nothing_is_wider_than_the_screen(shown, width, height, dark):
    opened = shown(width, height, dark=dark)
    assert opened.run("return document.documentElement.scrollWidth") <= width
    background = opened.run("return getComputedStyle(document.body).backgroundColor")
    red, *_ = (int(part) for part in background.removeprefix("rgb(").rstrip(")").split(","))
    assert (red < 60) is dark


def test_curves_tell_their_values(shown):
    opened = shown(1366, 900)
    told = opened.run(
        "const svg = document.querySelector('.curve svg'), box = svg.getBoundingClientRect();"
        "svg.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 4}));"
        "return document.querySelector('.curve .readout').textContent"
    )
    assert told == "step 50: half 1.1765 · most 1.0882"
