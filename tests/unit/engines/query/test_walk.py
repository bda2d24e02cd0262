from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

from headwater.core.errors import HeadwaterError
from headwater.engines.query import grammar
from headwater.engines.query.walk import MAX_BYTES, check_query

TABLES = {"orders", "products"}
CORPUS = Path(__file__).parents[3] / "corpus" / "hostile_sql.txt"
HOSTILE = [
    line.replace("\\n", "\n")
    for line in CORPUS.read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
ANALYST_LINES = [
    line
    for line in (CORPUS.parent / "analyst_sql.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("# ")
]
MORE_HOSTILE = [
    "select * from parquet_metadata('o.parquet')",
    "select * from read_parquet(['a', 'b'])",
    "from read_csv_auto('/etc/passwd')",
    "select * from orders o, read_text(o.customer)",
    "select (select content from read_text('/etc/passwd'))",
    "select list_aggregate([1], 'sum')",
    "select list_aggr([1], 'histogram')",
    "select repeat('x', 1000000000)",
    "select lpad('x', 1000000000, 'x')",
    "select rpad('x', (select 1000000000)::int, 'x')",
    "select format('{:>1000000000}', 'x')",
    "select printf('%1000000000d', 1)",
    "select random()",
    "select uuid()",
    "select current_user",
    "select current_database()",
    "select pg_typeof(1)",
    "select version()",
    "select main.getenv('HOME')",
    "select pg_catalog.pg_typeof(1)",
    "select sum(1) over (partition by getvariable('x'))",
    "select count(*) filter (where getvariable('x') = 1)",
    "select list(1 order by getvariable('x'))",
    "select 1 order by getvariable('x')",
    "select distinct on (getvariable('x')) 1",
    "select case getvariable('x') when 1 then 2 end",
    "select 1 limit getvariable('x')",
    "select * replace (getvariable('x') as id) from orders",
    "select columns(c -> getvariable(c)) from orders",
    "select list_transform([1], lambda x: getvariable('x'))",
    "select 1 in (getvariable('x'))",
    "select [getvariable('x')]",
    "select {'a': getvariable('x')}",
    "select x from (values (getvariable('x'))) v(x)",
    "with a as (select getvariable('x')) select * from a",
    "with recursive r(i) as (select 1 union all select getvariable('x') from r) select * from r",
    "select * from orders join products on getvariable('x') = 1",
    "select * from range(getvariable('x'))",
    "select 'x'::secret_type",
    "select cast(1 as base.hr)",
    "select [1]::struct(a foo)[]",
    "select ?",
    "select $1",
    "with duckdb_tables as (select 1) select * from duckdb_tables",
    'with "/lake/x.parquet" as (select 1) select * from "/lake/x.parquet"',
    "with products as (select 1) select * from products",
    "select * from (with x as (select 1) select * from x) a, y",
    "create table x as select 1",
    "insert into orders values (1)",
    "delete from orders",
    "drop view orders",
    "set memory_limit = '1TB'",
    "reset all",
    "install httpfs",
    "export database 'x'",
    "vacuum",
    "comment on table orders is 'x'",
    "select 1 from orders for update",
    "select * from orders;;select 1",
    "",
    ";",
    "-- nothing",
    "select",
    "\x00",
    "select 'a",
    "select " + "[" * 500 + "]" * 500,
    "select " + "not " * 500 + "true",
    "select " + "case when true then " * 200 + "1" + " end" * 200,
    "select 1" + "+1" * 800,
    "select null::int" + "[]" * 300,
    "select null::" + "struct(a " * 300 + "int" + ")" * 300,
]
ANALYST = [
    "select * from orders",
    "from orders",
    "from orders select customer where amount > 5",
    "select customer, sum(amount) as total from orders group by all order by all",
    "select tenant, count(*) filter (where amount > 1), count(distinct customer) from orders group by rollup (tenant)",
    "select tenant, grouping(tenant) from orders group by grouping sets ((tenant), ())",
    "select o.customer, p.name from orders o left join products p on o.id = p.pid",
    "select * from orders semi join products on id = pid",
    "select * from orders o, lateral (select name from products where pid = o.id) l",
    "with big as (select * from orders where amount > 10), n as materialized (select count(*) from big) from n",
    "with recursive r(i) as (select 1 union all select i + 1 from r where i < 5) select i from r",
    "select id, row_number() over w, lag(amount) over w from orders window w as (partition by tenant order by id)",
    "select id from orders qualify row_number() over (partition by tenant order by amount desc) <= 3",
    "select avg(amount) over (order by id rows between 2 preceding and current row) from orders",
    "select * exclude (tenant) replace (upper(customer) as customer) from orders",
    "select columns('a.*') from orders",
    "select columns(c -> c like 'a%') from orders",
    "select list_transform([1, 2], lambda x: x + 1), [x * 2 for x in [1, 2] if x > 1]",
    "select unnest([1, 2, 3])",
    "select * from unnest([1, 2]) u(x), range(3) r(i), generate_series(1, 3) s(j)",
    "select date_trunc('month', date '2026-01-31'), date '2026-01-31' - interval 1 month, extract(year from now())",
    "select strftime(timestamp '2026-01-01 00:00:00', '%Y'), timestamptz '2026-01-01 00:00:00+00' at time zone 'UTC'",
    "select id from orders union all by name select pid as id from products order by 1 limit 5 offset 2",
    "select id from orders except select pid from products",
    "select * from (values (1, 'a'), (2, 'b')) v(n, t)",
    "select case when amount > 1 then 'x' else 'y' end, coalesce(customer, ''), nullif(amount, 0) from orders",
    "select * from orders where amount between 1 and 2 and customer like 'a%' and tenant in ('x', 'y') or id is null",
    "select * from orders where exists (select 1 from products where pid = id) or id = any (select pid from products)",
    "unpivot orders on amount into name n value v",
    "select * from orders pivot (sum(amount) for tenant in ('a', 'b'))",
    "select {'a': 1, 'b': [1, 2]}.a, map {'k': 1}['k'], json_extract('{\"a\": 1}', '$.a'), '1'::json",
    "select quantile_cont(amount, 0.9), median(amount), arg_max(customer, amount), mode(tenant) from orders",
    "select try_cast('x' as int), 1::decimal(10, 2), '2026-01-01'::date, lpad(id::varchar, 4, '0') from orders",
    "select regexp_extract(customer, '(\\w+)', 1), string_split(customer, ' ')[1], customer[1:3] from orders",
    "select * from orders tablesample 10%",
    "select count(*) from orders -- a comment\n/* and another */",
    "select * from orders where customer = $name and ($tenant is null or tenant = $tenant) limit $n",
    "select 1e5, 0.1, 123456789012345678901234567890, 'it''s', true, null",
]


@pytest.fixture(scope="module")
def database() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"python_enable_replacements": False})
    connection.execute(
        """
        CREATE SCHEMA v; CREATE SCHEMA base;
        CREATE TABLE v.orders AS SELECT 1 AS id, 'masked' AS customer, 5.5 AS amount, 't1' AS tenant;
        CREATE TABLE v.products AS SELECT 1 AS pid, 'pen' AS name;
        CREATE TABLE base.orders AS SELECT 2 AS id, 'SECRET_1' AS customer, 7.5 AS amount, 't2' AS tenant;
        CREATE TABLE base.hr AS SELECT 'SECRET_2' AS salary;
        SET enable_external_access = false; SET lock_configuration = true;
        """
    )
    return connection


