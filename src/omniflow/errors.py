"""Everything that can go wrong, with the four facts that each mistake carries.

An error says what is wrong, where it was said, what was expected, and the nearest valid thing.
The facts are fields; the text is put together in `OmniFlowError.render` and nowhere else, so the
command line, Python and `--json` say the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar


class OmniFlowError(Exception):
    """A fault in the run itself; the base of every error of this library.

    Args:
        problem: What is wrong, in one clause, without a full stop.
        where: Where it was said: a flag, `file:line`, a record id.
        expected: What would have been right.
        nearest: The nearest valid things, best first.
        notes: Further lines, each a fact of its own ("heads: linear, mlp, vq").
    """

    exit_code: ClassVar[int] = 1

    def __init__(
        self,
        problem: str,
        *,
        where: str | None = None,
        expected: str | None = None,
        nearest: Sequence[str] = (),
        notes: Iterable[str] = (),
    ) -> None:
        self.problem = problem
        self.where = where
        self.expected = expected
        self.nearest = tuple(nearest)
        self.notes = tuple(notes)
        super().__init__(problem)

    def render(self) -> str:
        """The whole message: one line of what and where, then the facts that help."""
        line = f"{self.where}: {self.problem}" if self.where else self.problem
        if self.expected:
            line += f", expected {self.expected}"
        lines = [line]
        if self.nearest:
            lines.append(f"  did you mean: {', '.join(self.nearest)}")
        lines.extend(f"  {note}" for note in self.notes)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The facts as plain data, for `--json`."""
        return {
            "error": type(self).__name__,
            "problem": self.problem,
            "where": self.where,
            "expected": self.expected,
            "nearest": list(self.nearest),
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        return self.render()

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the constructor with the message alone, which subclasses refuse.
        return _restored, (type(self), self.args, self.__dict__)


class UsageError(OmniFlowError):
    """A person's mistake: bad configuration, a missing file, a name nobody registered."""

    exit_code: ClassVar[int] = 2


class ConfigError(UsageError):
    """An option has a value that it cannot have.

    Args:
        name: The option, as the person knows it (`codebook_size`, `head.codebook_size`).
        value: What was given.
        expected: What would have been right.
        where: The file and line, or the flag, when known.
        nearest: The nearest valid values.
        notes: Further lines.
    """

    def __init__(
        self,
        name: str,
        value: object,
        *,
        expected: str,
        where: str | None = None,
        nearest: Sequence[str] = (),
        notes: Iterable[str] = (),
    ) -> None:
        super().__init__(
            f"{name} is {value!r}", where=where, expected=expected, nearest=nearest, notes=notes
        )
        self.name = name
        self.value = value

    def located(self, prefix: str, where: str | None = None) -> ConfigError:
        """The same mistake, told with the full name of the option and where it was said."""
        return ConfigError(
            f"{prefix}.{self.name}",
            self.value,
            expected=self.expected or "",
            where=where or self.where,
            nearest=self.nearest,
            notes=self.notes,
        )


class UnknownNameError(UsageError):
    """A name that nobody registered, or an option that a component does not have.

    Args:
        what: What was looked for, as a noun without its article ("head", "option of head vq").
        name: The name that was given.
        known: The names there are.
        where: The flag or `file:line` where it was said.
        notes: Further lines, for example which plugins could not be loaded.
    """

    def __init__(
        self,
        what: str,
        name: str,
        known: Sequence[str],
        *,
        where: str | None = None,
        notes: Iterable[str] = (),
    ) -> None:
        listed = f"known: {', '.join(sorted(known))}" if known else "there is none"
        super().__init__(
            f"no {what} is called {name!r}",
            where=where,
            nearest=closest(name, known),
            notes=[listed, *notes],
        )
        self.what = what
        self.name = name


class MistakesError(UsageError):
    """Several mistakes found in one go; `errors` holds each of them."""

    def __init__(self, errors: Sequence[UsageError]) -> None:
        super().__init__(f"{len(errors)} things do not fit")
        self.errors = tuple(errors)

    def render(self) -> str:
        """Every mistake in full, one below the other."""
        return "\n".join([f"{self.problem}:", *(error.render() for error in self.errors)])

    def to_dict(self) -> dict[str, Any]:
        """The facts of every mistake."""
        return {**super().to_dict(), "errors": [error.to_dict() for error in self.errors]}


class PluginError(UsageError):
    """A plugin that cannot be loaded, or a name that two distributions claim."""


class DataError(UsageError):
    """A dataset, or a record of it, that cannot be read."""


class RecordError(DataError):
    """One record of a dataset that cannot be read; a run leaves it out, up to a limit, and tells.

    Args:
        record: Id of the record, as its sample would have it.
        reason: What is wrong with it, in one line.
        dataset: Name of the dataset, where several are read as one.
    """

    def __init__(self, record: str, reason: str, *, dataset: str | None = None) -> None:
        within = f"{dataset}, " if dataset else ""
        super().__init__(reason, where=f"{within}record {record}")
        self.record = record
        self.reason = reason
        self.dataset = dataset

    def within(self, dataset: str | None) -> RecordError:
        """The facts alone, told with the dataset that the record is of."""
        is_unserved = isinstance(self, UnservedRecordError)
        kind = UnservedRecordError if is_unserved else RecordError
        return kind(self.record, self.reason, dataset=dataset)


class UnservedRecordError(RecordError):
    """A record that can be read and is of no use: it serves no task of the run."""


# A TypeError too: that is how Python is told that something has no length, by `list` for example.
class UnknownLengthError(DataError, TypeError):
    """A dataset is asked for its length, which is not known before its end.

    Args:
        where: The dataset.
        expected: What is possible without.
    """

    def __init__(self, where: str, *, expected: str = "a dataset that is read by position") -> None:
        super().__init__(
            "it is streamed, and how many samples it has is only known at its end",
            where=where,
            expected=expected,
        )


class CheckpointError(UsageError):
    """A folder or file that is not a whole checkpoint of the expected kind."""


class TrainingError(OmniFlowError):
    """Training cannot go on: a loss that is not finite, no memory, a full disk."""


def _restored(
    error_type: type[OmniFlowError], args: tuple[Any, ...], facts: dict[str, Any]
) -> OmniFlowError:
    """An error as it was on the other side of a process or a copy."""
    error = error_type.__new__(error_type, *args)
    error.__dict__.update(facts)
    return error


def closest(name: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """The known names most like `name`, best first; empty when none is near."""
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=limit, cutoff=0.5)
    return [lowered[match] for match in matches]
