"""Strategies of rows: members as JSON text, right, nearly right and wrong, by field of ``make_every_type``."""

from __future__ import annotations

import json

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "1",
        "7",
        "7.0",
        "7.5",
        "1e3",
        "-5",
        "-6",
        "1000",
        "1001",
        "0.5",
        "0.25",
        "2.5",
        "1e400",
        "1e-400",
        "-0.0",
        "9007199254740993",
        "1152921504606846976",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "123456789.12",
        "99999999.99",
        "100000000",
        "0.001",
        "1.10",
        "1.7976931348623157e308",
        "1e308",
        "-1e300",
        "1767261600000",
        "-62135596800001",
    ]
) | st.floats(allow_nan=False, allow_infinity=False).map(repr)
TIMES = st.sampled_from(
    [
        "2026-01-01T10:00:00Z",
        "2026-01-01t10:00:00z",
        "2026-01-01T10:00:00.123456+02:00",
        "2026-01-01T10:00:00.1234567Z",
        "2026-01-01T10:00:00",
        "2026-10-25T02:30:00",
        "2026-03-29T02:30:00",
        "2026-02-29T00:00:00Z",
        "2024-02-29T00:00:00-23:59",
        "0001-01-01T00:00:00+00:01",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "9999-12-31T23:59:59-00:01",
        "1989-12-31T23:59:59Z",
        "2026-01-01",
        "2030-12-31",
        "2031-01-01",
        "2023-02-29",
        "10:00:00",
        "19:59:59.999999",
        "20:00:00",
        "24:00:00",
        "10:00",
        "ce6ba0ba-3adb-48f8-9710-ab972def0123",
        "CE6BA0BA-3ADB-48F8-9710-AB972DEF0123",
    ]
).map(json.dumps)
WORDS = st.sampled_from(
    ["", "a", "US", "USA", "US\n", "us", "low", "high", "LOW", "a@b.de", "a@", "QUJD", "QUI=", "QUJDRA==", "QUJDREU=",
     "123456789", "é", "😀😀", "\x00", "7", "true", "1.5", "NA"]
)  # fmt: skip
TEXTS = st.one_of(WORDS, st.text(max_size=6)).map(lambda text: json.dumps(text, ensure_ascii=False)) | TIMES
BROKEN = st.sampled_from(["NaN", "01", "+1", '"\\ud800"', '"\\x"', "tru", '"a', "[1", "{", "'x'", '"\t"', ""])
SCALARS = st.one_of(st.sampled_from(["null", "true", "false"]), NUMBERS, TEXTS)
NAMES = st.sampled_from(["x", "at", "zz", "a", "b/c", "d~e"])