def run(database: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any] | None = None) -> list[Any]:
    checked = check_query(sql, tables=TABLES)
    text = checked.render({name: f"v.{name}" for name in TABLES})
    values = {name: (parameters or {}).get(name) for name in checked.parameters}
    return database.execute(text, values or None).fetchall()


@pytest.mark.parametrize("sql", [*HOSTILE, *MORE_HOSTILE])
def test_a_hostile_statement_is_refused_or_harmless(database: duckdb.DuckDBPyConnection, sql: str) -> None:
    try:
        outcome = str(run(database, sql))
    except HeadwaterError as error:
        outcome = f"{error.code}: {error.detail}"
        assert outcome.startswith("sql_rejected: ")
    except duckdb.Error as error:
        outcome = str(error)
    assert "SECRET" not in outcome
    assert "root:" not in outcome


@pytest.mark.parametrize("sql", MORE_HOSTILE)
def test_a_statement_off_the_list_is_refused_before_it_reaches_the_engine(sql: str) -> None:
    with pytest.raises(HeadwaterError) as caught:
        check_query(sql, tables=TABLES)
    assert caught.value.code == "sql_rejected"


@pytest.mark.parametrize("sql", ANALYST)
def test_what_an_analyst_writes_passes_and_gives_what_duckdb_gives(
    database: duckdb.DuckDBPyConnection, sql: str
) -> None:
    rows = run(database, sql, {"n": 5})
    if "now()" in sql or "tablesample" in sql:
        return
    database.execute("USE v")
    try:
        wanted = check_query(sql, tables=TABLES).parameters
        values = {name: {"n": 5}.get(name) for name in wanted}
        plain = database.execute(sql, values or None).fetchall()
    finally:
        database.execute("USE main")
    assert sorted(map(repr, rows)) == sorted(map(repr, plain))


@pytest.fixture(scope="module")
def numbers() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(
        """
        CREATE SCHEMA v;
        CREATE TABLE v.t AS SELECT i AS a, i % 3 AS b, CASE WHEN i % 4 = 0 THEN NULL ELSE 's' || i END AS s,
          date '2020-01-01' + i::int AS d, i / 7.0 AS f, [i, i + 1] AS l, {'q': i} AS st,
          timestamp '2020-01-01' + to_hours(i) AS ts FROM range(20) r(i);
        CREATE TABLE v.u AS SELECT i AS a, 'z' || i AS z FROM range(5, 25) r(i);
        """
    )
    return connection


