from __future__ import annotations

import pytest

from headwater.contracts.rows import CsvDialect, Format
from headwater.core.errors import HeadwaterError
from headwater.services.ingest.options import read_headers, read_options


def refuse(code: str, content_type: bytes = b"application/json", encoding: bytes = b"", query: bytes = b"") -> str:
    with pytest.raises(HeadwaterError) as caught:
        read_options(content_type, encoding, b"", query)
    assert caught.value.code == code
    return f"{caught.value.detail} {caught.value.hint}"


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        (b"application/json", Format.JSON),
        (b"Application/JSON; charset=UTF-8", Format.JSON),
        (b"application/x-ndjson", Format.NDJSON),
        (b"application/jsonl", Format.NDJSON),
        (b"text/csv; charset=utf-8; header=present", Format.CSV),
    ],
)
def test_the_content_type_names_the_format(content_type: bytes, form: Format) -> None:
    assert read_options(content_type, b"", b"", b"").form is form


def test_the_format_parameter_wins_over_the_content_type() -> None:
    assert read_options(b"application/x-www-form-urlencoded", b"", b"", b"format=ndjson").form is Format.NDJSON


@pytest.mark.parametrize(
    "content_type", [b"", b"text/plain", b"application/vnd.apache.parquet", b"\xff\xfe", b"a\r\nb: c"]
)
def test_other_content_types_are_refused_with_those_that_are_accepted(content_type: bytes) -> None:
    assert "application/x-ndjson" in refuse("unsupported_media_type", content_type)


@pytest.mark.parametrize("form", [b"parquet", b"arrow", b""])
def test_a_format_that_is_not_supported_is_refused(form: bytes) -> None:
    assert "json, ndjson, csv" in refuse("unsupported_media_type", query=b"format=" + form)


def test_another_charset_is_refused() -> None:
    assert "utf-16" in refuse("unsupported_media_type", b"text/csv; charset=utf-16")


@pytest.mark.parametrize("encoding", [b"br", b"gzip, gzip", b"gzip,zstd", b"deflate", b"\xe9"])
def test_one_of_the_known_encodings_is_needed(encoding: bytes) -> None:
    assert "gzip, zstd" in refuse("unsupported_encoding", encoding=encoding)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (b"oops=1", "'oops'"),
        (b"on_error=explode", "'on_error'"),
        (b"ack=now", "'ack'"),
        (b"errors=some", "'errors'"),
        (b"ack=durable&ack=durable", "'ack'"),
        (b"delimiter=;", "'delimiter'"),
        (b"%ff=1", "query string"),
        (b"\xff", "query string"),
        (b"&".join([b"ack=durable"] * 40), "query string"),
        (b"contract=" + b"1" * 5_000, "query string"),
    ],
)
def test_a_wrong_parameter_is_named(query: bytes, named: str) -> None:
    assert named in refuse("invalid_parameter", query=query)


def test_csv_can_be_written_in_other_dialects() -> None:
    options = read_options(b"text/csv", b"", b"", b"delimiter=%3B&quote=%27&null=NA&header=absent")
    assert options.dialect == CsvDialect(";", "'", "NA", header=False)
    assert read_options(b"text/csv; header=absent", b"", b"", b"").dialect.header is False


@pytest.mark.parametrize("query", [b"delimiter=%0A", b"delimiter=ab", b"quote=", b"delimiter=%C3%A9", b"delimiter=%22"])
def test_a_dialect_that_cannot_be_read_is_refused(query: bytes) -> None:
    refuse("invalid_parameter", b"text/csv", query=query)


def test_minimal_answers_are_asked_for_with_prefer() -> None:
    assert read_options(b"application/json", b"", b"respond-async, Return=minimal", b"").minimal
    assert not read_options(b"application/json", b"", b"return=representation", b"").minimal


@pytest.mark.parametrize("name", [b"content-type", b"content-encoding", b"idempotency-key", b"content-digest"])
def test_a_header_sent_twice_is_refused_by_name(name: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (name, b"a"), (name, b"a")]
    with pytest.raises(HeadwaterError, match=name.decode()) as caught:
        read_headers(headers, b"")
    assert caught.value.code == "invalid_header"


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"", b"0x10", b"\xb2"])
def test_a_content_length_that_is_no_number_is_refused(length: bytes) -> None:
    with pytest.raises(HeadwaterError, match="Content-Length"):
        read_headers([(b"content-type", b"application/json"), (b"content-length", length)], b"")
