from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from headwater.core.expressions import MAX_DEPTH, MAX_LENGTH, ExpressionFault, compile_expression
from headwater.core.expressions.terms import Type

NAMES: dict[str, Type] = {
    "n": "integer",
    "x": "number",
    "s": "string",
    "b": "boolean",
    "t": "timestamp",
    "user.plan": "string",
}
ROW: dict[str, Any] = {"n": 7, "x": 2.5, "s": "Straße", "b": True, "t": datetime(2013, 1, 6, 23, 5, tzinfo=UTC)}


def answer(text: str, **values: Any) -> Any:
    return compile_expression(text, NAMES)({**ROW, **values})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 2", 5.0),
        ("(1 + 2) * 3", 9),
        ("-n + -(-2)", -5),
        ("7 % 3 - -7 % 3", 2),
        ("x / 0", None),
        ("n % 0", None),
        ("9223372036854775807 + 1", None),
        ("9223372036854775807 * 1.0", 9223372036854775807.0),
        ("1e308 * 10", None),
        ("n > 5 and x <= 2.5", True),
        ("not b or n = 7", True),
        ("s = 'Straße' and s != \"it's\"", True),
        ("s in ('a', 'Straße')", True),
        ("n not in (1, 2.5)", True),
        ("null = null", None),
        ("null is null and n is not null", True),
        ("null and false", False),
        ("null or true", True),
        ("not null", None),
        ("case when n < 5 then 'few' when n < 10 then 'some' else 'many' end", "some"),
        ("case when n < 5 then 1 end", None),
        ("if(x > 100, 1, 0)", 0),
        ("if(null, 1)", None),
        ("abs(-n) + abs(-2.5)", 9.5),
        ("min(3, n, null) * max(1, 2.0)", 6.0),
        ("round(2.5) + round(-2.5)", 0.0),
        ("round(2.345, 2)", 2.35),
        ("round(0.49999999999999994)", 0.0),
        ("floor(-1.5)", -2.0),
        ("ln(exp(1)) + sqrt(4)", 3.0),
        ("ln(0)", None),
        ("sqrt(-1)", None),
        ("exp(1000)", None),
        ("coalesce(null, n, 1)", 7),
        ("upper(s)", "STRAẞE"),
        ("lower('ÄÖ')", "äö"),
        ("length(s)", 6),
        ("contains(s, 'ß') and starts_with(s, 'Str')", True),
        ("hour(t) * 100 + weekday(t) + month(t)", 2308),
        ("t < timestamp('2013-01-07T00:05:00+01:00')", False),
        ("user.plan is null", True),
        ("'it''s'", "it's"),
        ("TRUE AND NOT FALSE", True),
    ],
)
def test_expressions_mean_what_they_say(text: str, expected: Any) -> None:
    assert answer(text) == expected


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("", 1, "a value is expected", None),
        ("n +", 4, "not the end", None),
        ("n n", 3, "not expected here", "'and'"),
        ("(n", 3, "')' is expected", "')'"),
        ("m > 1", 1, "no name 'm'", "one of: b, n, s, t, user.plan, x"),
        ("user.pla = 'a'", 1, "no name", "did you mean 'user.plan'?"),
        ("flor(x)", 1, "no function", "did you mean 'floor'?"),
        ("n and b", 1, "a boolean is needed", "compare"),
        ("s + 1", 1, "a number is needed", None),
        ("n = 's'", 5, "string beside a integer", None),
        ("b < true", 3, "no order", "="),
        ("n in (1, x)", 10, "constants only", "or"),
        ("round(x, n)", 10, "constant number of digits", None),
        ("abs(1, 2)", 1, "takes 1 arguments", None),
        ("if(1, 2)", 4, "a boolean is needed", None),
        ("'open", 1, "does not end", "'"),
        ("n & 1", 3, "means nothing", "'and'"),
        ("n is 5", 6, "'null' is expected", None),
        ("99999999999999999999", 1, "64 bits", "decimal point"),
        ("1e999", 1, "larger than", None),
        ("timestamp('2013-01-01')", 1, "offset", "timestamp('"),
        ("timestamp(s)", 1, "constant", None),
        ("hour(s)", 6, "a timestamp is needed", None),
        ("case n end", 6, "'when' is expected", None),
        ("n.é", 2, "means nothing", None),
    ],
)
def test_what_is_wrong_is_named_with_its_place_and_the_cure(
    text: str, position: int, message: str, hint: str | None
) -> None:
    with pytest.raises(ExpressionFault) as caught:
        compile_expression(text, NAMES)
    assert message in caught.value.message
    assert caught.value.position == position
    assert str(caught.value).startswith(f"character {position}: ")
    if hint is not None:
        assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("text", ["(" * 5_000 + "n" + ")" * 5_000, "-" * 200 + "n", "not " * 40 + "b"])
def test_depth_and_length_are_bounded(text: str) -> None:
    with pytest.raises(ExpressionFault, match=f"deeper than {MAX_DEPTH}|may have {MAX_LENGTH}"):
        compile_expression(text, NAMES)


def test_the_number_of_parts_is_bounded() -> None:
    with pytest.raises(ExpressionFault, match="500 parts"):
        compile_expression(" + ".join(["n"] * 400), NAMES)
    assert answer(" + ".join(["n"] * 200)) == 1_400


def test_an_expression_tells_its_type_and_names() -> None:
    expression = compile_expression("if(b, n, x) + 1", NAMES)
    assert expression.type == "number"
    assert expression.names == {"b", "n", "x"}


def test_text_never_leaves_its_quotes_in_sql() -> None:
    sql = compile_expression('s = "x\' OR 1=1 --"', NAMES).sql({"s": '"s"'})
    assert sql == "(\"s\" = 'x'' OR 1=1 --')"
    with pytest.raises(ExpressionFault, match="NUL"):
        compile_expression("s = 'a\0'", NAMES)


def test_a_row_costs_microseconds() -> None:
    expression = compile_expression("n > 5 and s in ('a', 'Straße') and not (x / 2 < 1)", NAMES)
    began = time.perf_counter()
    for _ in range(2_000):
        expression(ROW)
    assert (time.perf_counter() - began) / 2_000 < 20e-6
