"""The exact check of one value: JSON text in, the value as the typed row holds it or what is wrong with it out.

This is the authority on what a contract accepts. The fast path only ever takes what these checks would take, and
hands them all the rest. Each check also names its ``wire`` type: the msgspec type that lets through, in C, every
value whose remaining doubts can be settled on whole columns.
"""

from __future__ import annotations

import math
import re
from decimal import Context, Decimal
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Raw

from headwater.contracts.bounds import INT64_MAX, Bounds, integer_range, is_multiple
from headwater.contracts.findings import Findings, shown
from headwater.contracts.jsontext import decode_text, encode
from headwater.contracts.model import Constraints, Field

EXACT_INTEGER: Final = 2**53
"""Beyond this not every integer is a double."""

_INTEGRAL = re.compile(r"(-?(?:0|[1-9][0-9]*))(?:\.0+)?")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_DECIMAL = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_MAX_DIGITS: Final = 400
_EXACT = Context(prec=2 * _MAX_DIGITS)
_NUMBER_START = frozenset(b"-0123456789")
QUOTE: Final = ord('"')


class Refusal(Exception):
    """A value is not acceptable: a row code, a sentence that completes "the value", and what was expected."""

    def __init__(self, code: str, message: str, expected: Any = None) -> None:
        """Keep the three."""
        super().__init__(message)
        self.code = code
        self.expected = expected


class ValueCheck:
    """Checks one field; subclasses know the type."""

    wire: Any
    expected: str
    may_settle = False
    """Whether decoding a value as the wire type can leave no doubt about it; ``settles`` says so of one value."""

    def __init__(self, field: Field, *, private: bool = False) -> None:
        """Compile the check; ``private`` keeps values out of errors whatever the field's own classification."""
        self.field = field
        self.private = private or field.classification != "public"
        self.lenient = field.coerce == "lenient"
        self.wire = self.wire_type(field.constraints)
        if field.nullable and self.wire is not Raw:
            self.wire = self.wire | None

    def __call__(self, raw: bytes, path: str, findings: Findings) -> Any:
        """Return the typed value of JSON text; None, with a finding, when it is not acceptable."""
        try:
            return self.nullable_value(raw, path, findings)
        except Refusal as refusal:
            actual = shown(raw, private=self.private)
            findings.add(refusal.code, path, str(refusal), expected=refusal.expected, actual=actual)
            return None

    def nullable_value(self, raw: bytes, path: str, findings: Findings) -> Any:
        """Check JSON text, ``null`` included; raises ``Refusal`` or adds findings about values within."""
        if raw != b"null":
            return self.value_within(raw, path, findings)
        if not self.field.nullable:
            raise Refusal("null_not_allowed", "must not be null", str(self.field.type))
        return None

    def value_within(self, raw: bytes, path: str, findings: Findings) -> Any:
        """Check JSON text other than ``null``; what holds other values overrides this."""
        del path, findings
        return self.value(raw)

    def wire_type(self, constraints: Constraints) -> Any:
        """Return the msgspec type of values that are not null."""
        raise NotImplementedError

    def value(self, raw: bytes) -> Any:
        """Return the typed value of JSON text other than ``null``; raises ``Refusal``."""
        raise NotImplementedError

    def settles(self, value: Any) -> bool:
        """Return whether decoding ``value`` left no doubt, where the check ``may_settle`` at all."""
        del value
        return True

    def mismatch(self) -> Refusal:
        """Return the refusal of a value of another type."""
        return Refusal("type_mismatch", f"must be {self.expected}", str(self.field.type))

    def text(self, raw: bytes) -> str:
        """Return the string that ``raw`` is; raises ``Refusal``."""
        if raw[0] != QUOTE:
            raise self.mismatch()
        return decode_text(raw)

    def number_text(self, raw: bytes) -> str:
        """Return the literal of a number; leniently also one in quotes. Raises ``Refusal``."""
        if raw[0] in _NUMBER_START:
            return raw.decode()
        if self.lenient:
            return self.text(raw)
        raise self.mismatch()

    def require_listed(self, value: Any) -> None:
        """Refuse a value that the contract does not list, if it lists any."""
        allowed = self.field.constraints.enum
        if allowed is not None and value not in allowed:
            raise Refusal("not_in_enum", f"must be one of {', '.join(map(str, allowed))}", list(allowed))

    def require_within(self, bounds: Bounds, value: Any) -> None:
        """Refuse a value outside of its limits."""
        if (broken := bounds.violation(value)) is not None:
            raise Refusal("out_of_range", *broken)

    def require_length(self, length: int, unit: str) -> None:
        """Refuse what is too long or too short."""
        limits = self.field.constraints
        if limits.max_length is not None and length > limits.max_length:
            message = f"must have at most {limits.max_length} {unit}"
            raise Refusal("too_long", message, {"max_length": limits.max_length})
        if limits.min_length is not None and length < limits.min_length:
            message = f"must have at least {limits.min_length} {unit}"
            raise Refusal("too_short", message, {"min_length": limits.min_length})

    def require_step(self, *, fits: bool) -> None:
        """Refuse a number that is no multiple of the contract's step."""
        if not fits:
            step = self.field.constraints.multiple_of
            raise Refusal("out_of_range", f"must be a multiple of {step}", {"multiple_of": step})


