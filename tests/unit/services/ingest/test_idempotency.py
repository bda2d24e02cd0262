from __future__ import annotations

import pytest

from headwater.contracts.rows import CsvDialect, Format
from headwater.core.errors import HeadwaterError
from headwater.services.ingest.idempotency import InProgress, fingerprint_of, scope_of
from headwater.services.ingest.options import Options
from headwater.services.kit.idempotency import parse_key

NDJSON = Options(Format.NDJSON, CsvDialect(), "identity")


@pytest.mark.parametrize(
    ("header", "key"),
    [
        (b"a", b"a"),
        (b"018f-A.b_c:~", b"018f-A.b_c:~"),
        (b'"with spaces, and more"', b"with spaces, and more"),
        (rb'"a \"quoted\" \\ one"', rb'a "quoted" \ one'),
        (b"x" * 255, b"x" * 255),
    ],
)
def test_a_key_is_a_token_or_a_quoted_string(header: bytes, key: bytes) -> None:
    assert parse_key(header) == key


@pytest.mark.parametrize("header", [b"", b'""', b"a b", b'"a', b'a"', b"\xe9", b'"\x07"', b"x" * 256, rb'"\n"'])
def test_anything_else_is_no_key(header: bytes) -> None:
    with pytest.raises(HeadwaterError) as caught:
        parse_key(header)
    assert caught.value.code == "idempotency_key_invalid"


def test_a_scope_is_of_one_environment_dataset_principal_and_method() -> None:
    scopes = {
        scope_of("env_1", "flights", "sva_1", "POST", b"k"),
        scope_of("env_2", "flights", "sva_1", "POST", b"k"),
        scope_of("env_1", "weather", "sva_1", "POST", b"k"),
        scope_of("env_1", "flights", "sva_2", "POST", b"k"),
        scope_of("env_1", "flights", "sva_1", "PUT", b"k"),
        scope_of("env_1", "flights", "sva_1", "POST", b"l"),
        scope_of("env_1f", "lights", "sva_1", "POST", b"k"),
    }
    assert len(scopes) == 7


def test_a_fingerprint_changes_with_whatever_changes_the_meaning() -> None:
    others = [
        Options(Format.JSON, CsvDialect(), "identity"),
        Options(Format.NDJSON, CsvDialect(), "identity", on_error="reject_row"),
        Options(Format.NDJSON, CsvDialect(), "identity", contract="1.0"),
        Options(Format.NDJSON, CsvDialect(";"), "identity"),
    ]
    prints = {fingerprint_of(b"rows", options) for options in [NDJSON, *others]} | {fingerprint_of(b"other", NDJSON)}
    assert len(prints) == 6


def test_how_the_body_was_sent_and_is_answered_changes_nothing() -> None:
    other = Options(Format.NDJSON, CsvDialect(), "gzip", ack="committed", errors="all", minimal=True)
    assert fingerprint_of(b"rows", other) == fingerprint_of(b"rows", NDJSON)


def test_a_key_in_progress_is_refused_until_it_ends() -> None:
    keys = InProgress()
    keys.begin(b"scope")
    with pytest.raises(HeadwaterError) as caught:
        keys.begin(b"scope")
    assert (caught.value.code, caught.value.retry_after_seconds) == ("idempotency_in_progress", 1)
    keys.end(b"scope")
    keys.begin(b"scope")
