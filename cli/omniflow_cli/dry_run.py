"""`omniflow train --dry-run`: what a run would meet, as tables or JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import typer

from omniflow.errors import ConfigError
from omniflow.plugins import installed_plugins
from omniflow_cli import render
from omniflow_cli.exits import MISTAKE, OK
from omniflow_cli.run_place import Place

if TYPE_CHECKING:
    from omniflow.draft import Draft
    from omniflow.training.preflight import Preflight


def dry_run(
    draft: Draft, place: Place, flags: Mapping[str, str], *, processes: int, as_json: bool
) -> int:
    """Try a run out and tell what was found; returns the exit code.

    Args:
        draft: What was said about the run.
        place: Where it would go.
        flags: Full name of an option -> the flag that said it.
        processes: How many would share the run.
        as_json: Whether all of it goes to stdout as JSON.
    """
    from omniflow.training.preflight import preflight

    report = preflight(
        draft,
        output_dir=place.folder,
        registry=installed_plugins().registry,
        resume=place.is_resumed,
        processes=processes,
    )
    for finding in report.findings:
        if isinstance(finding, ConfigError):
            finding.where = finding.where or flags.get(finding.name)
    if as_json:
        render.as_json(report.to_dict())
    else:
        _show(report)
    for note in report.notes:
        render.note(f"note: {note}")
    for finding in report.findings:
        typer.echo(f"error: {finding.render()}", err=True)
    return OK if report.is_ready else MISTAKE


def _show(report: Preflight) -> None:
    from omniflow.training.disk_room import in_bytes

    if report.data.checks:
        # Of a single dataset nobody asks for its share.
        is_mix = len({check.dataset for check in report.data.checks}) > 1
        rows = [
            (
                check.dataset,
                check.split,
                *([_share(check.share)] if is_mix else []),
                "streamed" if check.size is None else f"{check.size:,}",
                f"{check.read - check.failed} of {check.read}",
                ", ".join(f"{name} {count}" for name, count in check.brought.items()),
            )
            for check in report.data.checks
        ]
        share = ["share"] if is_mix else []
        headers = ("dataset", "split", *share, "records", "readable", "brought")
        render.headed_table(headers, rows, right=(2, 3) if is_mix else (2,))
    if report.parts:
        _show_parts(report)
    if report.memory:
        names = ("weights", "gradients", "optimizer", "average", "activations", "total")
        estimates = [
            (estimate.precision, *(in_bytes(getattr(estimate, name)) for name in names))
            for estimate in report.memory
        ]
        render.headed_table(("precision", *names), estimates, right=range(1, 7))
    render.facts(_facts(report))


def _share(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.4g} %"


def _show_parts(report: Preflight) -> None:
    from omniflow.training.disk_room import in_bytes
    from omniflow.training.memory import WIDTHS

    rows = [
        (
            part.name,
            f"{part.parameters:,}",
            f"{part.trained:,}",
            in_bytes(part.held),
            *(in_bytes(part.bytes_in(precision)) for precision in WIDTHS),
        )
        for part in report.parts
    ]
    total = (
        "total",
        f"{sum(part.parameters for part in report.parts):,}",
        f"{sum(part.trained for part in report.parts):,}",
        in_bytes(sum(part.held for part in report.parts)),
        *(in_bytes(sum(part.bytes_in(each) for part in report.parts)) for each in WIDTHS),
    )
    headers = ("part", "parameters", "trained", "as held", *(f"in {each}" for each in WIDTHS))
    render.headed_table(headers, [*rows, total], right=range(1, 6))


def _facts(report: Preflight) -> list[tuple[str, str]]:
    from omniflow.training.disk_room import in_bytes

    facts = [] if report.device is None else [("device", report.device)]
    if report.disk is not None:
        room = report.disk
        facts.append(
            (
                "disk",
                f"{in_bytes(room.needed)} of {in_bytes(room.free)} free, "
                f"{in_bytes(room.checkpoint)} a checkpoint, in {room.folder}",
            )
        )
    if report.timing is not None and report.steps is not None:
        timing = report.timing
        whole = _duration(report.steps * timing.step)
        facts += [
            ("step", f"{timing.step:.3g} s, of them {timing.data:.2g} s reading samples"),
            ("evaluation", f"{timing.evaluation:.3g} s for the first batch"),
            (
                "run",
                f"{report.steps:,} steps, {whole} at this pace",
            ),
        ]
    verdict = "ready" if report.is_ready else f"not ready, {len(report.findings)} to put right"
    return [*facts, ("verdict", verdict)]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
