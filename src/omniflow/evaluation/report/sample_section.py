"""What runs made of a few validation records while they were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from omniflow.evaluation.entries import Entry
from omniflow.evaluation.report.html import paragraph
from omniflow.evaluation.report.row_data import MediaBudget
from omniflow.evaluation.run_samples import RunSample, read_samples, sampled_steps

#: Steps that are shown, the first and the last among them.
MOST_STEPS = 6

#: Letters of a text that are shown.
LONGEST_TEXT = 600


def samples_of_runs(entries: Sequence[Entry], budget: MediaBudget) -> list[str]:
    """A part for each run that has samples; open when there is no other."""
    parts = []
    for entry in entries:
        if entry.run is None:
            continue
        steps = sampled_steps(entry.run.folder)
        found = {step: read_samples(entry.run.folder, step) for step in _some(steps)}
        read = {step: samples for step, samples in found.items() if samples}
        if read:
            parts.append((entry.name, len(steps), read))
    return [
        _of_run(name, count, read, budget, is_open=len(parts) == 1) for name, count, read in parts
    ]


def _some(steps: Sequence[int]) -> list[int]:
    if len(steps) <= MOST_STEPS:
        return list(steps)
    last = len(steps) - 1
    return [steps[round(number * last / (MOST_STEPS - 1))] for number in range(MOST_STEPS)]


def _of_run(
    name: str,
    count: int,
    read: Mapping[int, Sequence[RunSample]],
    budget: MediaBudget,
    *,
    is_open: bool,
) -> str:
    kept = {(one.task, one.id): one for samples in read.values() for one in samples}
    parts = [_record(one, read, budget) for one in kept.values()]
    told = paragraph(f"{len(read)} of {count} evaluations with samples are shown.")
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(name)}</summary>"
        f"<div>{told}{''.join(parts)}</div></details>"
    )


def _record(sample: RunSample, read: Mapping[int, Sequence[RunSample]], budget: MediaBudget) -> str:
    """Given, reference, and what was made at each step."""
    noise = "" if sample.noise_level is None else f", from noise level {sample.noise_level:g}"
    cells = [_cell("given", sample.given, budget)]
    if sample.reference is not None and sample.reference != sample.given.get("text"):
        cells.append(_cell("reference", {"text": sample.reference}, budget))
    for step, samples in read.items():
        made = next(
            (one.made for one in samples if (one.task, one.id) == (sample.task, sample.id)), None
        )
        if made is not None:
            cells.append(_cell(f"step {step:,}", made, budget))
    title = f"{sample.task}{noise}: record {sample.id}"
    return f'<h3>{escape(title)}</h3><div class="shown">{"".join(cells)}</div>'


def _cell(title: str, content: Mapping[str, str], budget: MediaBudget) -> str:
    media = budget.of(content.get("image"), content.get("audio"))
    parts = [f"<b>{escape(title)}</b>"]
    if "image" in media:
        parts.append(f'<img alt="{escape(title)}" src="{media["image"]}">')
    if "audio" in media:
        parts.append(f'<audio controls preload="none" src="{media["audio"]}"></audio>')
    if "broken" in media:
        parts.append(paragraph(media["broken"], "bad"))
    if (text := content.get("text")) is not None:
        shown = text[:LONGEST_TEXT] + (" ..." if len(text) > LONGEST_TEXT else "")
        parts.append(f"<p>{escape(shown)}</p>" if shown else paragraph("(empty)"))
    if not content:
        parts.append(paragraph("nothing"))
    return f'<div class="cell">{"".join(parts)}</div>'
