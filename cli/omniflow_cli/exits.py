"""How a command ends: every exception becomes one message and one exit code, here only."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import typer

from omniflow.errors import OmniFlowError, UsageError, closest
from omniflow.training.interrupts import InterruptedRunError
from omniflow_cli.spellings import of_scripts

OK = 0
FAULT = 1
MISTAKE = 2
#: A process that a signal ended is reported as this plus the signal's number.
SIGNALLED = 128
INTERRUPTED = SIGNALLED + 2

#: Base of what the argument parser raises. Typer has it from click, or brings a copy of click (from
#: 0.20 on); both ways it is the grandparent of `BadParameter`.
ParserError: type[BaseException] = typer.BadParameter.__mro__[2]


def exit_code_of(
    action: Callable[[], object], *, command: str = "omniflow", as_json: bool = False
) -> int:
    """Carry out a command and return its exit code; what went wrong is told on stderr.

    Args:
        action: The command; an int that it returns is the exit code.
        command: Its name as typed, for errors of the argument parser that do not know it.
        as_json: Whether errors also go to stdout, as JSON.
    """
    try:
        result = action()
        sys.stdout.flush()
    except OmniFlowError as error:
        return _told(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _interrupted()
    except BrokenPipeError:
        return _unread()
    except SystemExit as left:
        # Typer leaves the process itself when the reader of a pipe has gone.
        if isinstance(left.__context__, BrokenPipeError):
            return _unread()
        if "_OMNIFLOW_COMPLETE" in os.environ:
            return _code(left.code)
        # Nothing of ours leaves this way: a component called sys.exit.
        return _told(
            OmniFlowError(f"a component ended the process (SystemExit: {left.code})"), as_json
        )
    # The last line of defence: whatever gets here is a fault, and is told as one.
    except Exception as error:  # noqa: BLE001
        if isinstance(error, ParserError):
            return _told(_usage_error(error, command), as_json)
        return _fault(error, as_json)
    # Newer releases of typer return 130 in place of raising KeyboardInterrupt.
    return _interrupted() if result == INTERRUPTED else _code(result)


def _told(error: OmniFlowError, as_json: bool) -> int:
    typer.echo(f"error: {error.render()}", err=True)
    if as_json:
        typer.echo(json.dumps(error.to_dict(), ensure_ascii=False))
    if isinstance(error, InterruptedRunError):
        return SIGNALLED + error.signal_number
    return error.exit_code


def _fault(error: Exception, as_json: bool) -> int:
    if os.environ.get("OMNIFLOW_DEBUG", "0") not in ("", "0"):
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    text = " ".join(str(error).split())
    fault = OmniFlowError(
        f"internal fault: {type(error).__name__}: {text} (set OMNIFLOW_DEBUG=1 for the traceback)",
        # Longer ones are tracebacks.
        notes=[note for note in getattr(error, "__notes__", ()) if "\n" not in note],
    )
    return _told(fault, as_json)


def _interrupted() -> int:
    typer.echo("interrupted", err=True)
    return INTERRUPTED


def _unread() -> int:
    """Nobody reads our output any more, which is no fault of ours; say nothing further."""
    try:
        # Python flushes stdout once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno())  # type: ignore[union-attr]
    except (OSError, ValueError, AttributeError):
        return OK
    return OK


def _code(result: object) -> int:
    return result if isinstance(result, int) else OK


def _usage_error(error: BaseException, command: str) -> UsageError:
    """What the argument parser complains about, told the way our own errors are."""
    facts: Any = error
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else command
    notes = [f"see: {command} --help"]
    # Only the error about an unknown flag has possibilities.
    if hasattr(error, "possibilities"):
        flags = [] if context is None else _flags_of(context)
        today = of_scripts(command, facts.option_name)
        if today is not None:
            notes = [f"a flag of the research scripts; today: {today}", *notes]
            flags = []
        return UsageError(
            f"there is no flag {facts.option_name!r}",
            where=command,
            nearest=closest(facts.option_name, flags),
            notes=notes,
        )
    message = facts.format_message().rstrip(".").replace("\n", " ")
    if command == "omniflow evaluate" and "unexpected extra" in message:
        notes = ["names of metrics are separated by commas: --metrics bleu,rouge,meteor", *notes]
    return UsageError(message[:1].lower() + message[1:], where=command, notes=notes)


def _flags_of(context: Any) -> list[str]:
    return [
        flag
        for parameter in context.command.get_params(context)
        for flag in (*parameter.opts, *parameter.secondary_opts)
        if flag.startswith("--")
    ]
