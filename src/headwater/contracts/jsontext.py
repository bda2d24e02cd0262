"""Exact reading of JSON text: members in order with their own bytes, depth, and numbers that no double can hold.

msgspec decides what is JSON. What it passes over inside free JSON (``1e400``, nesting) is checked here, on the text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Raw

MAX_DEPTH: Final = 64

decode_members = msgspec.json.Decoder(dict[str, Raw]).decode
decode_items = msgspec.json.Decoder(list[Raw]).decode
decode_text = msgspec.json.Decoder(str).decode
decode_any = msgspec.json.Decoder(Raw).decode
encode = msgspec.json.encode

UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""All that decoding bytes can raise."""

_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[{}\[\]]")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\],:]', re.DOTALL)
_NUMBER = re.compile(rb"-?[0-9][0-9.eE+-]*")
_SURROGATE = re.compile(
    rb"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_LONE_LENGTH = len(rb"\ud800")

HUGE_EXPONENT: Final = r"[0-9][eE]\+?[0-9]{3}"
HUGE_DIGITS: Final = 300
"""A text without such an exponent and without so many digits has no number beyond the doubles."""

_KINDS: Final = bytes.maketrans(b"0123456789eE[{", b"0000000000ee[[")
_MANY_DIGITS: Final = b"0" * HUGE_DIGITS
_HUGE = re.compile(rb"%b|[0-9]{%d}" % (HUGE_EXPONENT.encode(), HUGE_DIGITS))


def is_too_deep(text: bytes, limit: int = MAX_DEPTH) -> bool:
    """Return whether objects and lists nest deeper than ``limit``; safe on text that is no JSON."""
    if text.count(b"{") + text.count(b"[") <= limit:
        return False
    depth = 0
    for bracket in _BRACKET.finditer(_STRING.sub(b"", text)):
        depth += 1 if bracket[0] in b"{[" else -1
        if depth > limit:
            return True
    return False


def has_huge_number(text: bytes) -> bool:
    """Return whether a number in ``text`` lies beyond the doubles."""
    if len(text) < len("1e999") or not _HUGE.search(text):
        return False
    return any(math.isinf(float(number[0])) for number in _NUMBER.finditer(_STRING.sub(b"", text)))


def is_surely_sound(text: bytes, max_depth: int = MAX_DEPTH) -> bool:
    """Return whether surely nothing nests deeper than ``max_depth`` and no number is huge; False means look closer."""
    kinds = text.translate(_KINDS)
    return kinds.count(b"[") <= max_depth and b"0e" not in kinds and _MANY_DIGITS not in kinds


def has_lone_surrogate(text: bytes) -> bool:
    """Return whether an escape in ``text`` names half a character."""
    return any(found[0].startswith(b"\\u") and len(found[0]) == _LONE_LENGTH for found in _SURROGATE.finditer(text))


def members(text: bytes) -> Iterable[tuple[str, bytes | Raw]]:
    """Return every member of an object with the exact text of its value, repeated names included, in order.

    ``text`` must be a JSON object without space around it.
    """
    last = decode_members(text)
    return last.items() if is_compact(text, last) else _scan_members(text)


def is_compact(text: bytes, last: dict[str, Raw]) -> bool:
    """Return whether ``text`` has these members, once each, and no byte more."""
    punctuation = 1 + len('"":,') * len(last) if last else len("{}")
    return punctuation + len("".join(last).encode()) + sum(map(len, last.values())) == len(text)


def _scan_members(text: bytes) -> Iterator[tuple[str, bytes]]:
    depth, start, name = 0, 1, ""
    for token in _TOKEN.finditer(text):
        mark = token[0]
        if mark in b"{[":
            depth += 1
        elif mark == b":" and depth == 1:
            name, start = decode_text(text[start : token.start()]), token.end()
        elif depth == 1 and mark in b",}":
            if value := text[start : token.start()].strip():
                yield name, value
            start = token.end()
        if mark in b"}]":
            depth -= 1


def pointer(path: str, name: str) -> str:
    """Return the JSON Pointer (RFC 6901) of a member of ``path``."""
    return f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
