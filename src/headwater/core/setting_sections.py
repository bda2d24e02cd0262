"""The groups of settings, with what each setting means, its bounds and its default."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from headwater.core.addresses import read_network
from headwater.core.errors import HeadwaterError

SLUG: Final = r"^[a-z][a-z0-9_-]{0,62}$"


def _check_networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        try:
            read_network(text)
        except HeadwaterError as error:
            raise ValueError(f"{error.detail}; {error.hint}") from error
    return texts


Networks = Annotated[tuple[str, ...], AfterValidator(_check_networks)]


class Section(BaseModel):
    """A group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ControlSettings(Section):
    """The Django process."""

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on")
    url: str | None = Field(None, description="Where services reach control; default from host and port")
    allowed_hosts: tuple[str, ...] = Field(
        ("127.0.0.1", "localhost", "[::1]"), description="Host names that browsers may use; name yours behind a proxy"
    )
    trusted_proxies: Networks = Field((), description="Networks of proxies whose X-Forwarded-For is believed")
    secure_cookies: bool = Field(False, description="Send cookies over HTTPS only; set it once TLS is in front")
    email_url: str = Field(
        "console://", description="console://, smtp://user:password@host:port, smtps://… or file:///folder"
    )
    email_from: str = Field("Headwater <headwater@localhost>", description="The sender of mails")


class IdentitySettings(Section):
    """How people come in."""

    open_signup: bool = Field(False, description="Let anybody make an account; otherwise invitation or domain")
    loopback_issuers: bool = Field(
        False, description="Let identity providers run on this very machine, also without TLS: development alone"
    )


class ServicesSettings(Section):
    """The FastAPI process."""

    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8001, ge=0, le=65535, description="Port to listen on")
    url: str | None = Field(None, description="Where control reaches services; default from host and port")
    workers: int = Field(1, ge=1, le=64, description="Processes that serve the data plane")
    trusted_proxies: Networks = Field((), description="Networks of proxies whose X-Forwarded-For is believed")


class DatabaseSettings(Section):
    """The control database."""

    url: str | None = Field(None, description="sqlite:///path or postgresql://…; default: control.sqlite3 in the home")


class JournalSettings(Section):
    """The durable journal in front of the lake."""

    url: str | None = Field(None, description="sqlite:///path; default: journal/journal.sqlite3 in the home")
    max_unsealed_bytes: int = Field(
        8 << 30, ge=1 << 20, description="More waiting for the sealer than this, and ingest answers 503"
    )
    min_free_bytes: int = Field(2 << 30, ge=0, description="Below this much free disk, ingest answers 503")


class LakeSettings(Section):
    """The Delta tables and their upkeep by the sealer."""

    url: str | None = Field(None, description="Default: lake/ in the home")
    seal_interval_seconds: float = Field(1.0, gt=0, description="How long a row may wait before it is sealed")
    segment_max_bytes: int = Field(64 << 20, ge=1 << 16, description="A commit is closed at this size")
    segment_max_rows: int = Field(250_000, ge=1, description="A commit is closed at this many rows")
    compact_every_commits: int = Field(100, ge=2, description="Small files are merged after this many commits")
    vacuum_retention_hours: int = Field(24, ge=1, description="Replaced files are kept this long for readers")


class CacheSettings(Section):
    """Valkey or Redis: the broker, and once its URL is set, query results and limits that all workers share."""

    url: str | None = Field(
        None, description="redis://host:port/0; default: the Valkey that `up` starts, for the broker alone"
    )


class BrokerSettings(Section):
    """The Celery broker."""

    url: str | None = Field(None, description="Default: the cache's server")


class ArtifactsSettings(Section):
    """Where model artifacts lie, by their sha256."""

    url: str | None = Field(None, description="Default: artifacts/ in the home")


class IngestSettings(Section):
    """Limits of one ingest request (``docs/reference/ingest.md``)."""

    max_body_bytes: int = Field(16 << 20, ge=1024, le=100 << 20, description="Of the body as sent")
    max_decompressed_bytes: int = Field(64 << 20, ge=1024, le=512 << 20, description="Of the body once decompressed")
    max_compression_ratio: int = Field(100, ge=2, description="Decompressed over compressed size")
    max_row_bytes: int = Field(1 << 20, ge=64, description="Of one row")
    max_rows: int = Field(100_000, ge=1, description="Of one request")
    max_in_flight_bytes: int = Field(
        256 << 20, ge=1 << 20, description="Of all bodies being worked on in one process; beyond it, 503"
    )
    body_stall_seconds: float = Field(30.0, gt=0, description="A body that pauses longer is given up with 408")
    idempotency_retention_hours: int = Field(24, ge=24, le=168, description="How long outcomes are kept by key")


