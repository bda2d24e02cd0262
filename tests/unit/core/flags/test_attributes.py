"""Types of attributes, as their use shows them."""

from __future__ import annotations

import pytest

from headwater.core.flags.attributes import infer_types


@pytest.mark.parametrize(
    ("text", "types"),
    [
        ("country = 'DE'", {"country": "string"}),
        ("'DE' = country", {"country": "string"}),
        ("age > 3 and beta", {"age": "number", "beta": "boolean"}),
        ("not beta or plan in ('a', 'b')", {"beta": "boolean", "plan": "string"}),
        ("a = b and b > 3", {"a": "number", "b": "number"}),
        ("a = b", {"a": "string", "b": "string"}),
        ("plan is null", {"plan": "string"}),
        ("lower(email) = 'x' and length(name) > 3", {"email": "string", "name": "string"}),
        ("hour(seen) < 6 or since < timestamp('2026-01-01T00:00:00Z')", {"seen": "timestamp", "since": "timestamp"}),
        ("coalesce(score, 0) > limit", {"score": "number", "limit": "number"}),
        ("case when beta then score else 0 end > 1", {"beta": "boolean", "score": "number"}),
        ("if(beta, plan, 'none') = 'pro'", {"beta": "boolean", "plan": "string"}),
        ("max(a, b) * 2 >= round(c)", {"a": "number", "b": "number", "c": "number"}),
        ("contains(email, '@corp')", {"email": "string"}),
    ],
)
def test_use_shows_the_type(text: str, types: dict[str, str]) -> None:
    assert infer_types(text) == types
