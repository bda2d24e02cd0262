from __future__ import annotations

import pytest

from headwater.engines.query.lineage import find_origins

TABLES = {"flights": ("carrier", "delay", "day", "route"), "carriers": ("carrier", "title")}


def origins(sql: str) -> list[list[str]] | None:
    found = find_origins(sql, TABLES)
    return None if found is None else [sorted(f"{table}.{column}" for table, column in one) for one in found]


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT carrier, avg(delay) FROM flights GROUP BY 1", [["flights.carrier"], ["flights.delay"]]),
        ("SELECT count(*) FROM flights WHERE delay > 1", [[]]),
        ("SELECT 1 AS one, one + delay FROM flights", [[], ["flights.delay"]]),
        (
            "SELECT f.*, c.title FROM flights f JOIN carriers c USING (carrier)",
            [["flights.carrier"], ["flights.delay"], ["flights.day"], ["flights.route"], ["carriers.title"]],
        ),
        (
            "SELECT * FROM flights JOIN carriers USING (carrier)",
            [["flights.carrier"], ["flights.delay"], ["flights.day"], ["flights.route"], ["carriers.title"]],
        ),
        ("SELECT * EXCLUDE (day, route) REPLACE (delay * 2 AS carrier) FROM flights", [["flights.delay"]] * 2),
        (
            "WITH w AS (SELECT carrier AS c, max(delay) AS d FROM flights GROUP BY 1) SELECT d, upper(c) FROM w",
            [["flights.delay"], ["flights.carrier"]],
        ),
        ("SELECT route.from_, flights.route.to_ FROM flights", [["flights.route"]] * 2),
        (
            "SELECT (SELECT max(title) FROM carriers c WHERE c.carrier = f.carrier) || f.carrier FROM flights f",
            [["carriers.title", "flights.carrier"]],
        ),
        ("SELECT carrier FROM flights UNION ALL SELECT title FROM carriers", [["carriers.title", "flights.carrier"]]),
        (
            "SELECT carrier, day FROM flights UNION BY NAME SELECT title, carrier FROM carriers",
            [["carriers.carrier", "flights.carrier"], ["flights.day"], ["carriers.title"]],
        ),
        (
            "WITH RECURSIVE r AS (SELECT delay AS n, 0 AS m FROM flights UNION ALL SELECT m, n FROM r) SELECT * FROM r",
            [["flights.delay"]] * 2,
        ),
        ("SELECT sum(delay) OVER (PARTITION BY carrier) FROM flights", [["flights.carrier", "flights.delay"]]),
        ("SELECT x FROM (VALUES (1), (2)) v(x)", [[]]),
        ("SELECT g.i, delay FROM range(3) g(i), flights", [[], ["flights.delay"]]),
        ("SELECT list_transform([delay], x -> x + 1) FROM flights", [["flights.delay"]]),
    ],
)
def test_a_value_comes_from_these_columns(sql: str, expected: list[list[str]]) -> None:
    assert origins(sql) == expected


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM flights NATURAL JOIN carriers",
        "SELECT COLUMNS('d.*') FROM flights",
        "SELECT * FROM (PIVOT flights ON carrier IN ('UA') USING sum(delay))",
        "SELECT i FROM flights, unnest(flights.route) u(i)",
        "not SQL",
    ],
)
def test_where_the_text_alone_does_not_tell_nothing_is_claimed(sql: str) -> None:
    assert origins(sql) is None
