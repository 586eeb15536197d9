"""Every link between documents leads somewhere: files are there, and so are headings."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])

_LINK = re.compile(r"\]\((?!\w+:)([^)\s#]*)(?:#([^)\s]+))?[^)]*\)")


def prose(document):
    """Without blocks and spans of code, in which brackets mean something else."""
    text = document.read_text(encoding="utf-8")
    text = re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(document):
    """Names of the headings, as the hosts of Markdown make them."""
    text = re.sub(
        r"^(`{3,}).*?^\1", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    headings = re.findall(r"^#+ +(.+?) *$", text, flags=re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "]", heading)).lower().replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    lost = []
    for path, anchor in _LINK.findall(prose(document)):
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            lost.append(f"{path}#{anchor}")
    assert lost == []


def test_a_lost_heading_would_be_seen(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One, two (3)\n\n[there](#one-two-3) [lost](#nothing)\n")
    with pytest.raises(AssertionError, match="#nothing"):
        test_every_link_leads_somewhere(page)


def test_the_chinese_readme_runs_what_the_english_one_runs():
    def code(name):
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        return [
            (language, [line.split("#")[0].rstrip() for line in block.splitlines()])
            for language, block in blocks
        ]

    def without_remarks(blocks):
        return [(language, [line for line in lines if line]) for language, lines in blocks]

    assert without_remarks(code("README.zh-CN.md")) == without_remarks(code("README.md"))
    for name, other in (("README.md", "README.zh-CN.md"), ("README.zh-CN.md", "README.md")):
        assert f"]({other})" in (ROOT / name).read_text(encoding="utf-8")
