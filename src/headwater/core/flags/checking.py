"""Whether a flag makes sense: everything wrong with it at once, each with its place."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from headwater.core.expressions import ExpressionFault, compile_expression
from headwater.core.expressions.expression import Expression
from headwater.core.flags.attributes import infer_types
from headwater.core.flags.spec import KEY_PATTERN, MAX_KEY_LENGTH, WHOLE_BPS, FlagSpec, RuleSpec

MAX_VARIANTS: Final = 50
MAX_RULES: Final = 100
MAX_ASKED: Final = 100
MAX_INTEGER: Final = (1 << 53) - 1
_VARIANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_VALUES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "boolean": (lambda value: type(value) is bool, "true or false"),
    "string": (lambda value: type(value) is str, "a text"),
    "integer": (lambda value: type(value) is int and abs(value) <= MAX_INTEGER, f"a whole number up to {MAX_INTEGER}"),
    "number": (lambda value: type(value) in (int, float) and math.isfinite(value), "a finite number"),
    "object": (lambda value: type(value) is dict, "an object"),
}


@dataclass(frozen=True, slots=True)
class FlagFault:
    """Something wrong with a flag: where in it, and what, with the cure."""

    path: str
    message: str


def compile_condition(text: str) -> Expression:
    """Return a rule's expression; raises ``ExpressionFault`` where it cannot be read or answers no yes or no."""
    expression = compile_expression(text, infer_types(text))
    if expression.type not in ("boolean", "null"):
        raise ExpressionFault(f"it answers a {expression.type}, not true or false", 0, "compare it with something")
    return expression


def check_flag(spec: FlagSpec) -> list[FlagFault]:
    """Return everything wrong with one flag by itself; an empty list for a good one."""
    return [*_check_variants(spec), *_check_rules(spec), *_check_times(spec)]


def check_prerequisites(spec: FlagSpec, others: Mapping[str, FlagSpec]) -> list[FlagFault]:
    """Return what is wrong with what ``spec`` builds on; ``others`` are the environment's flags by key."""
    flags = {**others, spec.key: spec}
    faults = []
    for index, item in enumerate(spec.prerequisites):
        place = f"prerequisites[{index}]"
        other = flags.get(item.flag)
        if other is None:
            known = ", ".join(sorted(key for key in flags if key != spec.key)[:20]) or "none"
            faults.append(FlagFault(f"{place}.flag", f"there is no flag {item.flag!r}; others are: {known}"))
            continue
        unknown = [name for name in item.variants if name not in other.variants]
        if unknown or not item.variants:
            what = f"{item.flag!r} has no variant {unknown[0]!r}" if unknown else "no variant is named"
            faults.append(FlagFault(f"{place}.variants", f"{what}; it has: {', '.join(other.variants)}"))
    circle = find_circle(spec.key, flags)
    if circle:
        way = " → ".join(circle)
        faults.append(FlagFault("prerequisites", f"flags cannot wait for themselves: {way}; take one of these out"))
    elif _is_costly(spec, flags):
        why = f"answering it would ask more than {MAX_ASKED} flags, some of them again and again"
        faults.append(FlagFault("prerequisites", f"{why}; build on fewer"))
    return faults


def _is_costly(spec: FlagSpec, flags: Mapping[str, FlagSpec]) -> bool:
    """Return whether prerequisites of prerequisites add up to too many; every way to a flag counts."""
    asked, waiting = 0, [spec]
    while waiting and asked <= MAX_ASKED:
        asked += 1
        waiting += [flags[item.flag] for item in waiting.pop().prerequisites if item.flag in flags]
    return asked > MAX_ASKED


def find_circle(start: str, flags: Mapping[str, FlagSpec]) -> list[str] | None:
    """Return the keys on a way of prerequisites from ``start`` back to itself, or None."""
    ways = [[start]]
    seen: set[str] = set()
    while ways:
        way = ways.pop()
        flag = flags.get(way[-1])
        for item in flag.prerequisites if flag is not None else ():
            if item.flag == start:
                return [*way, start]
            if item.flag not in seen:
                seen.add(item.flag)
                ways.append([*way, item.flag])
    return None