class QuerySettings(Section):
    """DuckDB in the services process and in the ad-hoc workers."""

    memory_limit_bytes: int = Field(1 << 30, ge=1 << 26, description="DuckDB's memory in the services process")
    threads: int = Field(2, ge=1, description="Threads of one DuckDB instance")
    concurrency: int = Field(4, ge=1, description="Queries that run at once in one process; others wait briefly")
    sql_timeout_seconds: float = Field(10.0, gt=0, description="An ad-hoc query is ended after this")
    sql_memory_bytes: int = Field(2 << 30, ge=1 << 27, description="Address space of an ad-hoc worker process")
    sql_max_rows: int = Field(10_000, ge=1, description="Rows that an ad-hoc query returns at most")
    live_max_streams: int = Field(5_000, ge=1, description="Streams of live results open at once in one process")
    live_max_streams_per_key: int = Field(1_000, ge=1, description="Of those, what one key or reader may have open")
    sql_max_scanned_bytes: int = Field(
        8 << 30, ge=0, description="An ad-hoc query that would read more of tables is refused; 0: none is"
    )
    log: bool = Field(True, description="Write each answer of a query to the dataset `query_log`")
    log_parameters: Literal["digest", "values"] = Field(
        "digest",
        description="How parameters are logged; `values` shows numbers, dates and enumerations, never free text",
    )
    log_retention_days: int = Field(30, ge=1, description="Rows of `query_log` are deleted after this")
    accelerator_bytes: int = Field(
        4 << 30, ge=0, description="Disk for DuckDB files of tables that are asked often; 0: none are made"
    )
    accelerator_memory_bytes: int = Field(
        512 << 20, ge=1 << 26, description="DuckDB's memory for reading those files, and again for building one"
    )
    accelerator_min_free_bytes: int = Field(
        2 << 30, ge=0, description="No such file is begun that would leave less of the disk free"
    )


class InferenceSettings(Section):
    """Models: what may be loaded, and what watches them."""

    allow_pickle: bool = Field(
        False,
        description="Load joblib and pickle artifacts, which run code of whoever wrote them, in their own process",
    )
    allow_python: bool = Field(True, description="Load models that are Python classes of a project")
    remote_networks: Networks = Field(
        (),
        description="Private networks that remote models may lie in, such as 10.1.0.0/16; public addresses always may",
    )
    remote_variables: tuple[str, ...] = Field(
        (), description="Environment variables that models may send to remote servers in headers; no other is read"
    )
    remote_reply_bytes: int = Field(
        64 << 20, ge=1 << 10, description="What a remote server may answer to one request; a longer answer is not read"
    )
    sidecar: bool = Field(True, description="Log and profile predictions in a process of their own beside each worker")
    max_in_flight_bytes: int = Field(
        256 << 20, ge=1 << 20, description="Of all bodies being worked on in one process; beyond it, 503"
    )


class BatchSettings(Section):
    """Jobs that score whole datasets."""

    executor: Literal["local", "ray"] = Field(
        "local", description="Who scores the rows: the job's own process, or the tasks of a Ray cluster"
    )
    address: str | None = Field(
        None,
        pattern=r"^(auto|[^\s/:]+:[0-9]{1,5})$",
        description="Ray cluster that this machine is a node of, as host:port or `auto`; default: one is started here",
    )
    chunks_at_once: int = Field(
        0, ge=0, le=10_000, description="Chunks of one job under way on Ray; 0: two for each of its processors"
    )
    jobs_at_once: int = Field(1, ge=1, le=64, description="Jobs worked off at a time, each in a process of its own")


class OnlineSettings(Section):
    """The online feature store."""

    url: str | None = Field(None, description="redis://host:port/0; default: online/ in the home")


class LogSettings(Section):
    """Log lines."""

    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least severe line shown")
    format: Literal["console", "json"] = Field("console", description="`json` writes one object a line")


class TargetSettings(Section):
    """Which organisation, project and environment the commands act on; made on the first start."""

    organization: str = Field("default", pattern=SLUG, description="Its slug")
    project: str = Field("default", pattern=SLUG, description="Its slug")
    environment: str = Field("development", pattern=SLUG, description="Its key")


class UpSettings(Section):
    """What `headwater up` does beyond starting processes."""

    after_start: tuple[str, ...] = Field(
        (), description="Commands run in the project directory once everything is ready; each must be safe to repeat"
    )
