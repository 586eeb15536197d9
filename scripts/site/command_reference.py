"""The reference of commands, from the commands themselves."""

from __future__ import annotations

import inspect
from typing import Any

import typer

from omniflow_cli.app import PROGRAM, app
from omniflow_cli.commands import Command


def command_reference() -> str:
    """Markdown: every command with its flags, section by section, and its examples."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name=PROGRAM)
    return "\n\n".join(_commands(group, context))


def _commands(group: Any, context: Any) -> list[str]:
    parts = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = typer.Context(command, info_name=name, parent=context)
        if isinstance(command, Command):
            parts.append(_page(command, inner))
        else:
            parts += _commands(command, inner)
    return parts


def _page(command: Command, context: Any) -> str:
    parts = [f"## {context.command_path}", _paragraphs(command.help or "")]
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    parts.append(f"```text\n{usage}\n```")
    for title, records in command.sections(context).items():
        # Between backticks a bar does not end a cell.
        rows = "\n".join(f"| `{flag}` | {_cell(told)} |" for flag, told in records)
        parts.append(f"| {title} | |\n| --- | --- |\n{rows}")
    examples = [line.strip() for line in (command.epilog or "").splitlines()]
    commands = "\n".join(line for line in examples if line.startswith(PROGRAM))
    if commands:
        parts.append(f"```bash\n{commands}\n```")
    return "\n\n".join(parts)


def _paragraphs(text: str) -> str:
    return inspect.cleandoc(text).replace("\b\n", "").replace("<", "&lt;")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
