"""Laws of roll-outs."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from headwater.core.flags import WHOLE_BPS, FlagSpec, Outcome, RuleSpec, WeightSpec, compile_flags

NOW = datetime(2026, 11, 24, tzinfo=UTC)
SHARES = st.integers(0, WHOLE_BPS)
KEYS = st.lists(st.text(st.characters(), min_size=1, max_size=40), min_size=1, max_size=50, unique=True)


def answers(keys: list[str], salt: str, rule: RuleSpec) -> list[Outcome]:
    flag = FlagSpec(
        id="", key="f", type="string", variants={"a": "a", "b": "b", "c": "c", "none": ""}, default_variant="none",
        off_variant="none", enabled=True, rules=(rule,), salt=salt,
    )  # fmt: skip
    flags = compile_flags({"f": flag})
    return [flags.evaluate("f", {"targetingKey": key}, NOW) for key in keys]


def split(*weights: int) -> tuple[WeightSpec, ...]:
    return tuple(WeightSpec(variant=name, weight_bps=weight) for name, weight in zip("abc", weights, strict=False))


@given(KEYS, st.text(max_size=20), st.tuples(SHARES, SHARES), st.tuples(SHARES, SHARES))
def test_raising_a_share_takes_nobody_out_and_changes_nobodys_variant(
    keys: list[str], salt: str, shares: tuple[int, int], bounds: tuple[int, int]
) -> None:
    low, high = sorted(shares)
    a, b = sorted(bounds)
    weights = split(a, b - a, WHOLE_BPS - b)
    before = answers(keys, salt, RuleSpec(split=weights, share_bps=low))
    after = answers(keys, salt, RuleSpec(split=weights, share_bps=high))
    for old, new in zip(before, after, strict=True):
        assert old.variant in ("none", new.variant)


@given(KEYS, st.text(max_size=20), SHARES, SHARES)
def test_moving_the_weights_of_two_variants_moves_people_one_way(
    keys: list[str], salt: str, one: int, other: int
) -> None:
    low, high = sorted((one, other))
    before = answers(keys, salt, RuleSpec(split=split(low, WHOLE_BPS - low)))
    after = answers(keys, salt, RuleSpec(split=split(high, WHOLE_BPS - high)))
    assert all((old.variant, new.variant) != ("a", "b") for old, new in zip(before, after, strict=True))


@given(KEYS, st.text(max_size=20), SHARES)
def test_the_same_subject_always_gets_the_same(keys: list[str], salt: str, share: int) -> None:
    rule = RuleSpec(variant="a", share_bps=share)
    assert [o.variant for o in answers(keys, salt, rule)] == [o.variant for o in answers(keys, salt, rule)]


@given(KEYS, st.text(max_size=20))
def test_a_share_of_nothing_has_nobody_and_one_of_all_has_everybody(keys: list[str], salt: str) -> None:
    assert {o.variant for o in answers(keys, salt, RuleSpec(variant="a", share_bps=0))} == {"none"}
    assert {o.variant for o in answers(keys, salt, RuleSpec(split=split(WHOLE_BPS)))} == {"a"}
