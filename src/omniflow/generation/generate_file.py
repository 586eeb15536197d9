"""From a dataset to a file of predictions or a folder of media, in steps that outlive a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniflow.errors import ConfigError, DataError, RecordError
from omniflow.evaluation.predictions import FORMAT, record_to_json
from omniflow.files import write_json
from omniflow.generation.make import Made, make_batch
from omniflow.generation.media import MANIFEST, has_files, makes_media, write_manifest, write_media
from omniflow.generation.partial import (
    PartialFile,
    partial_path,
    read_partials,
    remove_partials,
)
from omniflow.generation.predict import as_prediction
from omniflow.generation.records import (
    VainReading,
    count_records,
    nothing_usable,
    numbered_batches,
    read_records,
)
from omniflow.interfaces import Dataset, Sample
from omniflow.training.processes import Processes

if TYPE_CHECKING:
    from omniflow.generation.plan import GenerationPlan
    from omniflow.model import OmniFlowModel


@dataclass(frozen=True)
class GeneratedFile:
    """What has come of a dataset.

    Args:
        path: The predictions.json, or the manifest.json of media.
        records: Entries of the file.
        skipped: Records that were left out, each with `id` and `reason`.
        resumed: Records that had been made before.
    """

    path: Path
    records: list[dict[str, Any]]
    skipped: list[dict[str, str]]
    resumed: int


def output_file(output: Path, plan: GenerationPlan) -> Path:
    """The file that stands at the end: the output, or the manifest in it."""
    return output / MANIFEST if makes_media(plan.task) else output


def generate_file(
    model: OmniFlowModel,
    dataset: Dataset,
    plan: GenerationPlan,
    output: Path,
    *,
    about: Mapping[str, Any],
    work: Mapping[str, Any],
    batch_size: int = 32,
    limit: int | None = None,
    processes: Processes | None = None,
    progress: Callable[[int, int | None], None] | None = None,
) -> GeneratedFile:
    """Make something of every record that can be used, and write it when all is made.

    Until then it stands in a partial file beside the output, from which the same work goes on when
    it was ended at any moment. Every one of several processes makes its share of the batches; the
    main one puts the file together, which is the same as that of one process.

    Args:
        model: The model.
        dataset: The records.
        plan: What is made, and how.
        output: A predictions.json, or for pictures and sounds a folder.
        about: What the file says beside its records: model, task and the like.
        work: What shapes the result, as plain data: other work does not go on from it.
        batch_size: Records at a time.
        limit: Stop after so many records.
        processes: Those that share the work.
        progress: Called with (done, total or None) after each batch, in the main process.

    Raises:
        UsageError: If the output has been begun by other work.
        DataError: If no record can be used.
    """
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise ConfigError(name, value, expected="a whole number >= 1")
    processes = processes or Processes()
    target = output_file(output, plan)
    work = {**work, **_device_dependent(model.device.type, batch_size)}
    before = _done(target, work, plan)
    # Nobody writes before everybody has read.
    processes.gather(None)
    total = count_records(dataset, limit)
    with PartialFile(partial_path(target, processes.rank), work) as partial:
        watch = VainReading()
        for index, batch in enumerate(numbered_batches(dataset, batch_size, limit)):
            if index % processes.count != processes.rank:
                continue
            if not batch.keys() <= before.keys():
                found = read_records(dataset, batch, plan.task)
                watch.note(found.values())
                partial.add(_lines(model, plan, found, output))
            if progress is not None and processes.is_main:
                progress(max(batch) + 1, total)
        processes.gather(None)
    return _finished(target, plan, about, work, limit, len(before), processes)


def _device_dependent(device_type: str, batch_size: int) -> dict[str, Any]:
    """Off the CPU the size of a batch may show in the last digit, so it is part of the work."""
    return {"device": "cpu"} if device_type == "cpu" else {
        "device": device_type, "batch_size": batch_size,
    }  # fmt: skip


def _done(target: Path, work: Mapping[str, Any], plan: GenerationPlan) -> dict[int, dict[str, Any]]:
    """Records that have been made; of media, those whose files are there."""
    found = read_partials(target, work)
    if not makes_media(plan.task):
        return found
    return {
        number: line
        for number, line in found.items()
        if "skipped" in line or has_files(target.parent, line["record"])
    }


def _lines(
    model: OmniFlowModel,
    plan: GenerationPlan,
    found: Mapping[int, Sample | RecordError],
    output: Path,
) -> dict[int, dict[str, Any]]:
    """What the partial file gets to hold of a batch."""
    samples = {number: one for number, one in found.items() if isinstance(one, Sample)}
    made = make_batch(model, plan, samples) if samples else {}
    lines: dict[int, dict[str, Any]] = {}
    for number, one in found.items():
        if isinstance(one, RecordError):
            lines[number] = {"skipped": {"id": one.record, "reason": one.reason}}
        else:
            lines[number] = {"record": _entry(output, number, made[number], plan)}
    return lines


def _entry(output: Path, number: int, made: Made, plan: GenerationPlan) -> dict[str, Any]:
    if makes_media(plan.task):
        return write_media(output, number, made, plan.task)
    return record_to_json(as_prediction(made, plan.task))


def _finished(
    target: Path,
    plan: GenerationPlan,
    about: Mapping[str, Any],
    work: Mapping[str, Any],
    limit: int | None,
    resumed: int,
    processes: Processes,
) -> GeneratedFile:
    """The file put together by the main process; the others know what is in it."""
    lines = sorted(read_partials(target, work).items())
    chosen = [line for number, line in lines if limit is None or number < limit]
    records = [line["record"] for line in chosen if "record" in line]
    skipped = [line["skipped"] for line in chosen if "skipped" in line]
    processes.gather(None)
    if not chosen:
        if processes.is_main:
            remove_partials(target)
        raise DataError("the dataset has no records in this split")
    if not records:
        raise nothing_usable([RecordError(one["id"], one["reason"]) for one in skipped])
    processes.on_main(
        lambda: _write(target, plan, about, records, skipped),
    )
    return GeneratedFile(target, records, skipped, resumed)


def _write(
    target: Path,
    plan: GenerationPlan,
    about: Mapping[str, Any],
    records: list[dict[str, Any]],
    skipped: list[dict[str, str]],
) -> None:
    about = {**about, "task": str(plan.task), **({"skipped": skipped} if skipped else {})}
    if makes_media(plan.task):
        write_manifest(target, about, records)
    else:
        write_json(target, {"format": FORMAT, **about, "records": records})
    remove_partials(target)
