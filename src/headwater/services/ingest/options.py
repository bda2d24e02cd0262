"""What a caller asks for in query parameters and headers, checked before the body is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache
from typing import Final, Literal, TypeVar, get_args
from urllib.parse import parse_qsl

from msgspec import Struct

from headwater.contracts.rows import CsvDialect, Format
from headwater.core.errors import HeadwaterError

OnError = Literal["quarantine", "reject_row", "reject_batch"]
Ack = Literal["durable", "committed"]
ErrorDetail = Literal["summary", "first100", "all"]
Encoding = Literal["identity", "gzip", "zstd"]

MEDIA_TYPES: Final = {
    "application/json": Format.JSON,
    "application/x-ndjson": Format.NDJSON,
    "application/ndjson": Format.NDJSON,
    "application/jsonl": Format.NDJSON,
    "text/csv": Format.CSV,
}
ENCODINGS: Final[dict[str, Encoding]] = {"": "identity", "identity": "identity", "gzip": "gzip", "zstd": "zstd"}
ACCEPT: Final = "application/json, application/x-ndjson, text/csv"
ACCEPT_ENCODING: Final = "gzip, zstd, identity"

_Text = TypeVar("_Text", bound=str)
_ON_ERROR: Final[tuple[OnError, ...]] = get_args(OnError)
_ACK: Final[tuple[Ack, ...]] = get_args(Ack)
_ERRORS: Final[tuple[ErrorDetail, ...]] = get_args(ErrorDetail)
_CSV_PARAMETERS: Final = frozenset({"delimiter", "quote", "null", "header"})
_PARAMETERS: Final = frozenset({"format", "on_error", "ack", "errors", "contract"}) | _CSV_PARAMETERS
_HEADER_VALUES: Final = {"present": True, "true": True, "absent": False, "false": False}
_ONCE: Final = frozenset(
    {b"content-type", b"content-encoding", b"content-length", b"content-digest", b"idempotency-key", b"prefer"}
)
_MAX_QUERY_BYTES: Final = 4_096
_MAX_PARAMETERS: Final = 32


@dataclass(frozen=True, slots=True)
class Options:
    """How a body is to be read and answered. ``on_error`` and ``contract`` are None where the contract decides."""

    form: Format
    dialect: CsvDialect
    encoding: Encoding
    on_error: OnError | None = None
    ack: Ack = "durable"
    errors: ErrorDetail = "first100"
    contract: str | None = None
    minimal: bool = False


class Headers(Struct, frozen=True):
    """The headers that ingest reads, as sent."""

    options: Options
    content_length: int | None
    content_digest: bytes | None
    idempotency_key: bytes | None


def read_headers(headers: Sequence[tuple[bytes, bytes]], query: bytes) -> Headers:
    """Return what these ASGI headers and this query string ask for.

    Raises:
        HeadwaterError: ``invalid_header``, ``invalid_parameter``, ``unsupported_media_type``,
            ``unsupported_encoding``, each naming what is wrong and what is accepted.
    """
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ONCE:
            if name in found:
                raise HeadwaterError(
                    "invalid_header", f"the header {name.decode()} was sent twice", hint="send it once"
                )
            found[name] = value
    get = found.get
    options = read_options(get(b"content-type", b""), get(b"content-encoding", b""), get(b"prefer", b""), query)
    length = get(b"content-length")
    if length is not None and not length.isdigit():
        raise HeadwaterError("invalid_header", "Content-Length must be a whole number")
    return Headers(
        options=options,
        content_length=int(length) if length is not None else None,
        content_digest=get(b"content-digest"),
        idempotency_key=get(b"idempotency-key"),
    )


@lru_cache(maxsize=512)
def read_options(content_type: bytes, content_encoding: bytes, prefer: bytes, query: bytes) -> Options:
    """Return the options; cached, since producers send the same ones again and again."""
    parameters = _read_query(query)
    form, media = _read_format(content_type, parameters.get("format"))
    if form is not Format.CSV:
        for name in _CSV_PARAMETERS & parameters.keys():
            raise HeadwaterError("invalid_parameter", f"{name!r} is for CSV only", hint="send text/csv or leave it out")
    encoding = ENCODINGS.get(content_encoding.decode("latin-1").strip().lower())
    if encoding is None:
        raise HeadwaterError(
            "unsupported_encoding",
            f"the content encoding {content_encoding[:64].decode('latin-1')!r} is not supported",
            hint=f"one of: {ACCEPT_ENCODING}; only one at a time",
        )
    return Options(
        form=form,
        dialect=_read_dialect(media, parameters),
        encoding=encoding,
        on_error=_choice(parameters, "on_error", _ON_ERROR),
        ack=_choice(parameters, "ack", _ACK) or "durable",
        errors=_choice(parameters, "errors", _ERRORS) or "first100",
        contract=parameters.get("contract"),
        minimal=any(part.strip().lower() == b"return=minimal" for part in prefer.replace(b";", b",").split(b",")),
    )


def _read_query(query: bytes) -> dict[str, str]:
    if not query:
        return {}
    if len(query) > _MAX_QUERY_BYTES:
        raise HeadwaterError("invalid_parameter", f"the query string is longer than {_MAX_QUERY_BYTES} bytes")
    try:
        pairs = parse_qsl(
            query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError as error:
        raise HeadwaterError("invalid_parameter", "the query string cannot be read; percent-encode it") from error
    parameters: dict[str, str] = {}
    for name, value in pairs:
        if name not in _PARAMETERS:
            raise HeadwaterError(
                "invalid_parameter",
                f"there is no parameter {name[:64]!r}",
                hint=f"one of: {', '.join(sorted(_PARAMETERS))}",
            )
        if name in parameters:
            raise HeadwaterError("invalid_parameter", f"the parameter {name!r} was given twice", hint="give it once")
        parameters[name] = value
    return parameters


def _read_format(content_type: bytes, wanted: str | None) -> tuple[Format, Message]:
    """Return the format, which ``format=`` decides where given, and the parsed content type."""
    media = Message()
    media["content-type"] = content_type.decode("latin-1").replace("\r", " ").replace("\n", " ")
    if wanted is not None:
        try:
            return Format(wanted), media
        except ValueError:
            raise HeadwaterError(
                "unsupported_media_type",
                f"the format {wanted[:64]!r} is not supported",
                hint=f"format is one of: {', '.join(Format)}",
            ) from None
    form = MEDIA_TYPES.get(media.get_content_type()) if content_type else None
    if form is None:
        named = f"the content type {content_type[:100].decode('latin-1')!r} is not supported"
        raise HeadwaterError(
            "unsupported_media_type",
            named if content_type else "there is no Content-Type",
            hint=f"send one of: {ACCEPT}; or name it with ?format=",
        )
    charset = media.get_param("charset")
    if isinstance(charset, str) and charset.lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise HeadwaterError(
            "unsupported_media_type", f"the charset {charset[:64]!r} is not supported", hint="send UTF-8"
        )
    return form, media


def _read_dialect(media: Message, parameters: dict[str, str]) -> CsvDialect:
    declared = media.get_param("header", "present")
    header = _choice(parameters, "header", tuple(_HEADER_VALUES)) or str(declared).lower()
    if header not in _HEADER_VALUES:
        raise HeadwaterError(
            "invalid_header", f"Content-Type: header={header[:32]} is not known", hint="present or absent"
        )
    for name in ("delimiter", "quote"):
        value = parameters.get(name)
        if value is not None and (len(value) != 1 or not value.isascii() or value in "\r\n\0"):
            raise HeadwaterError("invalid_parameter", f"{name!r} must be one ASCII character", hint="percent-encode it")
    dialect = CsvDialect(
        delimiter=parameters.get("delimiter", ","),
        quote=parameters.get("quote", '"'),
        null=parameters.get("null", ""),
        header=_HEADER_VALUES[header],
    )
    if dialect.delimiter == dialect.quote:
        raise HeadwaterError("invalid_parameter", "'delimiter' and 'quote' must differ")
    return dialect


def _choice(parameters: dict[str, str], name: str, allowed: tuple[_Text, ...]) -> _Text | None:
    value = parameters.get(name)
    if value is None:
        return None
    for candidate in allowed:
        if candidate == value:
            return candidate
    raise HeadwaterError(
        "invalid_parameter", f"{name!r} cannot be {value[:64]!r}", hint=f"one of: {', '.join(allowed)}"
    )
