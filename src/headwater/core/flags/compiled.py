"""Flags made ready to answer: everything that can be known before a context comes is worked out when they change."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from headwater.core.clock import epoch_micros
from headwater.core.expressions import ExpressionFault
from headwater.core.expressions.expression import Expression
from headwater.core.flags.attributes import Frame, infer_types
from headwater.core.flags.checking import check_flag, check_prerequisites, compile_condition
from headwater.core.flags.outcomes import Outcome, Reason, Subject, draw, encode, read_subject
from headwater.core.flags.spec import WHOLE_BPS, FlagSpec, RuleSpec

_FOREVER: Final = 1 << 62
Decide = Callable[[Subject, int], Outcome | None]
Answer = Callable[[Subject, int], Outcome]


class Rule:
    """A rule made ready. ``decide`` answers for a subject, or None where the rule does not reach."""

    __slots__ = ("_bounds", "_frame", "_missing", "_outcomes", "_seed", "_shares", "_steps", "condition", "decide")

    def __init__(self, flag: FlagSpec, number: int, missing: Outcome, frames: list[Frame]) -> None:
        """Make rule ``number`` of a checked flag; ``missing`` is what it answers where a targeting key is needed."""
        spec = flag.rules[number]
        self.condition: Expression | None = None
        self._frame = 0
        if spec.when:
            self.condition = compile_condition(spec.when)
            self._frame = _place(spec.when, frames)
        self._missing = missing
        self._seed = encode(f"{flag.salt}:")
        self._steps = [epoch_micros(step.at) for step in spec.steps]
        self._shares = [spec.share_bps, *(step.share_bps for step in spec.steps)]
        is_drawn = bool(spec.split) or any(share != WHOLE_BPS for share in self._shares)
        reason = Reason.SPLIT if is_drawn else Reason.TARGETING_MATCH
        names = [weight.variant for weight in spec.split] or [spec.variant or ""]
        self._outcomes = [Outcome(flag.key, reason, value_of(flag, name), name, number) for name in names]
        self._bounds = _bounds(spec)
        choose = self._drawing() if is_drawn else None
        self.decide: Decide = self._deciding(choose)

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """Return everything it can answer, but for the missing key."""
        return self._outcomes

    def matches(self, subject: Subject) -> bool:
        """Return whether the condition holds; null is no."""
        return self.condition is None or self.condition(subject.rows[self._frame]) is True

    def share_at(self, now_us: int) -> int:
        """Return the share in force at an instant, in basis points."""
        return self._shares[bisect_right(self._steps, now_us)]

    def draw(self, key: bytes) -> tuple[int, int]:
        """Return position and place of a targeting key."""
        return draw(self._seed, key)

    def _deciding(self, choose: Decide | None) -> Decide:
        condition, frame, only = self.condition, self._frame, self._outcomes[0]
        if condition is None:
            return choose or (lambda _subject, _now_us: only)
        if choose is None:
            return lambda subject, _now_us: only if condition(subject.rows[frame]) is True else None
        return lambda subject, now_us: choose(subject, now_us) if condition(subject.rows[frame]) is True else None

    def _drawing(self) -> Decide:
        """Return what draws by the targeting key.

        It compares the digest's bytes with where shares and weights end, which is what ``draw`` says in numbers.
        """
        steps, ends, seed, missing = self._steps, [_end(share) for share in self._shares], self._seed, self._missing
        bounds, outcomes = [_end(bound) for bound in self._bounds], self._outcomes
        nobody, everybody = _end(0), _end(WHOLE_BPS)

        def choose(subject: Subject, now_us: int) -> Outcome | None:
            end = ends[bisect_right(steps, now_us)] if steps else ends[0]
            if end == nobody:
                return None
            if end == everybody and not bounds:
                return outcomes[0]
            if subject.key is None:
                return missing
            digest = sha256(seed + subject.key).digest()
            if digest >= end:
                return None
            return outcomes[bisect_right(bounds, digest[8:16])] if bounds else outcomes[0]

        return choose


def _end(bps: int) -> bytes:
    """Return the least eight bytes whose number is no longer below ``bps``; beyond any for the whole."""
    return b"\xff" * 33 if bps >= WHOLE_BPS else (-(-(bps << 64) // WHOLE_BPS)).to_bytes(8)


@dataclass(frozen=True, slots=True)
class Prerequisite:
    """Another flag made ready, what it must answer, and what is answered where it does not."""

    flag: Flag
    variants: frozenset[str]
    blocked: Outcome


class Flag:
    """A flag made ready."""

    __slots__ = ("_default", "_from", "_missing", "_off", "_until", "decide", "fixed", "prerequisites", "rules", "spec")

    def __init__(self, spec: FlagSpec, built: Mapping[str, Flag], frames: list[Frame]) -> None:
        """Make a checked flag ready; those that it builds on are in ``built``."""
        self.spec = spec
        self._missing = Outcome(
            spec.key, Reason.ERROR, error_code="TARGETING_KEY_MISSING",
            detail=f"{spec.key!r} is rolled out to a share, so the context needs a targetingKey",
        )  # fmt: skip
        self.rules = [Rule(spec, number, self._missing, frames) for number in range(len(spec.rules))]
        self.prerequisites = [
            Prerequisite(built[item.flag], frozenset(item.variants), self._answer(spec.off_variant, Reason.DISABLED))
            for item in spec.prerequisites
        ]
        self._off = self._answer(spec.off_variant, Reason.DISABLED)
        is_static = not self.rules and not self.prerequisites
        self._default = self._answer(spec.default_variant, Reason.STATIC if is_static else Reason.DEFAULT)
        begin, end = spec.enabled_from, spec.enabled_until
        self._from = -_FOREVER if begin is None else epoch_micros(begin)
        self._until = _FOREVER if end is None else epoch_micros(end)
        if not spec.enabled:
            self._until = -_FOREVER
        # What it answers whatever is asked, and whenever; None where that depends.
        self.fixed: Outcome | None = None
        if not spec.enabled:
            self.fixed = self._off
        elif is_static and begin is None and end is None:
            self.fixed = self._default
        self.decide = self._deciding()

    def _answer(self, variant: str, reason: Reason) -> Outcome:
        return Outcome(self.spec.key, reason, value_of(self.spec, variant), variant)

    def is_on(self, now_us: int) -> bool:
        """Return whether it is enabled at an instant, whatever it builds on."""
        return self._from <= now_us < self._until

    def _deciding(self) -> Answer:
        """Return what answers for a subject at an instant in microseconds since 1970."""
        begin, end, off, default, missing = self._from, self._until, self._off, self._default, self._missing
        prerequisites = [(item.flag.decide, item.variants, item.blocked) for item in self.prerequisites]
        rules = [rule.decide for rule in self.rules]

        def decide(subject: Subject, now_us: int) -> Outcome:
            if not begin <= now_us < end:
                return off
            for ask, variants, blocked in prerequisites:
                other = ask(subject, now_us)
                if other.variant not in variants:
                    return blocked if other.error_code is None else missing
            for rule in rules:
                outcome = rule(subject, now_us)
                if outcome is not None:
                    return outcome
            return default

        return decide

    @property
    def instants(self) -> list[int]:
        """Return when its answers may change by the clock alone."""
        steps = [epoch_micros(step.at) for rule in self.spec.rules for step in rule.steps]
        bounds = [at for at in (self._from, self._until) if abs(at) != _FOREVER] if self.spec.enabled else []
        return steps + bounds

    @property
    def outcomes(self) -> list[Outcome]:
        """Return everything it can answer."""
        ruled = [outcome for rule in self.rules for outcome in rule.outcomes]
        blocked = [item.blocked for item in self.prerequisites]
        return [self._off, self._default, self._missing, *ruled, *blocked]


class Fault:
    """A flag that cannot be made ready: it answers an error that says why, and others are not disturbed."""

    __slots__ = ("fixed",)
    instants: Sequence[int] = ()

    def __init__(self, key: str, why: str) -> None:
        """Keep the reason."""
        self.fixed = Outcome(key, Reason.ERROR, error_code="GENERAL", detail=f"flag {key!r} cannot be used: {why}")

    def decide(self, _subject: Subject, _now_us: int) -> Outcome:
        """Answer the error."""
        return self.fixed

    @property
    def outcomes(self) -> list[Outcome]:
        """Return everything it can answer."""
        return [self.fixed]


@dataclass(frozen=True, slots=True)
class CompiledFlags:
    """The flags of one environment, ready to answer. ``digest`` is that of what they say.

    ``instants`` are when answers may change by the clock alone, in order, in microseconds since 1970.
    """

    flags: Mapping[str, Flag | Fault]
    frames: Sequence[Frame]
    instants: Sequence[int]
    digest: str

    def subject(self, context: Mapping[str, Any]) -> Subject:
        """Return whom a context is about; raises ``InvalidContext`` for a targeting key that is no text."""
        return read_subject(context, self.frames)

    def epoch(self, now_us: int) -> int:
        """Return the number of the span between two instants that ``now_us`` lies in."""
        return bisect_right(self.instants, now_us)

    def evaluate(self, key: str, context: Mapping[str, Any], now: datetime) -> Outcome:
        """Return what one flag answers for a context at an instant.

        Never raises for what a caller may send: an unknown flag is ``FLAG_NOT_FOUND``, a targeting key that is no text
        ``INVALID_CONTEXT``.
        """
        flag = self.flags.get(key)
        if flag is None:
            return Outcome(key, Reason.ERROR, error_code="FLAG_NOT_FOUND", detail=f"there is no flag {key[:100]!r}")
        try:
            subject = self.subject(context)
        except ValueError as error:
            return Outcome(key, Reason.ERROR, error_code="INVALID_CONTEXT", detail=str(error))
        return flag.decide(subject, epoch_micros(now))


def compile_flags(specs: Mapping[str, FlagSpec]) -> CompiledFlags:
    """Make flags ready. One that cannot be is a ``Fault``, and so is what builds on it."""
    frames: list[Frame] = []
    ready: dict[str, Flag | Fault] = {}
    for key in specs:
        _make(key, specs, ready, frames)
    flags = {key: ready[key] for key in sorted(specs)}
    instants = sorted({at for flag in flags.values() for at in flag.instants})
    return CompiledFlags(flags, tuple(frames), tuple(instants), _digest(specs))


def _make(key: str, specs: Mapping[str, FlagSpec], ready: dict[str, Flag | Fault], frames: list[Frame]) -> None:
    """Make a flag and, before it, what it builds on; circles were found first, so this ends."""
    if key in ready:
        return
    spec = specs[key]
    faults = [*check_flag(spec), *check_prerequisites(spec, specs)]
    if faults:
        ready[key] = Fault(key, f"{faults[0].path}: {faults[0].message}")
        return
    # A fault further down stands there before anything is built on it.
    ready[key] = Fault(key, "it waits for itself")
    for item in spec.prerequisites:
        _make(item.flag, specs, ready, frames)
    broken = next((item.flag for item in spec.prerequisites if isinstance(ready[item.flag], Fault)), None)
    if broken is not None:
        ready[key] = Fault(key, f"it builds on {broken!r}, which cannot be used")
        return
    built = {item.flag: flag for item in spec.prerequisites if isinstance(flag := ready[item.flag], Flag)}
    try:
        ready[key] = Flag(spec, built, frames)
    except ExpressionFault as fault:
        ready[key] = Fault(key, str(fault))


def value_of(spec: FlagSpec, variant: str) -> Any:
    """Return a variant's value; a whole number of a flag of numbers is a number all the same."""
    value = spec.variants[variant]
    return float(value) if spec.type == "number" else value


def _place(text: str, frames: list[Frame]) -> int:
    """Return which frame reads the attributes of an expression; nearly always it is the first."""
    types = infer_types(text)
    for index, frame in enumerate(frames):
        if frame.admit(types):
            return index
    frames.append(Frame())
    frames[-1].admit(types)
    return len(frames) - 1


def _bounds(spec: RuleSpec) -> list[int]:
    """Return where each variant of a split but the last ends."""
    total, bounds = 0, []
    for weight in spec.split[:-1]:
        total += weight.weight_bps
        bounds.append(total)
    return bounds


def _digest(specs: Mapping[str, FlagSpec]) -> str:
    plain = {key: spec.model_dump(mode="json") for key, spec in specs.items()}
    return sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
