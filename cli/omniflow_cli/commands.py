"""How commands are parsed and helped: values as typed, pages in plain text, flags in sections."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from omniflow.errors import UnknownNameError


class _AsTyped:
    """Leaves the values of the command line as they are."""

    def coerce(self, value: Any, **_: Any) -> Any:
        return value


def _taken_as_typed(parameters: list[Any]) -> list[Any]:
    """Keep typer from converting values; all of ours are text, checked by the library.

    Typer 0.29 converts with pydantic, even text to text, and importing that takes longer than all
    else that listing components does. Other releases have no such method and lose nothing.
    """
    for parameter in parameters:
        if hasattr(parameter, "get_runtime_param"):
            parameter.get_runtime_param = _AsTyped
    return parameters


class Command(TyperCommand):
    """A command whose help lists its flags section by section (`rich_help_panel`)."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, the one for help among them."""
        return _taken_as_typed(super().get_params(ctx))

    def sections(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """Flags and what they do, by section, in the order in which the signature names these."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                section = getattr(parameter, "rich_help_panel", None)
                section = section or ("Arguments" if is_argument else "Options")
                sections.setdefault(section, []).append(record)
        # What every command has stands last.
        sections["Options"] = sections.pop("Options", [])
        return {title: records for title, records in sections.items() if records}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the sections."""
        for title, records in self.sections(ctx).items():
            with formatter.section(title):
                formatter.write_dl(records)


class CommandGroup(TyperGroup):
    """The commands, in the order of their registration; an unknown one is told as our errors."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The parameters, the one for help among them."""
        return _taken_as_typed(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names.

        Raises:
            UnknownNameError: If there is none of that name.
        """
        name = args[0]
        if not name.startswith("-") and name not in self.commands:
            raise UnknownNameError("command", name, list(self.commands), where="omniflow")
        return super().resolve_command(ctx, args)


def examples(*commands: str) -> str:
    """The end of a help page: command lines, each on a line of its own."""
    # A line of \b keeps the paragraph after it from being wrapped.
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)