def _listed(items: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.lists(items, max_size=4).map(lambda texts: "[" + ",".join(texts) + "]")


def _object(items: SearchStrategy[str]) -> SearchStrategy[str]:
    members = st.lists(st.tuples(NAMES, items), max_size=3)
    return members.map(lambda pairs: "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}")


VALUES = st.recursive(SCALARS, lambda inner: _listed(inner) | _object(inner), max_leaves=6)
DEEP = st.integers(20, 80).map(lambda depth: "[" * depth + "]" * depth)
LIKELY: dict[str, SearchStrategy[str]] = {
    "key": st.sampled_from(['"a"', '"bb"', '"k1"', '""', '"123456789"']),
    "count": st.sampled_from(["0", "1", "7.0", "1000", "-5", "-6", "7.5"]),
    "tags": _listed(TEXTS),
    "times": _listed(TIMES | st.just("null")),
    "set": _listed(st.sampled_from(["1", "2", "2.0", "3"])),
    "points": _listed(_object(SCALARS)),
    "point": _object(SCALARS) | st.just('{"x":1,"at":null}'),
    "scores": _object(NUMBERS),
    "free": VALUES | DEEP,
    "doc": _object(VALUES) | DEEP.map(lambda deep: f'{{"a":{deep}}}'),
    **dict.fromkeys(["at", "local", "day", "clock", "uid"], TIMES),
    **dict.fromkeys(["ratio", "step", "price", "big", "epoch", "soft"], NUMBERS | TEXTS),
    **dict.fromkeys(["level", "code", "mail", "blob"], TEXTS),
}


GOOD: dict[str, list[str]] = {
    "key": ['"a"', '"bb"', '"\\u00e9"', '"12345678"', '"😀"'],
    "k": ['"c"'],
    "id": ['"d"'],
    "count": ["0", "1", "7.0", "1000", "-5", "-0"],
    "big": ["9223372036854775807", "-9223372036854775808", "0"],
    "ratio": ["null", "1e-400", "0.1", "1152921504606846976", "9007199254740993.0", "1.7976931348623157e308", "-0.0"],
    "step": ["0.5", "2", "-7.5", "1e15", "4503599627370496.5"],
    "price": ["0", "1.10", '"1.1"', "99999999.99", "1e2", "0.10000", "-0"],
    "flag": ["true", "false"],
    "level": ['"low"', '"high"'],
    "code": ['"US"', '"USA"'],
    "mail": ['"a@b.de"'],
    "at": [
        '"2026-01-01T10:00:00Z"',
        '"2026-01-01t10:00:00.5z"',
        '"2026-01-01T10:00:00.123456+02:00"',
        '"2024-02-29T00:00:00-23:59"',
        '"9999-12-31T23:59:59.999999Z"',
    ],
    "local": ['"2026-01-01T10:00:00"', '"2026-07-01t10:00:00.5"', '"2026-10-25T02:30:00Z"'],
    "epoch": ["0", "1767261600000", "-62135596800000", "-1"],
    "day": ['"2030-12-31"', '"2024-02-29"', '"0001-01-01"'],
    "clock": ['"10:00:00"', '"19:59:59.999999"'],
    "uid": ['"ce6ba0ba-3adb-48f8-9710-ab972def0123"'],
    "blob": ['"QUJD"', '""', '"QUI="'],
    "free": ["null", "1", '"x"', "[1, 2]", '{"a": 1e300}', '"3e999"', "[" * 40 + "]" * 40],
    "doc": ["{}", '{"a":[null]}', '{ "b" : 1.10 , "a":2}', '{"a":"5e999"}'],
    "tags": ["[]", '["a","é"]', '["a", "a", "a"]'],
    "times": ["[]", '["2026-01-01T10:00:00Z",null]', '["2026-01-01t10:00:00z"]'],
    "set": ["[]", "[1]", "[1,2]", "[1, 2.0]"],
    "points": ["[]", '[{"x":1},null]', '[{"x":1,"at":"2026-01-01T10:00:00Z"}, {"x":1152921504606846976}]'],
    "point": ["null", '{"x":1}', '{"x":0.5,"at":null}', '{"x":2,"at":"2026-01-01T10:00:00+01:00","zz":3}'],
    "scores": ["{}", '{"a":1,"b":0.5}', '{"a":1152921504606846976}', '{"a":1,"a":2}'],
    "soft": ["1", '"1"', '"7.0"'],
    "unknown": ["1", '{"a": [1]}', "null", '"x"'],
    "b/c": ["1"],
}


@st.composite
def members(draw: st.DrawFn, name: str) -> tuple[str, str]:
    """Return a member: mostly what the field takes, sometimes what it nearly takes, seldom anything."""
    kind = draw(st.integers(0, 15))
    values = VALUES if kind == 0 else LIKELY.get(name, SCALARS) if kind == 1 else st.sampled_from(GOOD[name])
    return name, draw(values)


FIELDS = st.sampled_from(list(GOOD)).flatmap(members)


@st.composite
def rows(draw: st.DrawFn) -> str:
    """Return a row of JSON text: the required members mostly, others at random, repeats and space now and then."""
    pairs = [draw(members("key")), draw(members("count"))] if draw(st.integers(0, 15)) else []
    pairs += draw(st.lists(FIELDS, max_size=5))
    if draw(st.integers(0, 3)):
        pairs = list(dict(pairs).items())
    space = draw(st.sampled_from(["", "", " "]))
    text = "{" + f",{space}".join(f"{json.dumps(name)}:{space}{value}" for name, value in pairs) + "}"
    return text if draw(st.integers(0, 19)) else text.replace("1", draw(BROKEN), 1)
