"""``headwater ingest``: files into a dataset, with a progress bar and counts that add up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer
from rich.console import Console

from headwater.cli.connect import connect
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.progress import LoadProgress, show_progress
from headwater.cli.resumable import STDIN, BatchKeys, format_of, open_counted, size_of
from headwater.cli.session import Session, open_session
from headwater.cli.tables import draw_table, shown
from headwater.client import ApiError, Client, ClientError, IngestReply, IngestSummary
from headwater.client.calls import Call
from headwater.client.calls import ingest as ingest_call
from headwater.client.framing import BATCH_ROWS, Format, Piece, split

_SHOWN_ROWS: Final = 10
_SHOWN_KINDS: Final = 20


class FileFormat(StrEnum):
    """Formats of files."""

    CSV = "csv"
    NDJSON = "ndjson"
    JSON = "json"


app = typer.Typer(add_completion=False)


@app.command()
def ingest(
    dataset: Annotated[str, typer.Argument(help="Name of the dataset")],
    files: Annotated[list[Path], typer.Argument(help="Files, also .gz; - reads standard input")],
    *,
    form: Annotated[
        FileFormat | None, typer.Option("--format", help="What the files hold, when their names do not say it")
    ] = None,
    batch_rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows that are stored together")] = BATCH_ROWS,
    null: Annotated[str | None, typer.Option(help="CSV: text that means null, such as NA")] = None,
    on_error: Annotated[
        str | None, typer.Option(help="quarantine, reject_row or reject_batch; the contract decides unless set")
    ] = None,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send files to a dataset.

    Repeating the command sends the same batches under the same keys, so an interrupted load goes on where it stopped
    and a finished one stores nothing twice. Exit code 1 when a row was quarantined or rejected.
    """
    session = open_session(home, project, json=as_json)
    params = {"null": null, "on_error": on_error}
    inputs = [(path, format_of(path, form.value if form else None)) for path in files]
    sizes = [size_of(path) for path, _ in inputs]
    summary = IngestSummary()
    try:
        with connect(session, patient=True) as client, show_progress(dataset, sizes) as progress:
            for path, one in inputs:
                load = _Load(client, dataset, one, batch_rows, params, progress)
                for reply in load.send(path):
                    summary.add(reply)
                    progress.rows(summary.counts)
    except ClientError:
        _report(session, dataset, summary, trouble="not finished: mend what the error says and run it again to go on")
        raise
    except KeyboardInterrupt:
        _report(session, dataset, summary, trouble="not finished: run it again to go on")
        raise
    _report(session, dataset, summary)
    if summary.counts.refused:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class _Load:
    """How one input is sent."""

    client: Client
    dataset: str
    form: Format
    batch_rows: int
    params: dict[str, Any]
    progress: LoadProgress

    def send(self, path: Path) -> Iterator[IngestReply]:
        """Send an input in batches and return each answer as it comes; its errors say which file they are in."""
        name = "standard input" if path == STDIN else path.name
        self.progress.file(name)
        is_empty = True
        try:
            with open_counted(path, self.progress.bytes) as stream:
                for call in self._calls(stream):
                    reply = self.client.send(call)
                    is_empty = False
                    yield replace(reply, errors=tuple({"file": name, **error} for error in reply.errors))
            if is_empty:
                self._require_dataset()
        except ClientError as error:
            error.add_note(name)
            raise

    def _calls(self, stream: BinaryIO) -> Iterator[Call[IngestReply]]:
        params = self.params if self.form == "csv" else {**self.params, "null": None}
        keys = BatchKeys(self.form, params)
        for piece in split(stream, self.form, batch_rows=self.batch_rows):
            yield ingest_call(self.dataset, piece, self.form, key=keys.next(piece), params=params)

    def _require_dataset(self) -> None:
        """Send nothing: a dataset that is not there, or not for this key, is an error also where no row is sent."""
        try:
            self.client.send(ingest_call(self.dataset, Piece(b"", 0, 0), self.form))
        except ApiError as error:
            if error.code != "empty_body":
                raise


def _report(session: Session, dataset: str, summary: IngestSummary, *, trouble: str = "") -> None:
    document = {
        "dataset": dataset,
        "complete": not trouble,
        "counts": asdict(summary.counts),
        "already_loaded": summary.replayed_rows,
        "error_summary": [
            {"code": code, "path": path, "count": count} for (code, path), count in summary.error_summary.items()
        ],
        "errors": summary.errors,
        "receipts": summary.receipts,
    }
    session.answer(document, lambda console: _draw(console, dataset, summary, trouble))
    sys.stdout.flush()


def _draw(console: Console, dataset: str, summary: IngestSummary, trouble: str) -> None:
    counts = asdict(summary.counts)
    is_repeated = 0 < summary.replayed_rows == summary.counts.received
    told = "nothing new was stored: all of it had been sent before, and became" if is_repeated else "done"
    console.print(f"{dataset}: {trouble or told}")
    draw_table(console, counts, [counts.values()])
    if summary.replayed_rows and not is_repeated:
        console.print(f"{summary.replayed_rows:,} of these rows had been sent before and were not stored again.")
    kinds = sorted(summary.error_summary.items(), key=lambda item: -item[1])
    for (code, path), count in kinds[:_SHOWN_KINDS]:
        console.print(f"  {count:>9,} {'row' if count == 1 else 'rows'}: {code} at {shown(path) or 'the row'}")
    for row in summary.errors[:_SHOWN_ROWS]:
        for error in row.get("errors", ())[:1]:
            words = f"{error.get('path') or ''} {error.get('message')}".strip()
            console.print(f"  {shown(row['file'])}, row {row['row']}: {shown(words)}")
