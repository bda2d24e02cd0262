"""Whatever is asked of the data plane, and however it is put, it answers with a cause and never with a failure of ours.

Routes are read off the application and parameters off its own OpenAPI document, so that what is added is walked too.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes

import pytest
import pytest_asyncio
from tests.fakes.whole_plane import JSON, NAMES, Answer, Plane, whole_plane
from tests.fakes.wire import Talk

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

_PART: Final = re.compile(r"\{(\w+)(?::path)?\}")
#: Streams that go on until their caller leaves, told from their route.
LIVE: Final = re.compile(r"/live$")
HOSTILE: Final = [
    b"", b"'", b'"; DROP TABLE flights; --', b"') OR 1=1 --", b"{{7*7}}", b"${7*7}", b"\x00", b"a\x00b", b"\xff\xfe",
    b"\xed\xa0\x80", b"9" * 400, b"-1", b"0", b"1e309", b"NaN", b"Infinity", b"-0.0", b"../../etc/passwd",
    b"..\\..\\", b"a" * 5_000, b"0x7f", "\u202e".encode(), "\ufeff1".encode(), "İ".encode(), "१२".encode(), b"[]",
    b"{}", b"null", b"true", b"2026-99-99T99:99:99Z", b"99999-01-01", b"0001-01-01T00:00:00+23:59", b"////", b"%",
    b"%zz", b"%2500", b"a\r\nHw-Evil: 1", b"AAAA", b"eyJhIjoxfQ", b"*" * 50, b"(((((((((", b";", b"&a=b", b"=",
]  # fmt: skip
#: Asked of every route beside what its document names.
ASKED: Final = (
    "limit", "cursor", "after", "format", "ticket", "state", "since", "until", "from", "to", "n", "x", "day", "carrier",
    "above", "ok", "version", "reason", "window", "dataset", "",
)  # fmt: skip
PARTS: Final = [
    "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e", "..%5c..", "%00", "a%00b", "%ff%fe", "%ed%a0%80", "x" * 8_000,
    "%0d%0aHw-Evil: 1", "flights%2frows", "'", '"', "%3Cscript%3E", "*", "%25", "env_2", "FLIGHTS", "flights%20",
    "flights.csv", "by_carrier.exe", "by_carrier@99", "by_carrier@", "@1", "9" * 30, "-1",
    "%F0%9F%92%A9", "%E2%80%AE", ".", ";a=b",
]  # fmt: skip
BODIES: Final[list[bytes]] = [
    b"[" * 100_000, b'{"a":' * 50_000, b"[" * 900 + b"]" * 900, b"", b" ", b"null", b"[]", b"1", b'"text"', b"{", b"{}",
    b"\xff\xfe{}", b"\xef\xbb\xbf{}", b"\x00", b'{"rows": NaN}', b'{"rows": [' + b"9" * 10_000 + b"]}", b"-", b"1e999",
    b'{"rows": "\\ud800"}', b'{"\\ud800": 1}', b'{"rows": "\\u0000"}', b'{"rows": [], "rows": [{}]}', b'{"rows": [[]]}',
    b'{"__proto__": {}, "constructor": 1}', b'{"rows": [{"a": 1e400}]}', b'{"params": {"n": ' + b"9" * 5_000 + b"}}",
    json.dumps({f"k{at}": at for at in range(100_000)}).encode(), b"[" + b"{}," * 5_000 + b"{}]",
    b'{"a": 1}\n' * 5_000,
    b"PK\x03\x04" + b"\x00" * 100, b"PAR1" + b"\xff" * 100 + b"PAR1", b"ARROW1\x00\x00" + b"\xff" * 100,
    b"\x1f\x8b\x08\x00",
]  # fmt: skip
MEDIA: Final = (
    b"application/json", b"application/x-ndjson", b"text/csv", b"application/vnd.apache.arrow.stream", b"text/plain",
    b"application/vnd.apache.parquet", b"application/octet-stream", b"multipart/form-data; boundary=x", b"",
    b"\xff/\x00",
)  # fmt: skip
#: Members that bodies of our own have, to be given the wrong type.
MEMBERS: Final = (
    "rows", "inputs", "outputs", "entities", "at", "sql", "params", "context", "exposures", "outcomes", "ids", "reason",
    "dataset", "model", "parameters", "id", "carrier", "carriers", "key", "lane", "timeout_seconds", "reader", "groups",
)  # fmt: skip
INSIDES: Final = re.compile(
    rb"Traceback|site-packages|File \"|sqlite3|duckdb\.|apsw|pyarrow|/lake/|part-|HEADWATER_|root:x:"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    async with whole_plane(tmp_path_factory.mktemp("home")) as running:
        yield running


def refused_well(plane: Plane, answer: Answer, asked: str) -> None:
    """Assert that we did not fail nor took long, told nothing of our insides, and named a cause."""
    assert 200 <= answer.status < 500 or answer.status == 503, f"{asked[:300]}: {answer.status} {answer.body[:500]!r}"
    assert answer.seconds < 60, f"{asked[:300]}: {answer.seconds}"
    assert not any(b"\n" in name + value or b"\r" in name + value for name, value in answer.headers), asked
    assert not answer.header(b"hw-evil"), asked
    if answer.status >= 400 and answer.header(b"content-length") != b"0":
        assert b"json" in answer.header(b"content-type"), f"{asked[:300]}: {answer.headers}"
        assert not INSIDES.search(answer.body), f"{asked[:300]}: {answer.body[:500]!r}"
        assert str(plane.home).encode() not in answer.body, asked
        assert cause(json.loads(answer.body)), f"{asked[:300]}: {answer.body[:500]!r}"


def cause(problem: dict[str, Any]) -> Any:
    """Return what went wrong, as the protocol of the address says it."""
    if problem.get("receipt"):
        return problem["counts"]  # a batch is taken whatever its rows are, and says which were not
    return problem.get("detail") or problem.get("error") or problem.get("errorDetails")


def filled(template: str, **more: str) -> str:
    return _PART.sub(lambda found: (NAMES | more).get(found[1], "nothing"), template)


def walked(plane: Plane) -> Iterator[tuple[str, str]]:
    """Yield every route but those that answer without a look at what they are asked."""
    found = [(method, template) for method, template in plane.routes() if method != "HEAD"]
    assert len(found) > 75
    yield from found


async def is_well(plane: Plane) -> None:
    """Assert that what was asked before did no harm."""
    for path in (
        "/v1/endpoints/by_carrier",
        "/v1/datasets/flights/rows",
        "/v1/flags",
        "/v1/models/delay",
        "/v2/models/delay",
    ):
        assert (await plane.ask("GET", path)).status == 200, path
    body = b'{"rows": [{"a": 1, "b": 2}]}'
    assert json.loads((await plane.ask("POST", "/v1/models/delay/predict", body=body)).body)["predictions"]
    assert (await plane.ask("POST", "/v1/sql", body=b'{"sql": "select 1 as one"}')).status == 200


async def test_no_parameter_makes_a_route_fail(plane: Plane) -> None:
    """Each parameter that the document names alone, others together, twice, a thousand, without a name."""
    documented = plane.operations()
    for at, (method, template) in enumerate(walked(plane)):
        operation = documented.get(template, {}).get(method.lower(), {})
        named = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
        path = filled(template)
        questions = [f"{quote(name)}={quote_from_bytes(value)}".encode() for name in named for value in HOSTILE]
        for turn in range(3):
            said = [(name, HOSTILE[(at * 3 + turn + n) % len(HOSTILE)]) for n, name in enumerate(ASKED)]
            questions.append("&".join(f"{name}={quote_from_bytes(value)}" for name, value in said).encode())
        questions += [
            b"a=1&a=2",
            b"&&&=&",
            b"%",
            b"\xff=\xff",
            b"a" * 20_000,
            b"&".join([b"b=%d" % n for n in range(1_000)]),
        ]
        questions += [f"{name}=1&{name}=2".encode() for name in named]
        for question in questions:
            if LIVE.search(template) and not question:
                continue
            refused_well(plane, await plane.ask(method, path, question, b"{}"), f"{method} {path}?{question!r}")
    await is_well(plane)


async def test_no_part_of_an_address_makes_a_route_fail(plane: Plane) -> None:
    for method, template in walked(plane):
        names = _PART.findall(template)
        for name in names:
            for value in PARTS:
                path = filled(template, **{name: value})
                refused_well(plane, await plane.ask(method, path, body=b"{}"), f"{method} {path}")
    for path in (
        "//",
        "/v1//datasets",
        "/%2e%2e/",
        "/v1/../internal/v1/status",
        "/docs/assets/..%2f..%2fapp.py",
        "/v1/\x00",
    ):
        refused_well(plane, await plane.ask("GET", path, headers=[]), path)
    await is_well(plane)


async def test_no_body_makes_a_route_fail(plane: Plane) -> None:
    for at, (method, template) in enumerate(walked(plane)):
        if method != "POST":
            continue
        path = filled(template)
        for body in [*BODIES, *wrongly_typed()]:
            refused_well(plane, await plane.ask(method, path, b"reason=x", body), f"{method} {path} {body[:80]!r}")
        for turn, media in enumerate(MEDIA):
            headers = [plane.key_for(path), (b"content-type", media)]
            body = BODIES[(at + turn * 7) % len(BODIES)]
            refused_well(plane, await plane.ask(method, path, b"", body, headers), f"{method} {path} {media!r}")
    await is_well(plane)


def wrongly_typed() -> Iterator[bytes]:
    """Yield bodies whose members all have a type or a size that they should not have."""
    values: list[Any] = [None, [], {}, True, -1, 10**40, 1.5, "", "\x00", "x" * 20_000, [None], [[]], [{}], ["\x00"]]
    values += [{"a": {"b": []}}, [{"name": "a", "shape": [10**12], "datatype": "FP64", "data": []}], [{"carrier": {}}]]
    for value in values:
        yield json.dumps(dict.fromkeys(MEMBERS, value)).encode()
        yield json.dumps([value]).encode()


HEADERS: Final[list[tuple[bytes, bytes]]] = [
    (b"authorization", b"Bearer " + b"a" * 60_000), (b"authorization", b"Bearer hw_\xff\xfe"), (b"authorization", b""),
    (b"authorization", b"Basic !!!"), (b"authorization", b"Bearer hw_' OR 1=1 --"), (b"host", b"evil.example"),
    (b"host", b"\xff"), (b"x-forwarded-for", b"'; DROP TABLE, 999.1.1.1"), (b"x-forwarded-host", b"evil.example"),
    (b"x-forwarded-proto", b"javascript"), (b"forwarded", b"for=\xff;host=x"), (b"cookie", b"a=" + b"b" * 60_000),
    (b"accept", b"a/" * 10_000), (b"accept", b"*/*;q=\xff"), (b"accept", b"text/html,\x00"),
    (b"accept-encoding", b"x" * 9_000), (b"accept-encoding", b"gzip;q=nan"), (b"content-encoding", b"gzip, gzip, gzip"),
    (b"content-encoding", b"zstd"),
    (b"content-length", b"-1"), (b"content-length", b"99999999999999999999"), (b"content-length", b"abc"),
    (b"if-none-match", b"\x00" * 100), (b"if-none-match", b'W/"' + b"x" * 20_000), (b"if-match", b"*,*,*"),
    (b"idempotency-key", b"k" * 20_000), (b"idempotency-key", b"\xff\x00"), (b"idempotency-key", b""),
    (b"last-event-id", b"\xff" * 500), (b"last-event-id", b"a\x00"), (b"hw-request-id", b"a\r\nSet-Cookie: x"),
    (b"hw-request-id", b"<script>" * 100), (b"traceparent", b"00-zz-zz-zz"), (b"range", b"bytes=0-,9-1"),
    (b"inference-header-content-length", b"99999999"), (b"inference-header-content-length", b"-5"),
    (b"expect", b"200-ok"), (b"x" * 5_000, b"y"), (b"prefer", b"\xff" * 99),
]  # fmt: skip


async def test_no_header_makes_a_route_fail(plane: Plane) -> None:
    for method, template in walked(plane):
        path = filled(template)
        for name, value in HEADERS:
            given = [(name, value)] if name in (b"authorization", b"content-length") else [(name, value), (name, value)]
            headers = given if name == b"authorization" else [plane.key_for(path), JSON, *given]
            answer = await plane.ask(method, path, b"", b'{"rows": []}', headers)
            refused_well(plane, answer, f"{method} {path} {name!r}: {value[:80]!r}")
            assert b"evil" not in b"".join(said for _, said in answer.headers), f"{method} {path} {name!r}"
    await is_well(plane)


WIRES: Final = [
    b"GET /v1/datasets HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET /v1/datasets HTTP/1.1\r\n\r\n",
    b"GET  /v1/datasets  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"get /v1/datasets HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"\x00" * 1_000,
    b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
    b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
    b"POST /v1/sql HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"GET /v1/datasets HTTP/1.1\r\nHost: x\r\nBad Header: 1\r\n\r\n",
    b"GET /v1/datasets HTTP/1.1\r\nHost: x\r\n folded: 1\r\n\r\n",
    b"GET /v1/datasets HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/datasets HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET http://evil.example/v1/datasets HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: x\r\nCookie: secret=1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AA\r\n\r\n",
    b"GET /v1/flags HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: x\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("sent", WIRES, ids=range(len(WIRES)))
async def test_no_bytes_on_a_connection_make_the_server_fail(plane: Plane, sent: bytes) -> None:
    talk = Talk(plane.door)
    try:
        written = b"".join(await talk.say(sent, replies=1))
    except TimeoutError:
        written = talk.wire.written  # it waits for the rest of a body that was promised
    finally:
        talk.end()
    assert not re.search(rb"^HTTP/1\.1 5(?!0[135] )", written), written[:300]
    assert not INSIDES.search(written), written[:300]
    assert b"secret=1" not in written
    assert (await plane.ask("GET", "/v1/datasets")).status == 200
