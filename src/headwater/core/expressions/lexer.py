"""Cutting the text of an expression into words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from headwater.core.expressions.faults import ExpressionFault
from headwater.core.expressions.terms import MAX_INTEGER, MAX_LENGTH

KEYWORDS: Final = frozenset(
    {"and", "or", "not", "in", "is", "null", "true", "false", "case", "when", "then", "else", "end"}
)
_WORD: Final = re.compile(
    r"""(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
      | (?P<string>'(?:[^']|'')*'|"(?:[^"]|"")*")
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)
      | (?P<sign><=|>=|<>|!=|==|[-+*/%<>=(),])""",
    re.VERBOSE | re.ASCII,
)
_SPACE: Final = re.compile(r"\s*")


@dataclass(frozen=True, slots=True)
class Word:
    """A word: ``literal`` with its value, or ``name``, ``keyword``, ``sign`` or ``end`` with its text."""

    kind: str
    text: str
    at: int
    value: Any = None


def read_words(text: str) -> list[Word]:
    """Return the words of an expression, the last of them ``end``; raises ``ExpressionFault``."""
    if len(text) > MAX_LENGTH:
        raise ExpressionFault(
            f"an expression may have {MAX_LENGTH} characters", MAX_LENGTH, "compute parts of it before"
        )
    words: list[Word] = []
    position = _skip(text, 0)
    while position < len(text):
        match = _WORD.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        words.append(_word(match))
        position = _skip(text, match.end())
    words.append(Word("end", "", len(text)))
    return words


def _skip(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    assert match is not None
    return match.end()


def _word(match: re.Match[str]) -> Word:
    text, at = match[0], match.start()
    if match["number"]:
        return Word("literal", text, at, _number(text, at))
    if match["string"]:
        quote = text[0]
        value = text[1:-1].replace(quote * 2, quote)
        if "\x00" in value:
            raise ExpressionFault("a text cannot hold the character NUL", at)
        return Word("literal", text, at, value)
    if match["name"]:
        lower = text.lower()
        return Word("keyword", lower, at) if lower in KEYWORDS else Word("name", text, at)
    return Word("sign", {"==": "=", "<>": "!="}.get(text, text), at)


def _number(text: str, at: int) -> int | float:
    if text.isdigit():
        value = int(text)
        if value > MAX_INTEGER:
            raise ExpressionFault(f"{text[:30]} does not fit 64 bits", at, "write it with a decimal point")
        return value
    number = float(text)
    if number == float("inf"):
        raise ExpressionFault(f"{text[:30]} is larger than a number can be", at)
    return number


def _unreadable(text: str, position: int) -> ExpressionFault:
    character = text[position]
    if character in "'\"":
        return ExpressionFault("the text does not end", position, f"close it with {character}")
    hints = {"&": "write 'and'", "|": "write 'or'", "!": "write 'not'", "^": "there are no powers; multiply"}
    return ExpressionFault(f"{character!r} means nothing here", position, hints.get(character))
