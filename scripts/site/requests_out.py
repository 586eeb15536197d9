"""What the pages of a site load from other hosts."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

#: Elements that are loaded with the page; an anchor is not.
_LOADED = {"script", "link", "img", "iframe", "source", "audio", "video"}
_ADDRESSES = ("http:", "https:", "//")


class _Loads(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            is_address = name in ("src", "href", "srcset") and (value or "").startswith(_ADDRESSES)
            if tag in _LOADED and is_address:
                self.addresses.append(f"<{tag}> {value}")


def requests_out(site: Path) -> list[str]:
    """Pages and what they load from elsewhere, one line each; none if they stand alone."""
    found = []
    for page in sorted(site.rglob("*.html")):
        loads = _Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        found += [f"{page.relative_to(site)}: {address}" for address in loads.addresses]
    return found
