"""`omniflow download`: data sets and models from the Hub, before they are needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from omniflow.downloads.progress import DownloadReporter
from omniflow.errors import UsageError
from omniflow_cli import render
from omniflow_cli.commands import Command, CommandGroup, examples
from omniflow_cli.flags import AsJson, Verbose, checked_flags, naming_flags, text
from omniflow_cli.progress import counting

if TYPE_CHECKING:
    from omniflow.downloads.data import DataReport
    from omniflow.downloads.models import ModelReport
    from omniflow.downloads.wordnet import WordnetReport
    from omniflow.registry import Registry

#: WordNet is no data set to train on, but fetched in the same way.
WORDNET = "wordnet"

#: Everything that there is a name for.
ALL = "all"

app = typer.Typer(
    name="download",
    cls=CommandGroup,
    epilog=examples(
        "omniflow download data coco audiocaps",
        "omniflow download models omniflow-v0.5 t5_large",
    ),
    add_completion=False,
)


@app.callback(invoke_without_command=True)
def start(context: typer.Context) -> None:
    """Fetch data sets and models of the Hub."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """Numbers of a download; see the help of the flags."""

    max_samples: int | None = None
    subset_fraction: float | None = None
    workers: int = 4


def _short(name: str) -> Any:
    return typer.Option(f"--{name}", help=f"The same as the name {name}.")


OutputDir = Annotated[str | None, text("Folder in which each name gets one.", "DIR")]
Revision = Annotated[str | None, text("Branch, tag or commit; the main branch.", "REVISION")]
Force = Annotated[bool, typer.Option("--force", help="Fetch also what is there already.")]
Workers = Annotated[str | None, text("Files or parts that are fetched at once; 4.", "N")]


@app.command(
    cls=Command,
    epilog=examples(
        "omniflow download data coco",
        "omniflow download data wikitext audiocaps --split train --split validation",
        "omniflow download data --coco --streaming --max-samples 1000",
        "omniflow download data coco --subset-fraction 0.1 --output-dir small",
        "omniflow download data wordnet",
        "omniflow train --dataset coco --set dataset.path=data/coco",
    ),
)
def data(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Data sets of the Hub by name, any by OWNER/NAME, wordnet, or all.",
            metavar="[NAMES]...",
            show_default=False,
        ),
    ] = None,
    wikitext: Annotated[bool, _short("wikitext")] = False,
    coco: Annotated[bool, _short("coco")] = False,
    audiocaps: Annotated[bool, _short("audiocaps")] = False,
    llava_cc3m: Annotated[bool, _short("llava-cc3m")] = False,
    streaming: Annotated[
        bool,
        typer.Option("--streaming", help="Read records out of files, in place of whole files."),
    ] = False,
    max_samples: Annotated[
        str | None, text("The first N records of each split alone; streams.", "N")
    ] = None,
    subset_fraction: Annotated[
        str | None, text("The first share of every file alone, in (0, 1]; streams.", "F")
    ] = None,
    split: Annotated[
        list[str] | None, text("Split, repeatable; those that training reads.", "NAME")
    ] = None,
    output_dir: OutputDir = None,
    revision: Revision = None,
    force: Force = False,
    workers: Workers = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fetch data sets into folders that --set dataset.path=FOLDER reads.

    Each goes to data/NAME, or DIR/NAME, with a manifest.json that says what it is. Stopped at any
    moment and started again, it goes on where it was. WordNet goes where nltk looks for it.
    """
    from omniflow.downloads.manifest import Selection
    from omniflow.plugins import installed_plugins

    options = checked_flags(
        FetchOptions,
        {"max_samples": max_samples, "subset_fraction": subset_fraction, "workers": workers},
        owner="omniflow download data",
    )
    selection = Selection(
        streaming or max_samples is not None or subset_fraction is not None,
        options.max_samples,
        options.subset_fraction,
    )
    said = {"wikitext": wikitext, "coco": coco, "audiocaps": audiocaps, "llava-cc3m": llava_cc3m}
    registry = installed_plugins().registry
    wanted = _wanted([*(names or ()), *(name for name, is_on in said.items() if is_on)], registry)
    jobs = [
        _wordnet_job(output_dir, force)
        if name == WORDNET
        else _data_job(
            name, registry, output_dir=output_dir, splits=split or (), selection=selection,
            revision=revision, force=force, workers=options.workers,
        )
        for name in wanted
    ]  # fmt: skip
    reports = [job() for job in jobs]
    _show(reports, as_json)