class BooleanCheck(ValueCheck):
    """``true`` or ``false``; leniently also 1, 0 and these four in quotes."""

    expected = "true or false"
    may_settle = True
    _lenient: Final = {b"1": True, b"0": False, b'"1"': True, b'"0"': False, b'"true"': True, b'"false"': False}

    def wire_type(self, constraints: Constraints) -> Any:
        """Return bool."""
        del constraints
        return bool

    def value(self, raw: bytes) -> bool:
        """Check one value."""
        if raw in (b"true", b"false"):
            return raw == b"true"
        if self.lenient and (known := self._lenient.get(raw.lower())) is not None:
            return known
        raise self.mismatch()


class IntegerCheck(ValueCheck):
    """A JSON integer in 64 bits; ``7.0`` is one, ``7.5`` and ``1e3`` are not."""

    expected = "an integer"
    may_settle = True

    def wire_type(self, constraints: Constraints) -> Any:
        """Return int within its range, or the listed values."""
        self._low, self._high = integer_range(constraints)
        self._bounds = Bounds(constraints)
        self._step = None if constraints.multiple_of is None else int(constraints.multiple_of)
        if constraints.enum is not None:
            return Literal[constraints.enum]
        return Annotated[int, Meta(ge=self._low, le=self._high, multiple_of=self._step)]

    def value(self, raw: bytes) -> int:
        """Check one value."""
        found = _INTEGRAL.fullmatch(self.number_text(raw))
        if found is None:
            raise self.mismatch()
        literal = found[1]
        number = int(literal) if len(literal) < _MAX_DIGITS else int(literal[0] + "1") * (INT64_MAX + 1)
        self.require_within(self._bounds, number)
        if not self._low <= number <= self._high:
            message = f"must lie between {self._low} and {self._high}"
            raise Refusal("out_of_range", message, {"ge": self._low, "le": self._high})
        self.require_step(fits=self._step is None or is_multiple(number, self._step))
        self.require_listed(number)
        return number


class NumberCheck(ValueCheck):
    """A finite double; an integer must be one exactly."""

    expected = "a number"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return float within its limits; steps and lists are checked on columns."""
        self.bounds = Bounds(constraints, float)
        self._step = None if constraints.multiple_of is None else float(constraints.multiple_of)
        self.may_settle = self._step is None and constraints.enum is None
        limits: dict[str, Any] = {
            key: float(limit) for key in ("ge", "gt", "le", "lt") if (limit := getattr(constraints, key)) is not None
        }
        return Annotated[float, Meta(**limits)] if limits else float

    def settles(self, value: Any) -> bool:
        """Return whether no digit can have been lost."""
        return value is None or abs(value) < EXACT_INTEGER

    def value(self, raw: bytes) -> float:
        """Check one value."""
        text = self.number_text(raw)
        if not _NUMBER.fullmatch(text):
            raise self.mismatch()
        number = float(text)
        if math.isinf(number):
            raise Refusal("malformed_json", "must not lie beyond the doubles", "a finite number")
        if abs(number) >= EXACT_INTEGER and text.lstrip("-").isdigit() and int(text) != int(number):
            raise Refusal("precision_loss", "is an integer that no double holds exactly", "a double")
        self.require_within(self.bounds, number)
        self.require_step(fits=self._step is None or is_multiple(number, self._step))
        self.require_listed(number)
        return number


class DecimalCheck(ValueCheck):
    """A decimal read from its literal text, a number or a string; nothing is rounded."""

    expected = "a decimal number"

    def wire_type(self, constraints: Constraints) -> Any:
        """Return the untouched text; everything is checked on columns."""
        self.bounds = Bounds(constraints, lambda limit: Decimal(str(limit)))
        step = constraints.multiple_of
        self._step = None if step is None else Decimal(str(step))
        return Raw

    def value(self, raw: bytes) -> Raw:
        """Check one value."""
        text = raw.decode() if raw[0] in _NUMBER_START else self.text(raw)
        if len(text) > _MAX_DIGITS or not _DECIMAL.fullmatch(text):
            raise self.mismatch()
        number = Decimal(text)
        self._require_digits(number)
        self.require_within(self.bounds, number)
        self.require_step(fits=self._step is None or _EXACT.remainder(number, self._step) == 0)
        return Raw(f"{number:.{self.field.scale}f}".encode())

    def _require_digits(self, number: Decimal) -> None:
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int), "the grammar admits finite numbers only"
        written = "".join(map(str, digits)).lstrip("0")
        significant = written.rstrip("0")
        scale, whole = self.field.scale, self.field.precision - self.field.scale
        if not significant:
            return
        if -(exponent + len(written) - len(significant)) > scale:
            message = f"must have at most {scale} digits behind the point"
            raise Refusal("precision_loss", message, {"scale": scale})
        if exponent + len(written) > whole:
            message = f"must have at most {whole} digits before the point"
            raise Refusal("out_of_range", message, {"precision": self.field.precision, "scale": scale})


def decode_default(check: ValueCheck) -> tuple[Any, Findings]:
    """Return the typed value of the field's default, and what is wrong with it."""
    findings = Findings()
    return check(encode(check.field.default), "", findings), findings
