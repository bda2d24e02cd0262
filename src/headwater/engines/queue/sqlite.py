"""The embedded job queue: one SQLite file that services write to and workers claim from."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import apsw
import msgspec

from headwater.core.errors import HeadwaterError
from headwater.core.logging import get_logger
from headwater.engines.queue.protocol import (
    MAX_ATTEMPTS,
    Claim,
    Held,
    Job,
    Keyed,
    NewJob,
    Progress,
    State,
    pause_seconds,
)

FORMAT_VERSION: Final = 1
_BUSY_MS: Final = 10_000
_TABLE: Final = """
CREATE TABLE jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    environment TEXT NOT NULL,
    subject TEXT NOT NULL,
    principal TEXT NOT NULL,
    payload BLOB NOT NULL,
    total INTEGER NOT NULL,
    created_us INTEGER NOT NULL,
    scope BLOB UNIQUE,
    fingerprint BLOB,
    state TEXT NOT NULL,
    progress BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,  -- since it last got on
    is_cancelling INTEGER NOT NULL DEFAULT 0,
    error BLOB,
    started_us INTEGER,
    finished_us INTEGER,
    due_us INTEGER,                       -- queued: from when on; running: when the lease runs out
    lease TEXT
);
CREATE INDEX jobs_due ON jobs (due_us) WHERE due_us IS NOT NULL;
CREATE INDEX jobs_of_environment ON jobs (environment, number);
"""
_COLUMNS: Final = """id, kind, environment, subject, principal, payload, total, created_us,
    state, progress, attempts, is_cancelling, error, started_us, finished_us, due_us"""
_SILENT: Final = {
    "code": "internal",
    "detail": f"the process that worked on it ended without a word, {MAX_ATTEMPTS} times in a row at this place",
    "hint": "look at the worker's log; a smaller resources.memory_mb or another model version may help",
}

_log = get_logger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder().decode
_decode_progress: Final = msgspec.msgpack.Decoder(Progress).decode
_Outcome = Literal[State.SUCCEEDED, State.FAILED, State.CANCELLED]


class SqliteJobStore:
    """A ``JobStore`` in one file. Each process has one connection, which its threads share in turn."""

    def __init__(self, path: Path) -> None:
        """Open the queue at ``path``, creating it if need be.

        Raises:
            HeadwaterError: ``home_version``, ``storage_exhausted`` or ``services_unavailable``.
        """
        self._path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _translated(path):
            self._connection = apsw.Connection(str(path))
            self._connection.set_busy_timeout(_BUSY_MS)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
        with self._writing() as connection:
            found = connection.pragma("user_version")
            if found > FORMAT_VERSION:
                raise HeadwaterError(
                    "home_version",
                    f"the jobs in {path} have format {found}; this Headwater reads format {FORMAT_VERSION}",
                    hint="run the newer Headwater that wrote them",
                )
            if not found:
                connection.execute(_TABLE)
                connection.execute(f"PRAGMA user_version = {FORMAT_VERSION}")

    def add(self, job: NewJob, keyed: Keyed | None = None, *, most_waiting: int) -> tuple[Job, bool]:
        """Queue a job; return it, and whether it is new."""
        with self._writing() as connection:
            if keyed is not None and (earlier := _find_keyed(connection, keyed)) is not None:
                return earlier, False
            waiting = connection.execute(
                "SELECT count(*) FROM jobs WHERE environment = ? AND due_us IS NOT NULL", (job.environment_id,)
            ).get
            if waiting >= most_waiting:
                raise HeadwaterError(
                    "rate_limited",
                    f"{waiting} jobs of this environment are not finished yet, and it may have {most_waiting}",
                    hint="wait for some of them, or cancel them with DELETE /v1/jobs/{job}",
                    retry_after_seconds=60,
                )
            connection.execute(
                """INSERT INTO jobs (id, kind, environment, subject, principal, payload, total, created_us,
                scope, fingerprint, state, progress, due_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    *(job.id, job.kind, job.environment_id, job.subject, job.principal_id),
                    *(job.payload, job.total, job.created_us),
                    *((keyed.scope, keyed.fingerprint) if keyed is not None else (None, None)),
                    *(State.QUEUED.value, _encode(Progress()), job.created_us),
                ),
            )
            return _require(connection, job.id), True

    def find_keyed(self, keyed: Keyed) -> Job | None:
        """Return the job that was asked for with a key."""
        with self._reading() as connection:
            return _find_keyed(connection, keyed)

    def find(self, environment_id: str, job_id: str) -> Job | None:
        """Return a job of an environment."""
        with self._reading() as connection:
            return _find(connection, "environment = ? AND id = ?", (environment_id, job_id))

    def recent(self, environment_id: str, *, limit: int) -> Sequence[Job]:
        """Return the newest jobs of an environment, newest first."""
        with self._reading() as connection:
            return _select(connection, "environment = ? ORDER BY number DESC LIMIT ?", (environment_id, limit))

    def cancel(self, environment_id: str, job_id: str, *, now_us: int) -> Job | None:
        """Cancel a job: at once unless somebody works on it, who is told."""
        with self._writing() as connection:
            job = _find(connection, "environment = ? AND id = ?", (environment_id, job_id))
            if job is None or job.state.is_final:
                return job
            lease_until = connection.execute("SELECT due_us FROM jobs WHERE id = ?", (job_id,)).get
            if job.state is State.RUNNING and lease_until > now_us:
                connection.execute("UPDATE jobs SET is_cancelling = 1 WHERE id = ?", (job_id,))
            else:
                _end(connection, job_id, State.CANCELLED, now_us, None)
            return _require(connection, job_id)

    def is_due(self, now_us: int) -> bool:
        """Return whether a claim would find a job."""
        with self._reading() as connection:
            return bool(connection.execute("SELECT 1 FROM jobs WHERE due_us <= ? LIMIT 1", (now_us,)).fetchall())

    def claim(self, *, now_us: int, lease_us: int) -> Claim | None:
        """Take the job that is due longest, None when there is none."""
        with self._writing() as connection:
            for job in _select(connection, "due_us <= ? ORDER BY due_us, number", (now_us,)):
                if job.is_cancelling:
                    _end(connection, job.new.id, State.CANCELLED, now_us, None)
                elif job.attempts >= MAX_ATTEMPTS:
                    _end(connection, job.new.id, State.FAILED, now_us, _SILENT)
                else:
                    lease = secrets.token_hex(8)
                    connection.execute(
                        """UPDATE jobs SET state = ?, attempts = attempts + 1, lease = ?, due_us = ?,
                        started_us = coalesce(started_us, ?) WHERE id = ?""",
                        (State.RUNNING.value, lease, now_us + lease_us, now_us, job.new.id),
                    )
                    return Claim(_require(connection, job.new.id), lease)
        return None

    def keep(self, claim: Claim, progress: Progress | None = None, *, now_us: int, lease_us: int) -> Held:
        """Prolong a lease and note progress, which also forgives earlier attempts."""
        with self._writing() as connection:
            where = (claim.job.new.id, claim.lease)
            found = connection.execute("SELECT is_cancelling FROM jobs WHERE id = ? AND lease = ?", where).fetchall()
            if not found:
                return Held.LOST
            connection.execute("UPDATE jobs SET due_us = ? WHERE id = ? AND lease = ?", (now_us + lease_us, *where))
            if progress is not None:
                connection.execute(
                    "UPDATE jobs SET progress = ?, attempts = 1, error = NULL WHERE id = ? AND lease = ?",
                    (_encode(progress), *where),
                )
            return Held.CANCELLED if found[0][0] else Held.KEPT

    def finish(self, claim: Claim, state: _Outcome, *, now_us: int, error: Mapping[str, Any] | None = None) -> bool:
        """End a job; return False when the lease was lost."""
        with self._writing() as connection:
            if not _is_held(connection, claim):
                return False
            _end(connection, claim.job.new.id, state, now_us, error)
            return True

    def put_back(self, claim: Claim, *, now_us: int, error: Mapping[str, Any] | None = None) -> State:
        """Let a job be claimed again: at once, or with an error after a pause."""
        with self._writing() as connection:
            job = _require(connection, claim.job.new.id)
            if not _is_held(connection, claim):
                return job.state
            if error is not None and job.attempts >= MAX_ATTEMPTS:
                _end(connection, job.new.id, State.FAILED, now_us, error)
            else:
                pause_us = 0 if error is None else int(pause_seconds(job.attempts) * 1e6)
                connection.execute(
                    "UPDATE jobs SET state = ?, lease = NULL, due_us = ?, attempts = ?, error = ? WHERE id = ?",
                    (
                        State.QUEUED.value,
                        now_us + pause_us,
                        job.attempts - (error is None),
                        None if error is None else _encode(error),
                        job.new.id,
                    ),
                )
            return _require(connection, job.new.id).state

    def prune(self, *, finished_before_us: int) -> int:
        """Forget jobs that finished before this; return how many."""
        with self._writing() as connection:
            connection.execute("DELETE FROM jobs WHERE finished_us < ?", (finished_before_us,))
            return connection.changes()

    def close(self) -> None:
        """Release the queue; everything in it stays."""
        with self._lock:
            self._connection.close()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[apsw.Connection]:
        with self._lock, _translated(self._path):
            yield self._connection

    @contextlib.contextmanager
    def _writing(self) -> Iterator[apsw.Connection]:
        """Lend the connection inside a transaction that nobody else can be in."""
        with self._lock, _translated(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    """Raise SQLite's troubles in our words."""
    try:
        yield
    except apsw.FullError as error:
        raise HeadwaterError(
            "storage_exhausted",
            f"there is no room on the disk of {path}",
            hint="free disk space",
            retry_after_seconds=10,
        ) from error
    except apsw.ConstraintError:
        raise
    except apsw.Error as error:
        # The answer goes to callers, who are not told where things lie.
        _log.error("job_queue_unusable", path=str(path), error=str(error))
        raise HeadwaterError(
            "services_unavailable",
            f"the job queue cannot be used: {error}",
            hint="check the disk and the permissions of the home's folder jobs/",
            retry_after_seconds=2,
        ) from error


def _find_keyed(connection: apsw.Connection, keyed: Keyed) -> Job | None:
    found = connection.execute("SELECT id, fingerprint FROM jobs WHERE scope = ?", (keyed.scope,)).fetchall()
    if not found:
        return None
    job_id, fingerprint = str(found[0][0]), found[0][1]
    if fingerprint != keyed.fingerprint:
        raise HeadwaterError(
            "idempotency_key_reused",
            "this Idempotency-Key was used to ask for another job",
            hint="use a new key for a new job",
        )
    return _require(connection, job_id)


def _is_held(connection: apsw.Connection, claim: Claim) -> bool:
    where = (claim.job.new.id, claim.lease)
    return bool(connection.execute("SELECT 1 FROM jobs WHERE id = ? AND lease = ?", where).fetchall())


def _end(connection: apsw.Connection, job_id: str, state: State, now_us: int, error: Mapping[str, Any] | None) -> None:
    connection.execute(
        "UPDATE jobs SET state = ?, finished_us = ?, error = ?, lease = NULL, due_us = NULL WHERE id = ?",
        (state.value, now_us, None if error is None else _encode(error), job_id),
    )


def _require(connection: apsw.Connection, job_id: str) -> Job:
    job = _find(connection, "id = ?", (job_id,))
    assert job is not None
    return job


def _find(connection: apsw.Connection, where: str, bindings: tuple[Any, ...]) -> Job | None:
    return next(iter(_select(connection, where, bindings)), None)


def _select(connection: apsw.Connection, where: str, bindings: tuple[Any, ...]) -> list[Job]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", bindings).fetchall()  # noqa: S608 - ours
    return [_job(row) for row in rows]


def _job(row: tuple[Any, ...]) -> Job:
    *new, state, progress, attempts, is_cancelling, error, started_us, finished_us, due_us = row
    return Job(
        NewJob(*new),
        State(state),
        _decode_progress(progress),
        attempts,
        bool(is_cancelling),
        None if error is None else _decode(error),
        started_us,
        finished_us,
        due_us if state == State.QUEUED else None,
    )
