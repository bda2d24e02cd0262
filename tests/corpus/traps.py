"""Awkward rows of the 14-field event, each with the one right verdict, whatever format or path it takes.

``line`` is the row as NDJSON. ``cells`` names the CSV cells in which the same oddity can be written; a case without
them exists in JSON alone. ``kept`` is what an accepted row must hold, by column.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

BASE: Mapping[str, str] = {
    "id": '"ce6ba0ba-3adb-48f8-9710-ab972def0123"',
    "tenant": '"tenant-001"',
    "ts": '"2026-01-01T10:00:00Z"',
    "amount": "12.5",
    "currency": '"EUR"',
    "status": '"created"',
    "qty": "7",
    "user": '{"id":5,"country":"US","age":30}',
    "tags": '["new"]',
    "ip": '"10.0.0.1"',
    "score": "0.5",
    "is_test": "false",
    "note": '"hello"',
    "metadata": '{"source":"api"}',
}


@dataclass(frozen=True)
class Trap:
    """One awkward row. ``code`` is the row code of a refusal; None means that the row is accepted."""

    name: str
    line: bytes
    code: str | None
    kept: Mapping[str, Any] = field(default_factory=dict)
    cells: Mapping[str, str] | None = None

    @property
    def is_accepted(self) -> bool:
        return self.code is None


def row(changes: Mapping[str, str] | None = None, *, drop: str | None = None, tail: str = "") -> str:
    members = {name: value for name, value in {**BASE, **(changes or {})}.items() if name != drop}
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + tail + "}"


def cell_of(value: str) -> str:
    """Return the CSV cell that says what a JSON value says."""
    text = json.loads(value) if value.startswith('"') else value
    return '"' + text.replace('"', '""') + '"'


def change(name: str, column: str, value: str, code: str | None = None, kept: Any = ..., *, csv: bool = True) -> Trap:
    """Return a trap with one other value, in CSV too unless the oddity is one of JSON's spelling."""
    keep = {} if kept is ... else {column: kept}
    cells = {column: cell_of(value)} if csv else None
    return Trap(name, row({column: value}).encode(), code, keep, cells)


def raw(name: str, line: bytes, code: str | None, kept: Mapping[str, Any] | None = None) -> Trap:
    return Trap(name, line, code, kept or {})


def in_tenant(data: bytes) -> bytes:
    return row().encode().replace(b"tenant-001", data)


def instant(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type,misc]


EMOJI = "😀"
TEN = instant(2026, 1, 1, 10)

