"""Turn what a command printed into the picture of the README.

script -qec "make demo" /dev/null | python scripts/terminal_picture.py "make demo" FILE.svg
"""

from __future__ import annotations

import argparse
import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text


def main() -> None:
    """Read terminal output from stdin and write an SVG."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", help="shown as the prompt's line")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    console = Console(record=True, width=118, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ {options.command}", style="bold"))
    for line in sys.stdin.read().splitlines():
        console.print(Text.from_ansi(line.rstrip("\r")), soft_wrap=True)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    # The picture must not ask another server for a font.
    picture = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="omniflow"), flags=re.S)
    options.output.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
