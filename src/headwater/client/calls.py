"""The calls as values: what to send and how to read the answer. Both clients only carry them."""

from __future__ import annotations

import gzip
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, TypeVar, cast
from urllib.parse import quote

import httpx

from headwater.client.encoding import compress, encode_rows, parameter_text
from headwater.client.errors import ApiError, ClientError
from headwater.client.framing import BATCH_BYTES, BATCH_ROWS, MEDIA_TYPES, Format, Piece, gather_lines, split
from headwater.client.results import Counts, IngestReply, QueryResult

T = TypeVar("T")
Rows = Iterable[Mapping[str, Any]]
DEFAULT_URL: Final = "http://127.0.0.1:8001"
_ALL_BAD: Final = 422


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request and how its answer is read.

    Attributes:
        read: turns an answer into the result; raises ``ApiError`` when it is an error.
        repeatable: sending it twice has the effect of sending it once.
        attempts: how often it is sent at most; None leaves that to the client.
    """

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    repeatable: bool = True
    attempts: int | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the services are and who is asking; from ``HEADWATER_URL`` and ``HEADWATER_API_KEY`` where not given."""

    url: str
    headers: Mapping[str, str]

    @classmethod
    def to(cls, url: str | None, api_key: str | None) -> Connection:
        """Fill in what is not given.

        Raises:
            ClientError: there is no API key.
        """
        key = api_key or os.environ.get("HEADWATER_API_KEY")
        if not key:
            raise ClientError("an API key is needed: pass api_key or set HEADWATER_API_KEY")
        base = url or os.environ.get("HEADWATER_URL") or DEFAULT_URL
        return cls(base.rstrip("/"), {"Authorization": f"Bearer {key.strip()}", "User-Agent": "headwater-client/0.1"})


def ingest(
    dataset: str,
    piece: Piece,
    form: Format,
    *,
    key: str | None = None,
    params: Mapping[str, Any] | None = None,
) -> Call[IngestReply]:
    """Send rows; with a key (a fresh one unless given) a retry is stored once."""
    body, encoding = compress(piece.body)
    return Call(
        "POST",
        f"/v1/datasets/{segment(dataset)}/rows",
        lambda response: _read_ingest(response, piece.first_row),
        params=_query(params),
        headers={
            "Content-Type": MEDIA_TYPES[form],
            "Idempotency-Key": key or secrets.token_hex(16),
            **encoding,
        },
        body=body,
    )


def ingest_calls(
    dataset: str,
    data: Rows | bytes | BinaryIO | Path,
    form: Format | None,
    *,
    key: str | None,
    batch_rows: int = BATCH_ROWS,
    params: Mapping[str, Any] | None = None,
) -> Iterator[Call[IngestReply]]:
    """Return the requests that ``data`` takes, made one at a time.

    ``key`` names the whole input; each request gets ``<key>-<number>``.
    """
    if isinstance(data, bytes):
        if form is None:
            raise ClientError("bytes need format='ndjson', 'json' or 'csv'")
        yield ingest(dataset, Piece(data, 0, 0), form, key=key, params=params)
        return
    if isinstance(data, Path):
        form = form or guess_format(data)
        with open_input(data) as stream:
            yield from ingest_calls(dataset, stream, form, key=key, batch_rows=batch_rows, params=params)
        return
    if hasattr(data, "read"):
        if form is None:
            raise ClientError("a stream needs format='ndjson', 'json' or 'csv'")
        pieces = split(cast("BinaryIO", data), form, batch_rows=batch_rows)
    else:
        form = "ndjson"
        pieces = gather_lines(encode_rows(data), batch_rows, BATCH_BYTES)
    for number, piece in enumerate(pieces):
        yield ingest(dataset, piece, form, key=f"{key}-{number}" if key else None, params=params)


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading, decompressing ``.gz`` on the way."""
    return cast("BinaryIO", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def guess_format(path: Path) -> Format:
    """Return the format that a file's name says, looking below ``.gz``.

    Raises:
        ClientError: the name says none.
    """
    names: dict[str, Format] = {".csv": "csv", ".json": "json", ".ndjson": "ndjson", ".jsonl": "ndjson"}
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    form = names.get(suffixes[-1]) if suffixes else None
    if form is None:
        raise ClientError(f"the format of {path.name} is not clear from its name; say csv, ndjson or json")
    return form


def query(endpoint: str, params: Mapping[str, Any] | None) -> Call[QueryResult]:
    """Ask an endpoint for JSON."""
    return Call(
        "GET",
        f"/v1/endpoints/{segment(endpoint)}",
        _read_query,
        params=_query(params),
        headers={"Accept": "application/json"},
    )


def first_page(endpoint: str, params: Mapping[str, Any] | None, page_rows: int) -> Call[QueryResult]:
    """Ask an endpoint for the first page of its result."""
    return query(endpoint, {**(params or {}), "limit": page_rows})


def next_page(endpoint: str, cursor: str) -> Call[QueryResult]:
    """Ask an endpoint for the page that a cursor leads to."""
    return query(endpoint, {"cursor": cursor})


def query_bytes(endpoint: str, params: Mapping[str, Any] | None, media_type: str) -> Call[bytes]:
    """Ask an endpoint for another format, as bytes."""
    return Call(
        "GET",
        f"/v1/endpoints/{segment(endpoint)}",
        lambda response: checked(response).content,
        params=_query(params),
        headers={"Accept": media_type},
    )


def get(path: str, *names: str) -> Call[dict[str, Any]]:
    """Read a JSON object below ``path``."""
    return Call("GET", "/".join([path, *(segment(name) for name in names)]), read_object)


def segment(name: str) -> str:
    """Return a name as a segment of a path."""
    return quote(name, safe="@")


def _query(params: Mapping[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """Return query parameters; None is left out, a list is repeated."""
    pairs: list[tuple[str, str]] = []
    for name, value in (params or {}).items():
        values = value if isinstance(value, list | tuple) else [value]
        pairs.extend((name, parameter_text(one)) for one in values if one is not None)
    return tuple(pairs)


def checked(response: httpx.Response) -> httpx.Response:
    """Return the answer; raises ``ApiError`` when it is an error."""
    if response.is_success:
        return response
    raise ApiError.from_response(response)


def read_object(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    body = checked(response).json()
    if not isinstance(body, dict):
        raise ClientError(f"the server answered {type(body).__name__} where an object was expected")
    return body


def _read_ingest(response: httpx.Response, first_row: int) -> IngestReply:
    """Read the verdict; an input whose rows are all bad is one too, although it comes as 422."""
    is_problem = "problem" in response.headers.get("content-type", "")
    if not response.is_success and (response.status_code != _ALL_BAD or is_problem):
        raise ApiError.from_response(response)
    body = response.json()
    return IngestReply(
        receipt=str(body.get("receipt", "")),
        counts=Counts.read(body.get("counts", body)),
        errors=tuple({**error, "row": int(error.get("row", 0)) + first_row} for error in body.get("errors", ())),
        error_summary=tuple(body.get("error_summary", ())),
        replayed=response.headers.get("idempotency-replayed") == "true",
        status=response.status_code,
    )


def _read_query(response: httpx.Response) -> QueryResult:
    body = read_object(response)
    return QueryResult(rows=body["data"], meta=body.get("meta", {}), etag=response.headers.get("etag"))