def _check_variants(spec: FlagSpec) -> Iterator[FlagFault]:
    if not re.fullmatch(KEY_PATTERN, spec.key) or len(spec.key) > MAX_KEY_LENGTH:
        yield FlagFault(
            "key",
            f"{spec.key[:120]!r} is no key; use lower-case letters, digits and single - _ . between them, a letter "
            f"first, at most {MAX_KEY_LENGTH}",
        )
    if not 1 <= len(spec.variants) <= MAX_VARIANTS:
        yield FlagFault("variants", f"a flag has 1 to {MAX_VARIANTS} variants, not {len(spec.variants)}")
    fits, wanted = _VALUES[spec.type]
    for name, value in spec.variants.items():
        if not _VARIANT.fullmatch(name):
            yield FlagFault(f"variants.{name[:80]}", "a variant's name has letters, digits, - _ and ., at most 63")
        if not fits(value):
            yield FlagFault(
                f"variants.{name[:80]}", f"{value!r:.80} is not {wanted}, and the flag is of type {spec.type}"
            )
    for place in ("default_variant", "off_variant"):
        yield from _check_named(spec, getattr(spec, place), place)


def _check_named(spec: FlagSpec, name: str, place: str) -> Iterator[FlagFault]:
    if name not in spec.variants:
        yield FlagFault(place, f"there is no variant {name!r}; there are: {', '.join(spec.variants) or 'none'}")


def _check_rules(spec: FlagSpec) -> Iterator[FlagFault]:
    if len(spec.rules) > MAX_RULES:
        yield FlagFault("rules", f"a flag has at most {MAX_RULES} rules, not {len(spec.rules)}")
    for index, rule in enumerate(spec.rules):
        place = f"rules[{index}]"
        yield from _check_condition(rule, place)
        yield from _check_answer(spec, rule, place)
        yield from _check_share(rule, place)


def _check_condition(rule: RuleSpec, place: str) -> Iterator[FlagFault]:
    if not rule.when:
        return
    try:
        compile_condition(rule.when)
    except ExpressionFault as fault:
        yield FlagFault(f"{place}.when", f"{fault}; {fault.hint}" if fault.hint else str(fault))


def _check_answer(spec: FlagSpec, rule: RuleSpec, place: str) -> Iterator[FlagFault]:
    if (rule.variant is None) == (not rule.split):
        yield FlagFault(place, "a rule has either a variant or a split; write one of them")
    if rule.variant is not None:
        yield from _check_named(spec, rule.variant, f"{place}.variant")
    for weight in rule.split:
        yield from _check_named(spec, weight.variant, f"{place}.split")
        if not 0 <= weight.weight_bps <= WHOLE_BPS:
            yield FlagFault(f"{place}.split.{weight.variant}", "a weight is from 0 to 10,000 basis points")
    total = sum(weight.weight_bps for weight in rule.split)
    if rule.split and total != WHOLE_BPS:
        yield FlagFault(f"{place}.split", f"the weights sum to {total:,} basis points, not to {WHOLE_BPS:,} (100%)")
    names = [weight.variant for weight in rule.split]
    if len(set(names)) != len(names):
        yield FlagFault(f"{place}.split", "a variant is named twice; add its weights up")


def _check_share(rule: RuleSpec, place: str) -> Iterator[FlagFault]:
    shares = {f"{place}.share": rule.share_bps}
    shares |= {f"{place}.steps[{index}].share": step.share_bps for index, step in enumerate(rule.steps)}
    for where, share in shares.items():
        if not 0 <= share <= WHOLE_BPS:
            yield FlagFault(where, f"a share is from 0 to {WHOLE_BPS:,} basis points (100%), not {share:,}")
    instants = [step.at for step in rule.steps]
    if any(at.tzinfo is None for at in instants):
        yield FlagFault(f"{place}.steps", "an instant has no offset; write 2026-12-01T08:00:00Z")
    elif any(later <= earlier for earlier, later in pairwise(instants)):
        yield FlagFault(f"{place}.steps", "steps are in the order of their instants, each later than the one before")


def _check_times(spec: FlagSpec) -> Iterator[FlagFault]:
    begin, end = spec.enabled_from, spec.enabled_until
    for place, at in (("enabled_from", begin), ("enabled_until", end)):
        if at is not None and at.tzinfo is None:
            yield FlagFault(place, "the instant has no offset; write 2026-12-01T08:00:00Z")
            return
    if begin is not None and end is not None and end <= begin:
        yield FlagFault("enabled_until", "it lies before enabled_from; the flag would never be on")