@pytest.mark.parametrize("sql", ANALYST_LINES)
def test_the_text_that_runs_means_what_the_text_that_came_means(numbers: duckdb.DuckDBPyConnection, sql: str) -> None:
    canonical = check_query(sql, tables={"t", "u"}).render({"t": "v.t", "u": "v.u"})
    ours = numbers.execute(canonical)
    types, rows = [str(column[1]) for column in ours.description], ours.fetchall()
    numbers.execute("USE v")
    try:
        plain = numbers.execute(sql)
        assert types == [str(column[1]) for column in plain.description]
        assert sorted(map(repr, rows)) == sorted(map(repr, plain.fetchall()))
    finally:
        numbers.execute("USE main")


def test_the_tables_and_parameters_of_a_statement_are_found_wherever_they_stand() -> None:
    checked = check_query(
        "with a as (select * from orders where id = $x) select (select max(pid) from products) from a where $y",
        tables=TABLES,
    )
    assert checked.tables == ("orders", "products")
    assert checked.parameters == ("x", "y")


def test_a_table_keeps_its_name_for_columns_when_another_view_is_read(database: duckdb.DuckDBPyConnection) -> None:
    assert run(database, "select orders.customer, orders.* exclude (amount, id) from ORDERS") == [
        ("masked", "masked", "t1")
    ]


def test_text_in_a_statement_cannot_pass_for_a_table(database: duckdb.DuckDBPyConnection) -> None:
    assert run(database, 'select \'"orders"\', \'"v"."orders"\' from products') == [('"orders"', '"v"."orders"')]


def test_unknown_tables_are_found_while_the_tables_are_not_known() -> None:
    checked = check_query("with x as (select 1) select * from x, flights join weather using (a)")
    assert checked.tables == ("flights", "weather")


@pytest.mark.parametrize("name", ["duckdb_tables", "sqlite_master", '"a.csv"', '"/etc/passwd"'])
def test_a_name_of_the_system_is_no_table_even_while_tables_are_not_known(name: str) -> None:
    with pytest.raises(HeadwaterError, match="is not a table"):
        check_query(f"select * from {name}")


def test_parameters_are_cast_to_their_declared_type(database: duckdb.DuckDBPyConnection) -> None:
    checked = check_query("select typeof($a), $a + 1 > 0", tables=(), parameter_types={"a": "BIGINT"})
    assert database.execute(checked.render({}), {"a": None}).fetchone() == ("BIGINT", None)


@pytest.mark.parametrize(
    ("sql", "depends"),
    [
        ("select now()", True),
        ("select current_date", True),
        ("select current_timestamp as t from orders", True),
        ("select age(timestamp '2020-01-01 00:00:00')", True),
        ("select * from orders using sample 5 rows", True),
        ("select date '2020-01-01', count(*) from orders", False),
    ],
)
def test_what_depends_on_the_clock_or_on_chance_is_known(sql: str, depends: bool) -> None:
    assert check_query(sql, tables=TABLES).reads_clock is depends


def test_an_error_names_the_line_and_the_cure() -> None:
    with pytest.raises(HeadwaterError) as caught:
        check_query("select 1\nfrom orders\njoin pg_class on true", tables=TABLES)
    assert caught.value.extra == {"line": 3}
    assert "'pg_class'" in caught.value.detail
    assert caught.value.hint == "tables: orders, products"


def test_a_statement_that_is_too_long_is_not_parsed() -> None:
    with pytest.raises(HeadwaterError, match="longer"):
        check_query("select 1 --" + "x" * MAX_BYTES, tables=())


def test_every_allowed_function_exists_and_none_is_volatile() -> None:
    rows = duckdb.connect().execute("select lower(function_name), stability from duckdb_functions()").fetchall()
    known = {name for name, _ in rows}
    volatile = {name for name, stability in rows if stability == "VOLATILE"}
    assert not grammar.FUNCTIONS - known
    assert not grammar.FUNCTIONS & volatile
    assert not {name for name in grammar.FUNCTIONS if name.startswith(("pg_", "has_", "__", "read_", "duckdb_"))}


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("select (select max(id) from orders) + 1 from products", ["((SELECT max(id) FROM orders) + 1)"]),
        ("select exists (from ORDERS o), (select 1)", ["EXISTS(SELECT * FROM orders AS o)", "(SELECT 1)"]),
        ("select (select (select max(pid) from products)) as n", ["n"]),
        ("select * from (select (select max(pid) from products))", ["(SELECT max(pid) FROM products)"]),
    ],
)
def test_a_column_made_by_a_sub_query_is_named_after_tables_and_not_after_views(
    database: duckdb.DuckDBPyConnection, sql: str, names: list[str]
) -> None:
    text = check_query(sql, tables=TABLES).render({name: f'v."{name}"' for name in TABLES})
    assert [column[0] for column in database.execute(text).description] == names
