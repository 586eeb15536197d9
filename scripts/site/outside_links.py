"""Links of pages that lead out of docs/: what they name becomes a page of the site as well."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")

#: How the text of a file is coloured, for the kinds that are shown of a folder.
_LANGUAGES = {".py": "python", ".toml": "toml", ".md": "markdown", ".yml": "yaml", ".yaml": "yaml"}

#: Folders that tools make.
_MADE = {"__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".venv", "build", "dist"}

#: Folder of the site for these pages.
PLACE = "source"


class Outside:
    """The repository's files that are not in docs/ and yet linked to.

    Args:
        docs: The folder of pages.
        root: The repository.
    """

    def __init__(self, docs: Path, root: Path) -> None:
        self.docs, self.root = docs.resolve(), root.resolve()

    def pages(self, sources: Iterable[Path]) -> dict[str, str]:
        """Address in the site -> Markdown, for all that the sources link to, and what that does."""
        waiting = [target for source in sources for target in self._named(source)]
        made: dict[str, str] = {}
        while waiting:
            target = waiting.pop()
            address = self._address(target)
            if address not in made:
                made[address] = self._page(target, address)
                waiting += self._named(target)
        return made

    def turned(self, markdown: str, source: Path, address: str) -> str:
        """Text of a file with its links as they must be on the page with this address."""

        def turn(match: re.Match[str]) -> str:
            target = self._target(source, match[1])
            if target is None:
                return match[0]
            here = posixpath.dirname(address)
            return f"]({posixpath.relpath(self._address(target), here)}{match[2] or ''})"

        return _LINK.sub(turn, markdown)

    def _named(self, source: Path) -> list[Path]:
        if source.suffix != ".md" or source.is_dir():
            return []
        links = _LINK.findall(source.read_text(encoding="utf-8"))
        targets = [self._target(source, link) for link, _ in links]
        return [each for each in targets if each and not each.is_relative_to(self.docs)]

    def _target(self, source: Path, link: str) -> Path | None:
        """What a link leads to, if that is there and in the repository; mkdocs tells the others."""
        target = (source.parent / link).resolve()
        return target if target.exists() and target.is_relative_to(self.root) else None

    def _address(self, target: Path) -> str:
        if target.is_relative_to(self.docs):
            return target.relative_to(self.docs).as_posix()
        path = target.relative_to(self.root).as_posix()
        if target.is_dir():
            return f"{PLACE}/{path}/index.md"
        return f"{PLACE}/{path}" if target.suffix == ".md" else f"{PLACE}/{path}.md"

    def _page(self, target: Path, address: str) -> str:
        if target.suffix == ".md":
            return self.turned(target.read_text(encoding="utf-8"), target, address)
        name = target.relative_to(self.root).as_posix()
        if target.is_file():
            return f"# {name}\n\n{_shown(target)}"
        parts = [
            f"## `{file.relative_to(target).as_posix()}`\n\n{_shown(file)}"
            for file in sorted(target.rglob("*"))
            if file.is_file() and file.suffix in _LANGUAGES and not _is_made(file, target)
        ]
        return "\n\n".join([f"# {name}", *parts])


def _shown(file: Path) -> str:
    # Longer than any fence in the file itself.
    fence = "`````"
    text = file.read_text(encoding="utf-8").rstrip()
    return f"{fence}{_LANGUAGES.get(file.suffix, 'text')}\n{text}\n{fence}"


def _is_made(file: Path, folder: Path) -> bool:
    """Whether a tool made it: caches, builds, environments."""
    folders = file.relative_to(folder).parts[:-1]
    return any(name in _MADE or name.endswith(".egg-info") for name in folders)
