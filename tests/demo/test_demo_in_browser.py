"""The page in a real browser, with `tiny`: what is asked for is made, and nobody else is asked."""

import json
import os
from urllib.parse import urlsplit

import pytest
from PIL import Image

import omniflow
from omniflow.demo.models import OfferedModels
from omniflow.demo.server import served

#: Seconds that a loaded machine may take.
PATIENCE = 120


@pytest.fixture(scope="module")
def address():
    pytest.importorskip(
        "gradio", reason='gradio is not installed (pip install "omniflow-zoo[demo]")'
    )
    models = OfferedModels(
        {"tiny": lambda: omniflow.build(backbone="tiny", head="linear", refiner="none")}
    )
    with served(models) as address:
        yield address


class Page:
    """What a visitor does and sees."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_element("css selector", selector)

    def wait(self, condition, what):
        from selenium.common.exceptions import StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        waiting = WebDriverWait(
            self.browser, PATIENCE, 0.2, ignored_exceptions=(StaleElementReferenceException,)
        )
        return waiting.until(lambda _: condition(), f"no {what}; the page: {self.text()[-300:]}")

    def has(self, selector):
        return bool(self.browser.find_elements("css selector", selector))

    def text(self):
        return self.browser.execute_script("return document.body ? document.body.innerText : ''")

    def choose(self, *made):
        """Tick these and no others of what can be made."""
        for box in self.browser.find_elements("css selector", "#made input[type=checkbox]"):
            if box.is_selected() != (box.get_attribute("name") in made):
                box.click()

    def say(self, label, value):
        from selenium.webdriver.common.keys import Keys

        box = self.find(f"input[aria-label^='{label}'], #{label} textarea")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(value)

    def make(self):
        self.find("#make").click()

    def keep(self, name):
        """A screenshot, for whoever wants to look (DEMO_SCREENSHOTS=FOLDER)."""
        if folder := os.environ.get("DEMO_SCREENSHOTS"):
            self.browser.save_screenshot(os.path.join(folder, f"{name}.png"))


@pytest.fixture
def page(browser, address):
    """The page, opened anew, with two steps a sample."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(address)
    opened = Page(browser)
    opened.wait(lambda: opened.has("#make"), "button")
    opened.say("number input for Steps", "2")
    return opened


def asked(browser):
    """The addresses that the page has asked for anything since it was opened."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }


def test_a_picture_and_a_sound_are_made_of_a_text_and_nobody_else_is_asked(page, browser, address):
    page.say("given-text", "a red circle above a blue square")
    page.choose("image", "audio")
    page.make()
    page.wait(lambda: page.has("#made-image img") and "t2ia" in page.text(), "picture")
    page.wait(lambda: page.has("#made-audio"), "sound")
    page.keep("text-to-picture-and-sound")
    width = browser.execute_script("return document.querySelector('#made-image img').naturalWidth")
    assert width == 64
    assert "t2ia by tiny, seed 0" in page.text()
    hosts = {urlsplit(url).netloc for url in asked(browser) if url.startswith(("http", "ws"))}
    assert hosts == {urlsplit(address).netloc}


def test_a_text_is_made_of_a_picture(page, tmp_path):
    Image.new("RGB", (64, 64), "red").save(tmp_path / "given.png")
    page.find("#given-image input[type=file]").send_keys(str(tmp_path / "given.png"))
    page.wait(lambda: page.has("#given-image img"), "preview")
    page.choose("text")
    page.make()
    page.wait(lambda: "i2t by tiny" in page.text(), "text")
    page.keep("picture-to-text")
    assert page.find("#made-text textarea").get_attribute("value").strip()


def test_a_wish_that_makes_no_sense_is_told(page):
    page.say("given-text", "a red circle")
    page.choose("text")
    page.make()
    page.wait(lambda: "text cannot be given and made at once" in page.text(), "message")
    page.keep("mistake")
