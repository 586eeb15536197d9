"""What mkdocs calls while it builds the site: see mkdocs.yml.

Pages with a marker get what is made from the code in its place, so that docs/ holds readable pages
and the reference cannot be out of date.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

# The reference is of what is built in, whatever plugins are installed here.
os.environ["OMNIFLOW_DISABLE_PLUGINS"] = "all"

# mkdocs has this folder on the path only while it imports this file.
from api_reference import api_reference
from command_reference import command_reference
from component_reference import component_reference
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File
from outside_links import Outside
from requests_out import requests_out

#: What a page has in the place of a reference.
MARKERS = {
    "<!-- reference: commands -->": command_reference,
    "<!-- reference: components -->": component_reference,
    "<!-- reference: python -->": api_reference,
}

ROOT = Path(__file__).parents[2]


def on_files(files: Any, config: Any) -> Any:
    """Add a page for everything outside docs/ that pages link to."""
    outside = Outside(Path(config.docs_dir), ROOT)
    for path, content in outside.pages(Path(config.docs_dir).rglob("*.md")).items():
        files.append(File.generated(config, path, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Put references in the place of their markers, and turn links that lead out of docs/."""
    if page.file.abs_src_path is None or page.file.generated_by is not None:
        return markdown
    for marker, make in MARKERS.items():
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    outside = Outside(Path(config.docs_dir), ROOT)
    return outside.turned(markdown, Path(page.file.abs_src_path), page.file.src_uri)


def on_post_build(config: Any) -> None:
    """Refuse a site that asks anything of another host."""
    found = requests_out(Path(config.site_dir))
    if found:
        raise PluginError("pages ask for what lies elsewhere: " + "; ".join(found))
