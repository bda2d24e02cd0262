"""What flags answer, and why."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headwater.core.flags import (
    CompiledFlags,
    FlagSpec,
    Outcome,
    PrerequisiteSpec,
    Reason,
    RuleSpec,
    StepSpec,
    WeightSpec,
    compile_flags,
    trace,
)
from headwater.core.flags.outcomes import draw

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def make(key: str = "new-home", **fields: Any) -> FlagSpec:
    defaults: dict[str, Any] = {
        "id": f"flg_{key}", "key": key, "type": "boolean", "variants": {"on": True, "off": False}, "enabled": True,
        "default_variant": "off", "off_variant": "off", "salt": key,
    }  # fmt: skip
    return FlagSpec(**(defaults | fields))


def compiled(*specs: FlagSpec) -> CompiledFlags:
    return compile_flags({spec.key: spec for spec in specs})


def ask(spec: FlagSpec, context: dict[str, Any] | None = None, now: datetime = NOW, *others: FlagSpec) -> Outcome:
    return compiled(spec, *others).evaluate(spec.key, context or {}, now)


def test_a_flag_without_rules_answers_its_default_and_calls_it_static() -> None:
    outcome = ask(make(default_variant="on"))
    assert (outcome.value, outcome.variant, outcome.reason) == (True, "on", Reason.STATIC)


def test_a_flag_that_is_switched_off_answers_its_off_variant() -> None:
    outcome = ask(make(enabled=False, default_variant="on"))
    assert (outcome.variant, outcome.reason) == ("off", Reason.DISABLED)


def test_the_first_rule_that_reaches_decides() -> None:
    rules = (
        RuleSpec(when="country = 'DE' and age >= 18", variant="on"),
        RuleSpec(when="country = 'DE'", variant="off"),
    )
    spec = make(rules=rules, default_variant="on")
    assert ask(spec, {"country": "DE", "age": 30}).rule == 0
    child = ask(spec, {"country": "DE", "age": 7})
    assert (child.rule, child.variant, child.reason) == (1, "off", Reason.TARGETING_MATCH)
    other = ask(spec, {"country": "FR"})
    assert (other.rule, other.variant, other.reason) == (None, "on", Reason.DEFAULT)


@pytest.mark.parametrize(
    "context", [{}, {"age": "30"}, {"age": True}, {"age": None}, {"age": float("nan")}, {"age": 10**400}, {"age": []}]
)
def test_an_attribute_that_is_missing_or_of_another_type_is_null(context: dict[str, Any]) -> None:
    assert ask(make(rules=(RuleSpec(when="age >= 0 or age < 0", variant="on"),)), context).variant == "off"
    assert ask(make(rules=(RuleSpec(when="age > 1 or age is null", variant="on"),)), context).variant == "on"


def test_attributes_may_lie_in_nested_objects() -> None:
    spec = make(rules=(RuleSpec(when="user.plan in ('pro', 'team')", variant="on"),))
    assert ask(spec, {"user": {"plan": "pro"}}).variant == "on"
    assert ask(spec, {"user.plan": "team"}).variant == "on"
    assert ask(spec, {"user": {"plan": "free"}}).variant == "off"
    assert ask(spec, {"user": "pro"}).variant == "off"


def test_instants_are_compared_as_instants() -> None:
    spec = make(rules=(RuleSpec(when="signed_up < timestamp('2026-01-01T00:00:00Z')", variant="on"),))
    assert ask(spec, {"signed_up": "2026-01-01T00:30:00+01:00"}).variant == "on"
    assert ask(spec, {"signed_up": "2026-01-01T00:00:00+00:00"}).variant == "off"
    assert ask(spec, {"signed_up": "2025-01-01"}).variant == "off"


def test_one_attribute_may_be_used_as_text_here_and_as_a_number_there() -> None:
    text = make("text", rules=(RuleSpec(when="build = '7'", variant="on"),))
    number = make("number", rules=(RuleSpec(when="build >= 7", variant="on"),))
    flags = compiled(text, number)
    assert flags.evaluate("text", {"build": "7"}, NOW).variant == "on"
    assert flags.evaluate("number", {"build": "7"}, NOW).variant == "off"
    assert flags.evaluate("number", {"build": 7}, NOW).variant == "on"


def test_a_share_is_drawn_by_the_targeting_key_as_documented() -> None:
    spec = make(rules=(RuleSpec(variant="on", share_bps=2_500),), salt="s1")
    answers = {key: ask(spec, {"targetingKey": key}) for key in map(str, range(400))}
    inside = {key for key, outcome in answers.items() if outcome.variant == "on"}
    assert inside == {key for key in answers if draw(b"s1:", key.encode())[0] < 2_500}
    assert 60 <= len(inside) <= 140
    assert {answers[key].reason for key in inside} == {Reason.SPLIT}
    assert {outcome.reason for key, outcome in answers.items() if key not in inside} == {Reason.DEFAULT}


def test_the_draw_stays_what_it_was() -> None:
    # Known answers, from sha256sum: whoever changes these moves everybody's users.
    assert [draw(b"salt:", key.encode()) for key in ("user-1", "user-2", "ü")] == [
        (7_441, 9_163),
        (4_356, 4_576),
        (493, 8_300),
    ]


def test_whoever_is_outside_a_share_goes_on_to_the_next_rule() -> None:
    rules = (RuleSpec(when="staff", variant="on", share_bps=0), RuleSpec(variant="maybe"))
    spec = make(type="string", variants={"on": "a", "off": "b", "maybe": "c"}, rules=rules)
    assert ask(spec, {"staff": True}).value == "c"


def test_a_share_without_a_targeting_key_is_an_error_that_says_so() -> None:
    spec = make(rules=(RuleSpec(when="staff", variant="on"), RuleSpec(variant="on", share_bps=100)))
    assert ask(spec, {"staff": True}).variant == "on"
    for context in ({}, {"targetingKey": ""}):
        outcome = ask(spec, context)
        assert (outcome.error_code, outcome.reason, outcome.variant) == ("TARGETING_KEY_MISSING", Reason.ERROR, None)


def test_a_targeting_key_must_be_a_text() -> None:
    assert ask(make(), {"targetingKey": 7}).error_code == "INVALID_CONTEXT"


def test_a_flag_that_is_not_there_is_an_error() -> None:
    assert compiled().evaluate("nope", {}, NOW).error_code == "FLAG_NOT_FOUND"


def test_a_split_gives_each_variant_about_its_weight() -> None:
    split = (WeightSpec(variant="a", weight_bps=2_000), WeightSpec(variant="b", weight_bps=8_000))
    spec = make(
        type="integer", variants={"a": 1, "b": 2}, default_variant="a", off_variant="a", rules=(RuleSpec(split=split),)
    )
    flags = compiled(spec)
    answers = [flags.evaluate(spec.key, {"targetingKey": f"u{n}"}, NOW) for n in range(2_000)]
    assert 330 <= sum(outcome.value == 1 for outcome in answers) <= 470
    assert {outcome.reason for outcome in answers} == {Reason.SPLIT}


def test_a_schedule_switches_by_the_clock_alone() -> None:
    spec = make(default_variant="on", enabled_from=NOW, enabled_until=NOW + timedelta(hours=1))
    flags = compiled(spec)
    instants = [NOW - timedelta(microseconds=1), NOW, NOW + timedelta(minutes=59), NOW + timedelta(hours=1)]
    assert [flags.evaluate(spec.key, {}, at).variant for at in instants] == ["off", "on", "on", "off"]
    assert [flags.epoch(int(at.timestamp() * 1e6)) for at in (NOW - timedelta(hours=1), NOW, instants[3])] == [0, 1, 2]


def test_steps_raise_a_share_at_their_instants() -> None:
    steps = (StepSpec(at=NOW, share_bps=5_000), StepSpec(at=NOW + timedelta(days=1), share_bps=10_000))
    spec = make(rules=(RuleSpec(variant="on", share_bps=0, steps=steps),))
    flags = compiled(spec)
    counts = [
        sum(flags.evaluate(spec.key, {"targetingKey": f"u{n}"}, at).variant == "on" for n in range(400))
        for at in (NOW - timedelta(days=1), NOW, NOW + timedelta(days=1))
    ]
    assert counts[0] == 0
    assert 150 < counts[1] < 250
    assert counts[2] == 400


def test_a_prerequisite_that_does_not_hold_switches_off() -> None:
    base = make("base", default_variant="on")
    spec = make(default_variant="on", prerequisites=(PrerequisiteSpec(flag="base", variants=("on",)),))
    assert ask(spec, {}, NOW, base).variant == "on"
    off = ask(spec, {}, NOW, base.model_copy(update={"enabled": False}))
    assert (off.variant, off.reason) == ("off", Reason.DISABLED)


def test_a_prerequisite_that_needs_a_targeting_key_makes_the_flag_need_it() -> None:
    base = make("base", rules=(RuleSpec(variant="on", share_bps=10),))
    spec = make(prerequisites=(PrerequisiteSpec(flag="base", variants=("on",)),))
    assert ask(spec, {}, NOW, base).error_code == "TARGETING_KEY_MISSING"


def test_a_number_is_a_number_though_it_is_whole() -> None:
    spec = make(type="number", variants={"on": 1, "off": 0.5}, default_variant="on")
    assert type(ask(spec).value) is float


def test_a_flag_that_cannot_be_used_disturbs_no_other() -> None:
    broken = make("broken", rules=(RuleSpec(when="((", variant="on"),))
    on_it = make("on-it", prerequisites=(PrerequisiteSpec(flag="broken", variants=("on",)),))
    circle = make("circle", prerequisites=(PrerequisiteSpec(flag="circle", variants=("on",)),))
    flags = compiled(broken, on_it, circle, make("fine"))
    assert flags.evaluate("fine", {}, NOW).variant == "off"
    for key, why in (("broken", "rules[0].when"), ("on-it", "'broken'"), ("circle", "circle → circle")):
        outcome = flags.evaluate(key, {}, NOW)
        assert outcome.error_code == "GENERAL"
        assert why in outcome.detail


def test_flags_behind_a_circle_are_faults_and_not_endless() -> None:
    one = make("one", prerequisites=(PrerequisiteSpec(flag="two", variants=("on",)),))
    two = make("two", prerequisites=(PrerequisiteSpec(flag="three", variants=("on",)),))
    three = make("three", prerequisites=(PrerequisiteSpec(flag="two", variants=("on",)),))
    flags = compiled(one, two, three)
    assert {flags.evaluate(key, {}, NOW).error_code for key in ("one", "two", "three")} == {"GENERAL"}


def test_a_trace_tells_the_way_to_the_answer() -> None:
    base = make("base", default_variant="on")
    rules = (RuleSpec(when="country = 'FR'", variant="off"), RuleSpec(variant="on", share_bps=9_999))
    spec = make(rules=rules, prerequisites=(PrerequisiteSpec(flag="base", variants=("on",)),))
    outcome, passages = trace(compiled(spec, base), spec.key, {"targetingKey": "u1", "country": "DE"}, NOW)
    assert outcome.variant == "on"
    assert [(item.what, item.result) for item in passages] == [
        ("the flag", "passed"), ("prerequisite base", "passed"), ("rule 1", "skipped"), ("rule 2", "decided"),
    ]  # fmt: skip
    assert passages[2].why == "country = 'FR' does not hold"
    assert passages[3].why.startswith("position ")
    assert "is inside the share of 99.99%: on" in passages[3].why
    _, missing = trace(compiled(), "nope", {}, NOW)
    assert missing[0].why == "there is no flag 'nope'"