TRAPS: tuple[Trap, ...] = (
    change("int for float amount=5", "amount", "5", kept=5.0),
    change("float string amount='12.5'", "amount", '"12.5"', "type_mismatch", csv=False),
    change("int string qty='7'", "qty", '"7"', "type_mismatch", csv=False),
    change("integral float qty=7.0", "qty", "7.0", kept=7),
    change("fraction qty=7.5", "qty", "7.5", "type_mismatch"),
    change("exponent qty=1e3", "qty", "1e3", "type_mismatch"),
    change("bool as int qty=true", "qty", "true", "type_mismatch"),
    change("int as bool is_test=1", "is_test", "1", "type_mismatch"),
    change("string bool 'true'", "is_test", '"true"', "type_mismatch", csv=False),
    change("number as str tenant=5", "tenant", "5", "type_mismatch", csv=False),
    change("big int qty=2^63", "qty", str(2**63), "out_of_range"),
    change("big int qty=2^63-1", "qty", str(2**63 - 1), kept=2**63 - 1),
    change("big int qty=1e25 digits", "qty", "1" + "0" * 25, "out_of_range"),
    change("int16 overflow user.age=70000", "user", '{"id":5,"country":"US","age":70000}', "out_of_range"),
    change("amount=NaN", "amount", "NaN", "malformed_json", csv=False),
    change("amount=Infinity", "amount", "Infinity", "malformed_json", csv=False),
    change("amount=1e400", "amount", "1e400", "malformed_json"),
    change("amount=-0.0", "amount", "-0.0", kept=-0.0),
    change("amount 0.1+17 digits", "amount", "0.12345678901234568", kept=0.12345678901234568),
    change("leading zero amount=01", "amount", "01", "malformed_json", csv=False),
    change("plus sign amount=+1", "amount", "+1", "malformed_json", csv=False),
    change("NaN inside metadata", "metadata", '{"a":NaN}', "malformed_json"),
    change("2^70 inside metadata", "metadata", f'{{"a":{2**70}}}', kept=f'{{"a":{2**70}}}'),
    change("1e400 inside metadata", "metadata", '{"a":1e400}', "malformed_json"),
    change("dup key inside metadata", "metadata", '{"a":1,"a":2}', kept='{"a":1,"a":2}'),
    change("metadata is array", "metadata", "[1]", "type_mismatch"),
    change("metadata is string", "metadata", '"x"', "type_mismatch", csv=False),
    change("metadata null", "metadata", "null", "null_not_allowed"),
    change("metadata novel keys", "metadata", '{"zz":{"q":[1,"two",null]}}', kept='{"zz":{"q":[1,"two",null]}}'),
    change(
        "metadata heterogeneous ver",
        "metadata",
        '{"source":1,"ver":"x","ab":[]}',
        kept='{"source":1,"ver":"x","ab":[]}',
    ),
    change("metadata key order/space kept", "metadata", '{ "b" : 1.10, "a":2 }', kept='{ "b" : 1.10, "a":2 }'),
    raw("duplicate top key amount", row(tail=',"amount":2.0').encode(), None, {"amount": 2.0}),
    raw("duplicate top key, first bad", row({"amount": '"x"'}, tail=',"amount":2.0').encode(), "type_mismatch"),
    raw("unknown field", row(tail=',"surprise":1').encode(), "unknown_field"),
    change("unknown nested field", "user", '{"id":5,"country":"US","zz":1}', "unknown_field"),
    Trap("missing tenant", row(drop="tenant").encode(), "missing_field"),
    Trap("tenant null", row({"tenant": "null"}).encode(), "null_not_allowed", cells={"tenant": ""}),
    change("missing nested country", "user", '{"id":5}', "missing_field"),
    change("user null", "user", "null", "null_not_allowed"),
    Trap("explicit null note", row({"note": "null"}).encode(), None, {"note": None}, {"note": ""}),
    change("null inside tags", "tags", '["a",null]', "null_not_allowed"),
    change("11 tags", "tags", json.dumps(["t"] * 11), "too_many_items"),
    change("note 200 emoji", "note", f'"{EMOJI * 200}"', kept=EMOJI * 200),
    change("note 201 chars", "note", f'"{"x" * 201}"', "too_long"),
    change("country 'us'", "user", '{"id":5,"country":"us"}', "pattern_mismatch"),
    change("country 'US\\n'", "user", '{"id":5,"country":"US\\n"}', "pattern_mismatch"),
    change("country 'ÜS'", "user", '{"id":5,"country":"ÜS"}', "pattern_mismatch"),
    change("uuid uppercase", "id", '"CE6BA0BA-3ADB-48F8-9710-AB972DEF0123"', "pattern_mismatch"),
    change("uuid + newline", "id", '"ce6ba0ba-3adb-48f8-9710-ab972def0123\\n"', "pattern_mismatch"),
    raw("invalid UTF-8 in tenant", in_tenant(b"\xff"), "bad_encoding"),
    raw("overlong UTF-8 in tenant", in_tenant(b"\xc0\xaf"), "bad_encoding"),
    raw("UTF-8 surrogate bytes", in_tenant(b"\xed\xa0\x80"), "bad_encoding"),
    raw("invalid UTF-8 in metadata", row().encode().replace(b'"api"', b'"\xff"'), "bad_encoding"),
    raw("invalid UTF-8 in a key", row(tail=',"k?":1').encode().replace(b"k?", b"k\xff"), "bad_encoding"),
    raw("lone surrogate \\ud800", in_tenant(rb"\ud800"), "bad_encoding"),
    raw("lone surrogate in metadata", row({"metadata": r'{"a":"\ud800"}'}).encode(), "bad_encoding"),
    raw("NUL \\u0000 in tenant", in_tenant(rb"a\u0000b"), None, {"tenant": "a\x00b"}),
    raw("raw control char in string", in_tenant(b"a\tb"), "malformed_json"),
    raw("bad escape \\x", in_tenant(rb"\x41"), "malformed_json"),
    change("ts no offset", "ts", '"2026-01-01T10:00:00"', "timestamp_without_timezone"),
    change("ts +02:00", "ts", '"2026-01-01T10:00:00+02:00"', kept=instant(2026, 1, 1, 8)),
    change("ts +0200", "ts", '"2026-01-01T10:00:00+0200"', "invalid_timestamp"),
    change("ts +02", "ts", '"2026-01-01T10:00:00+02"', "invalid_timestamp"),
    change("ts lower z", "ts", '"2026-01-01T10:00:00z"', kept=TEN),
    change("ts space sep", "ts", '"2026-01-01 10:00:00Z"', "invalid_timestamp"),
    change("ts no seconds", "ts", '"2026-01-01T10:00Z"', "invalid_timestamp"),
    change("ts date only", "ts", '"2026-01-01"', "invalid_timestamp"),
    change("ts 9 digits", "ts", '"2026-01-01T10:00:00.123456789Z"', "precision_loss"),
    change("ts 7 digits .1234567", "ts", '"2026-01-01T10:00:00.1234567Z"', "precision_loss"),
    change("ts 1 digit .5", "ts", '"2026-01-01T10:00:00.5Z"', kept=instant(2026, 1, 1, 10, 0, 0, 500_000)),
    change("ts comma fraction", "ts", '"2026-01-01T10:00:00,5Z"', "invalid_timestamp"),
    change("ts leap second :60", "ts", '"2026-12-31T23:59:60Z"', "invalid_timestamp"),
    change("ts 24:00:00", "ts", '"2026-01-01T24:00:00Z"', "invalid_timestamp"),
    change("ts offset +25:00", "ts", '"2026-01-01T10:00:00+25:00"', "invalid_timestamp"),
    change("ts Feb 30", "ts", '"2026-02-30T10:00:00Z"', "invalid_timestamp"),
    change("ts Feb 29 in a leap year", "ts", '"2000-02-29T10:00:00Z"', kept=instant(2000, 2, 29, 10)),
    change("ts Feb 29 in 1900", "ts", '"1900-02-29T10:00:00Z"', "invalid_timestamp"),
    change("ts year 0000", "ts", '"0000-01-01T00:00:00Z"', "invalid_timestamp"),
    change("ts 0001 +14:00 (underflow)", "ts", '"0001-01-01T00:00:00+14:00"', "invalid_timestamp"),
    change("ts 9999 -14:00 (overflow)", "ts", '"9999-12-31T23:59:59-14:00"', "invalid_timestamp"),
    change("ts epoch number", "ts", "1767261600", "type_mismatch", csv=False),
    change("ts epoch string", "ts", '"1767261600"', "invalid_timestamp"),
    raw("row = null", b"null", "not_an_object"),
    raw("row = []", b"[]", "not_an_object"),
    raw("row = a string", b'"x"', "not_an_object"),
    raw("row truncated", row().encode()[:-20], "malformed_json"),
    raw("two objects on one line", (row() + " " + row()).encode(), "malformed_json"),
    raw("comma-joined objects on one line", (row() + "," + row()).encode(), "malformed_json"),
    raw("trailing garbage", (row() + " x").encode(), "malformed_json"),
    raw("CRLF", row().encode() + b"\r", None),
    change(
        "deep nesting 60", "metadata", '{"a":' + "[" * 60 + "]" * 60 + "}", kept='{"a":' + "[" * 60 + "]" * 60 + "}"
    ),
    change("deep nesting 64", "metadata", '{"a":' + "[" * 63 + "]" * 63 + "}", "too_deep"),
    change("deep nesting 900", "metadata", '{"a":' + "[" * 900 + "]" * 900 + "}", "too_deep"),
    change("deep nesting 100k", "metadata", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "too_deep"),
    change("10^400 in digits", "amount", "1" + "0" * 400, "malformed_json"),
    change("integer no double holds", "amount", str(2**53 + 1), "precision_loss"),
    change("integer a double holds", "amount", str(2**60), kept=float(2**60)),
    change("a number of 5,000 digits", "qty", "1" * 5_000, "out_of_range"),
    change("brackets within a string", "metadata", json.dumps({"a": "[" * 200}), kept=json.dumps({"a": "[" * 200})),
    change("hex that looks like an exponent", "metadata", '{"a":"3e999"}', kept='{"a":"3e999"}'),
    change("a value of an unknown enum", "currency", '"XXX"', "not_in_enum"),
)
