"""An answer with the way to it, in words: for those who ask why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from headwater.core.clock import epoch_micros
from headwater.core.flags.compiled import CompiledFlags, Flag, Rule
from headwater.core.flags.outcomes import Outcome, Subject
from headwater.core.flags.spec import WHOLE_BPS, RuleSpec


@dataclass(frozen=True, slots=True)
class Passage:
    """One thing that was looked at on the way: what it is, what came of it, and why."""

    what: str
    result: Literal["decided", "passed", "skipped"]
    why: str


def trace(flags: CompiledFlags, key: str, context: Mapping[str, Any], now: datetime) -> tuple[Outcome, list[Passage]]:
    """Return what ``flags.evaluate`` does, and what was looked at before the answer stood."""
    outcome = flags.evaluate(key, context, now)
    flag = flags.flags.get(key)
    if not isinstance(flag, Flag) or outcome.error_code == "INVALID_CONTEXT":
        return outcome, [Passage("the request", "decided", outcome.detail)]
    now_us = epoch_micros(now)
    return outcome, _walk(flag, flags.subject(context), now_us)


def _walk(flag: Flag, subject: Subject, now_us: int) -> list[Passage]:
    spec = flag.spec
    if not flag.is_on(now_us):
        why = "it is outside its schedule" if spec.enabled else "it is switched off"
        return [Passage("the flag", "decided", f"{why}: {spec.off_variant}")]
    passages = [Passage("the flag", "passed", "it is switched on")]
    for item in flag.prerequisites:
        other = item.flag.decide(subject, now_us)
        wanted = " or ".join(sorted(item.variants))
        what = f"prerequisite {item.flag.spec.key}"
        if other.variant not in item.variants:
            answer = other.detail or f"it answers {other.variant}, not {wanted}"
            return [*passages, Passage(what, "decided", f"{answer}: {spec.off_variant}")]
        passages.append(Passage(what, "passed", f"it answers {other.variant}"))
    for number, rule in enumerate(flag.rules):
        outcome = rule.decide(subject, now_us)
        what = f"rule {number + 1}"
        why = _why(rule, spec.rules[number], subject, now_us)
        if outcome is not None:
            return [*passages, Passage(what, "decided", f"{why}: {outcome.variant or outcome.detail}")]
        passages.append(Passage(what, "skipped", why))
    return [*passages, Passage("the default", "decided", f"no rule reaches: {spec.default_variant}")]


def _why(rule: Rule, spec: RuleSpec, subject: Subject, now_us: int) -> str:
    condition = spec.when or "everybody"
    if not rule.matches(subject):
        return f"{condition} does not hold"
    share = rule.share_at(now_us)
    if share == WHOLE_BPS and not spec.split:
        return f"{condition} holds" if spec.when else "it is for everybody"
    if subject.key is None:
        return "there is no targetingKey to draw by"
    position, place = rule.draw(subject.key)
    where = "inside" if position < share else "outside"
    drawn = f"position {position / 100:.2f}% is {where} the share of {share / 100:g}%"
    return f"{drawn}, place {place / 100:.2f}% of the split" if spec.split and position < share else drawn
