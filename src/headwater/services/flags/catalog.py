"""A snapshot's flags as this service answers them: every answer a flag can give is JSON before anybody asks."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from headwater.core.errors import HeadwaterError
from headwater.core.flags import CompiledFlags, FlagSpec, Outcome, compile_flags
from headwater.core.flags.compiled import Answer, Fault
from headwater.core.snapshot import Snapshot
from headwater.services.kit.service import Caller

PERMISSION: Final = "flag.evaluate"
_MAX_REPLIES: Final = 512
_MAX_QUESTION_BYTES: Final = 4 << 10
_MAX_REPLY_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Scope:
    """The flags that a key may evaluate: those to be asked, the answers of all others, and a digest of which they are.

    ``fixed`` is at most one text: what flags answer whoever asks is joined beforehand.
    """

    asked: Sequence[Answer]
    fixed: list[bytes]
    tag: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer with its entity tag."""

    tag: bytes
    body: bytes


class Replies:
    """Answers by what was asked, the oldest forgotten first: a client asks for the same context again and again."""

    __slots__ = ("_bytes", "_found")

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[tuple[bytes, int, bytes], Reply] = {}
        self._bytes = 0

    def find(self, question: bytes, epoch: int, scope: Scope) -> Reply | None:
        """Return the answer to a body that was answered before, in the same span of time and for the same flags."""
        return self._found.get((question, epoch, scope.tag))

    def keep(self, question: bytes, epoch: int, scope: Scope, reply: Reply) -> None:
        """Remember an answer, unless it or its question is long."""
        size = len(reply.body)
        if len(question) > _MAX_QUESTION_BYTES or size > _MAX_REPLY_BYTES // 8:
            return
        while self._found and (len(self._found) >= _MAX_REPLIES or self._bytes + size > _MAX_REPLY_BYTES):
            self._bytes -= len(self._found.pop(next(iter(self._found))).body)
        self._found[question, epoch, scope.tag] = reply
        self._bytes += size


@dataclass(frozen=True, slots=True)
class ServedFlags:
    """The flags of one environment, ready to be asked; ``fragments`` is the JSON of each of their answers."""

    compiled: CompiledFlags
    specs: Mapping[str, FlagSpec]
    fragments: Mapping[Outcome, bytes]
    replies: Replies = field(default_factory=Replies)
    _scopes: dict[str, Scope] = field(default_factory=dict)

    def scope(self, caller: Caller) -> Scope:
        """Return what the caller may evaluate.

        Raises:
            HeadwaterError: ``forbidden`` where that is no flag at all.
        """
        found = self._scopes.get(caller.key.id)
        if found is None:
            found = self._scopes[caller.key.id] = self._make_scope(caller)
        return found

    def _make_scope(self, caller: Caller) -> Scope:
        flags = self.compiled.flags
        if caller.key.can(PERMISSION, "*"):
            return self._narrow(list(flags), b"*")
        allowed = [key for key in flags if caller.key.can(PERMISSION, key)]
        if not allowed:
            raise refusal(caller, "*")
        return self._narrow(allowed, hashlib.sha256("\n".join(allowed).encode()).digest())

    def _narrow(self, keys: Sequence[str], tag: bytes) -> Scope:
        flags = [self.compiled.flags[key] for key in keys]
        fixed = [self.fragments[flag.fixed] for flag in flags if flag.fixed is not None]
        asked = [flag.decide for flag in flags if flag.fixed is None]
        return Scope(asked, [b",".join(fixed)] if fixed else [], tag)

    def faults(self) -> list[str]:
        """Return why flags cannot be used, one sentence each."""
        return [flag.fixed.detail for flag in self.compiled.flags.values() if isinstance(flag, Fault)]


def refusal(caller: Caller, key: str) -> HeadwaterError:
    """Return the error for a key that may not evaluate."""
    return HeadwaterError(
        "forbidden",
        f"the key {caller.key.prefix}… lacks {PERMISSION} on {key[:100]!r}",
        hint="use a key whose role has it, or ask for a grant",
    )


def serve_flags(snapshot: Snapshot, previous: ServedFlags | None) -> ServedFlags:
    """Compile a snapshot's flags; those that say the same as before are kept as they are."""
    if previous is not None and previous.specs == snapshot.flags:
        # Not the rest: keys may do other things by now.
        return ServedFlags(previous.compiled, previous.specs, previous.fragments)
    compiled = compile_flags(snapshot.flags)
    fragments = {
        outcome: render(outcome, snapshot.flags[key])
        for key, flag in compiled.flags.items()
        for outcome in flag.outcomes
    }
    return ServedFlags(compiled, snapshot.flags, fragments)


def render(outcome: Outcome, spec: FlagSpec) -> bytes:
    """Return an answer as the protocol writes it."""
    if outcome.error_code is not None:
        return error_body(outcome.error_code, outcome.detail, outcome.key)
    metadata: dict[str, Any] = {"revision": spec.revision}
    if outcome.rule is not None:
        metadata["rule"] = outcome.rule + 1
    document = {
        "key": outcome.key, "value": outcome.value, "reason": outcome.reason.value, "variant": outcome.variant,
        "metadata": metadata,
    }  # fmt: skip
    return orjson.dumps(document)


def error_body(code: str, details: str, key: str | None = None) -> bytes:
    """Return an error as the protocol writes it; those about a whole request name no key."""
    named = {} if key is None else {"key": key}
    return orjson.dumps({**named, "errorCode": code, "errorDetails": details})
