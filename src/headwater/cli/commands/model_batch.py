"""``headwater models batch``: a model looks at every row of a dataset, and you watch."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from headwater.cli.connect import connect, connect_registry
from headwater.cli.options import HomeOption, JsonOption, ProjectOption
from headwater.cli.registry import Reference, number_of
from headwater.cli.session import Session, open_session
from headwater.client import Client
from headwater.client.jobs import FINAL
from headwater.core.errors import HeadwaterError

_POLL_SECONDS: Final = 0.5
_LINE_SECONDS: Final = 5.0
_SEAL_SECONDS: Final = 15.0  # for the last rows to reach the lake


class OnError(StrEnum):
    """What becomes of bad rows."""

    STOP = "stop"
    NULL = "null"


def batch(
    model: Annotated[
        str, typer.Argument(metavar="NAME[@ALIAS|:VERSION]", help="The champion unless a version is named")
    ],
    *,
    dataset: Annotated[str, typer.Option(help="Whose rows are scored, as they are now")],
    where: Annotated[str | None, typer.Option(help="A condition over its columns, such as \"origin = 'EWR'\"")] = None,
    since: Annotated[str | None, typer.Option(help="Rows whose event time is not before this (ISO 8601)")] = None,
    until: Annotated[str | None, typer.Option(help="Rows whose event time is before this")] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT=COLUMN", help="The column for an input, or a part of a key, of another name; repeatable"
        ),
    ] = None,
    as_of: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The instant that features are as of; default: now")
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Stop at the first bad row, or write bad rows without outputs (null)")
    ] = OnError.STOP,
    key: Annotated[
        str | None, typer.Option(help="Name the job, so that the same command again starts no second one")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the progress until it is done")] = False,
    home: HomeOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score a dataset: each row gets one prediction, a row of batch_predictions_NAME.

    The job goes on without this command, and through restarts. Exit code 1 when --wait saw it fail or be cancelled.
    """
    session = open_session(home, project, json=as_json)
    reference = Reference.parse(model)
    with connect(session, patient=wait) as client:
        job_id = client.batch(
            reference.name,
            dataset,
            version=_version(session, reference),
            where=where,
            since=since,
            until=until,
            columns=_columns(column or []),
            as_of=as_of,
            on_error=on_error.value,
            idempotency_key=key,
        )
        job = _watch(client, job_id) if wait else client.job(job_id)
    session.answer(job, lambda console: _draw(console, job))
    if wait and job["state"] != "succeeded":
        sys.exit(1)


def _version(session: Session, reference: Reference) -> int | None:
    """Return the version that is named; control knows what an alias means."""
    if reference.alias is None:
        return reference.number
    with connect_registry(session) as registry:
        return number_of(registry, reference)


def _columns(pairs: list[str]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for pair in pairs:
        name, equals, column = pair.partition("=")
        if not name or not equals or not column:
            raise HeadwaterError("invalid_parameter", f"--column {pair!r} is not of the form INPUT=COLUMN")
        columns[name] = column
    return columns


def _watch(client: Client, job_id: str) -> dict[str, Any]:
    """Show the progress of a job on stderr until it is over and its predictions can be queried."""
    console = Console(stderr=True)
    told = 0.0
    with _bar(console) as bar:
        task = bar.add_task(job_id, total=None)
        while True:
            job = client.job(job_id)
            done, total = job["progress"]["done"], job["progress"]["total"]
            bar.update(task, completed=done, total=total, description=f"{job_id} {job['state']}")
            if job["state"] in FINAL:
                break
            if not console.is_terminal and time.monotonic() - told >= _LINE_SECONDS:
                told = time.monotonic()
                sys.stderr.write(f"{job_id} {job['state']} {done:,} of {total:,} rows\n")
            time.sleep(_POLL_SECONDS)
    return _sealed(client, job)


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _sealed(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    """Return the job once the lake has its last rows, or after a while without."""
    wrote = job["counts"]["scored"] + job["counts"]["failed"]
    gives_up_at = time.monotonic() + _SEAL_SECONDS
    while wrote and job["output_version"] is None and time.monotonic() < gives_up_at:
        time.sleep(_POLL_SECONDS)
        job = client.job(job["job"])
    return job


def _draw(console: Console, job: dict[str, Any]) -> None:
    counts, progress = job["counts"], job["progress"]
    version = "no rows yet" if job["dataset_version"] is None else f"table version {job['dataset_version']}"
    console.print(
        f"{job['job']} {job['state']}: {job['model']} version {job['version']} on {job['dataset']} ({version})"
    )
    console.print(
        f"{progress['done']:,} of {progress['total']:,} rows: {counts['scored']:,} scored, "
        f"{counts['failed']:,} failed, {counts['skipped']:,} left out"
    )
    if job["error"]:
        console.print(f"{job['error']['code']}: {job['error']['detail']}", markup=False)
        if job["error"].get("hint"):
            console.print(f" hint: {job['error']['hint']}", markup=False)
    else:
        console.print(f"predictions: {job['output']}, WHERE job = '{job['job']}'", markup=False)