@app.command(
    cls=Command,
    epilog=examples(
        "omniflow download models omniflow-v0.5 clip_vit_l t5_large languagebind_audio audioldm2",
        "omniflow download models omniflow-v0.5 --output-dir models",
    ),
)
def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="clip_vit_l, t5_large, languagebind_audio, omniflow-v0.5, omniflow-v0.9 or "
            "audioldm2; any by OWNER/NAME; or all.",
            metavar="[NAMES]...",
            show_default=False,
        ),
    ] = None,
    output_dir: OutputDir = None,
    revision: Revision = None,
    force: Force = False,
    workers: Workers = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Fetch models into the Hub's cache, where their names find them, or into folders.

    Weights are fetched in one of the forms that they are there in, safetensors where there are
    some. Stopped at any moment and started again, it goes on where it was.
    """
    from omniflow.downloads.models import MODELS, download_model, hub_model

    options = checked_flags(FetchOptions, {"workers": workers}, owner="omniflow download models")
    wanted = list(MODELS) if names == [ALL] else list(dict.fromkeys(names or ()))
    if not wanted:
        raise _nothing_named([*MODELS])
    found = [hub_model(name, where="omniflow download models") for name in wanted]
    reports = []
    for model in found:
        place = None if output_dir is None else Path(output_dir).expanduser() / model.name
        with followed(model.name) as reporter, naming_flags({"workers": "--workers"}):
            report = download_model(
                model, place, revision=revision, is_forced=force, workers=options.workers,
                reporter=reporter,
            )  # fmt: skip
        reports.append(report)
    _show(reports, as_json)


def _wanted(names: Sequence[str], registry: Registry) -> list[str]:
    from omniflow.downloads.names import hub_names

    known = [*hub_names(registry), WORDNET]
    if not names:
        raise _nothing_named(known)
    return list(dict.fromkeys(known if list(names) == [ALL] else names))


def _nothing_named(known: Sequence[str]) -> UsageError:
    return UsageError(
        "no name says what to fetch",
        where="omniflow download",
        expected=f"some of {', '.join(known)}; or {ALL}",
    )


def _data_job(
    name: str, registry: Registry, *, output_dir: str | None, splits: Sequence[str],
    selection: Any, revision: str | None, force: bool, workers: int,
) -> Callable[[], DataReport]:  # fmt: skip
    """What fetches a data set; its name and numbers are checked now, before any is fetched."""
    from omniflow.downloads.data import DataRequest, download_data
    from omniflow.downloads.names import hub_data

    found = hub_data(registry, name, where="omniflow download data")
    flags = {each: f"--{each.replace('_', '-')}" for each in FetchOptions.__annotations__}
    with naming_flags(flags):
        request = DataRequest(
            found, Path(output_dir or "data").expanduser() / found.name, tuple(splits), selection,
            revision, force, workers,
        )  # fmt: skip

    def fetch() -> DataReport:
        with followed(name) as reporter:
            return download_data(request, reporter)

    return fetch


def _wordnet_job(output_dir: str | None, force: bool) -> Callable[[], WordnetReport]:
    from omniflow.downloads.wordnet import download_wordnet

    folder = None if output_dir is None else Path(output_dir).expanduser()

    def fetch() -> WordnetReport:
        with followed(WORDNET) as reporter:
            return download_wordnet(folder, is_forced=force, reporter=reporter)

    return fetch


class _Shown(DownloadReporter):
    """Says on stderr what is about to be fetched, and draws how far it is."""

    def __init__(self, count: Callable[[int, int], None]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._done = self._total = 0

    def planned(self, name: str, source: str, parts: int, size: int, room: int) -> None:
        """One line; nothing where everything is there."""
        self._total = size
        if parts:
            files = "1 file" if parts == 1 else f"{parts} files"
            render.note(f"{name}: {files}, {_size(size)}, of {source}; {_size(room)} are free")

    def received(self, count: int) -> None:
        """Move the bar."""
        with self._lock:
            self._done += count
            self._count(self._done // 1000, max(1, self._total // 1000))

    def told(self, line: str) -> None:
        """The line."""
        render.note(line)


@contextmanager
def followed(name: str) -> Iterator[DownloadReporter]:
    """While entered, a download is shown on stderr."""
    with counting(f"{name}, KB") as count:
        yield _Shown(count)


def _show(reports: Sequence[DataReport | ModelReport | WordnetReport], as_json: bool) -> None:
    """The table at the end."""
    from omniflow.downloads.data import DataReport
    from omniflow.downloads.wordnet import WordnetReport

    if as_json:
        render.as_json([_as_data(report) for report in reports])
        return
    rows: list[tuple[str, ...]] = []
    for report in reports:
        if isinstance(report, DataReport):
            rows += _data_rows(report)
        elif isinstance(report, WordnetReport):
            rows.append((WORDNET, "", "", "", "", _done(len(report.fetched)), str(report.folder)))
        else:
            count = str(len(report.files))
            rows.append((
                report.model.name, "", "", count, _size(report.size), _done(report.fetched),
                str(report.folder),
            ))  # fmt: skip
    headers = ("name", "split", "records", "files", "size", "fetched", "folder")
    render.table(headers, rows, right=(2, 3, 4))
    for report in reports:
        if isinstance(report, DataReport):
            manifest = report.manifest
            extra = "" if report.request.data.dataset != "huggingface" else " and its columns"
            render.note(
                f"{report.request.data.name}: licence {manifest.licence or 'not stated'}; "
                f"--dataset {manifest.dataset} --set dataset.path={report.request.folder}{extra}"
            )
        elif isinstance(report, WordnetReport):
            render.note(f"{WORDNET}: found by nltk with NLTK_DATA={report.folder}")


def _data_rows(report: DataReport) -> list[tuple[str, ...]]:
    manifest = report.manifest
    rows: list[tuple[str, ...]] = []
    for split in manifest.splits or ("",):
        files = [file for file in manifest.files if (file.split or "") == split]
        records = manifest.records(split) if split else None
        rows.append((
            report.request.data.name, split, "" if records is None else f"{records:,}",
            str(len(files)), _size(sum(file.size for file in files)),
            _done(sum(file.path in report.fetched for file in files)), str(report.request.folder),
        ))  # fmt: skip
    return rows


def _as_data(report: DataReport | ModelReport | WordnetReport) -> dict[str, Any]:
    from omniflow.downloads.data import DataReport
    from omniflow.downloads.wordnet import WordnetReport

    if isinstance(report, DataReport):
        manifest = report.manifest
        return {
            "name": report.request.data.name,
            "dataset": manifest.dataset,
            "source": manifest.source,
            "revision": manifest.revision,
            "licence": manifest.licence,
            "folder": str(report.request.folder),
            "records": {split: manifest.records(split) for split in manifest.splits},
            "bytes": sum(file.size for file in manifest.files),
            "files": len(manifest.files),
            "fetched": len(report.fetched),
        }
    if isinstance(report, WordnetReport):
        return {
            "name": WORDNET,
            "folder": str(report.folder),
            "packages": dict(report.packages),
            "fetched": len(report.fetched),
        }
    return {
        "name": report.model.name,
        "source": report.model.hub_id,
        "revision": report.revision,
        "folder": str(report.folder),
        "bytes": report.size,
        "files": len(report.files),
        "fetched": report.fetched,
    }


def _done(count: int) -> str:
    return f"{count} new" if count else "were there"


def _size(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.1f} KB"
