"""What is found wrong with flags before they are saved."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from headwater.core.flags import (
    FlagSpec,
    PrerequisiteSpec,
    RuleSpec,
    StepSpec,
    WeightSpec,
    check_flag,
    check_prerequisites,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def make(**fields: Any) -> FlagSpec:
    defaults: dict[str, Any] = {
        "id": "", "key": "checkout", "type": "string", "variants": {"a": "x", "b": "y"}, "enabled": True,
        "default_variant": "a", "off_variant": "b", "salt": "s",
    }  # fmt: skip
    return FlagSpec(**(defaults | fields))


def test_a_good_flag_has_no_faults() -> None:
    rules = (RuleSpec(when="plan = 'pro'", variant="a"), RuleSpec(split=(WeightSpec(variant="b", weight_bps=10_000),)))
    assert check_flag(make(rules=rules, enabled_from=NOON)) == []


@pytest.mark.parametrize(
    ("fields", "path", "words"),
    [
        ({"key": "Big Key"}, "key", "lower-case"),
        ({"key": "a" * 101}, "key", "at most 100"),
        ({"variants": {f"v{n}": "x" for n in range(49)} | {"a": "x", "b": "y"}}, "variants", "1 to 50"),
        ({"variants": {"a": "x", "b": 3}}, "variants.b", "not a text"),
        ({"variants": {"a": "x", "b": "y", "<b>": "z"}}, "variants.<b>", "letters"),
        ({"type": "boolean", "variants": {"a": True, "b": 1}}, "variants.b", "true or false"),
        ({"type": "integer", "variants": {"a": 1, "b": 2**60}}, "variants.b", "whole number"),
        ({"type": "number", "variants": {"a": 1.5, "b": float("inf")}}, "variants.b", "finite"),
        ({"type": "object", "variants": {"a": {}, "b": [1]}}, "variants.b", "an object"),
        ({"default_variant": "c"}, "default_variant", "there are: a, b"),
        ({"off_variant": "c"}, "off_variant", "there are: a, b"),
        ({"rules": (RuleSpec(when="plan =", variant="a"),)}, "rules[0].when", "character 7"),
        ({"rules": (RuleSpec(when="age + 1", variant="a"),)}, "rules[0].when", "not true or false"),
        ({"rules": (RuleSpec(when="age > 3 and age = 'x'", variant="a"),)}, "rules[0].when", "number"),
        ({"rules": (RuleSpec(),)}, "rules[0]", "either a variant or a split"),
        ({"rules": (RuleSpec(variant="z"),)}, "rules[0].variant", "'z'"),
        ({"rules": (RuleSpec(variant="a", share_bps=10_001),)}, "rules[0].share", "0 to 10,000"),
        ({"rules": (RuleSpec(split=(WeightSpec(variant="a", weight_bps=9_000),)),)}, "rules[0].split", "9,000"),
        (
            {"rules": (RuleSpec(split=(WeightSpec(variant="a", weight_bps=5_000),) * 2),)},
            "rules[0].split",
            "named twice",
        ),
        (
            {"rules": (RuleSpec(variant="a", steps=(StepSpec(at=NOON, share_bps=1),) * 2),)},
            "rules[0].steps",
            "order of their instants",
        ),
        ({"enabled_from": NOON, "enabled_until": NOON}, "enabled_until", "before"),
        ({"enabled_from": datetime(2026, 1, 1)}, "enabled_from", "offset"),  # noqa: DTZ001 - that is the point
    ],
)
def test_what_is_wrong_is_named_with_its_place(fields: dict[str, Any], path: str, words: str) -> None:
    faults = check_flag(make(**fields))
    assert [fault.path for fault in faults] == [path]
    assert words in faults[0].message


def test_prerequisites_must_exist_and_have_the_variants() -> None:
    spec = make(
        prerequisites=(PrerequisiteSpec(flag="gone", variants=("a",)), PrerequisiteSpec(flag="other", variants=("z",)))
    )
    faults = check_prerequisites(spec, {"other": make(key="other")})
    assert [fault.path for fault in faults] == ["prerequisites[0].flag", "prerequisites[1].variants"]


def test_circles_of_prerequisites_are_refused_with_their_way() -> None:
    flags = {
        key: make(key=key, prerequisites=(PrerequisiteSpec(flag=on, variants=("a",)),))
        for key, on in (("one", "two"), ("two", "three"))
    }
    closing = make(key="three", prerequisites=(PrerequisiteSpec(flag="one", variants=("a",)),))
    faults = check_prerequisites(closing, flags)
    assert "three → one → two → three" in faults[0].message


def test_prerequisites_that_multiply_are_refused() -> None:
    flags = {"f0": make(key="f0")}
    for number in range(1, 8):
        on = PrerequisiteSpec(flag=f"f{number - 1}", variants=("a",))
        flags[f"f{number}"] = make(key=f"f{number}", prerequisites=(on, on))
    assert check_prerequisites(flags["f5"], flags) == []
    assert "more than 100 flags" in check_prerequisites(flags["f7"], flags)[0].message
