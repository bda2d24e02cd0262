"""The first step of validation: the rows of one body decoded into typed rows, and exact faults for the rest.

A row is decoded by msgspec in C. One that msgspec refuses gets a second look: renamed and unknown members are sorted
out and the row is decoded once more, and what still fails goes to the exact check, whose verdict is final.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from types import GenericAlias
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import Raw

from headwater.contracts.assembly import CHUNK_ROWS, Built, RowColumns
from headwater.contracts.findings import Findings
from headwater.contracts.framing import SPACE, ItemRows, LineRows, Rows, UnsplitItems
from headwater.contracts.jsontext import (
    UNREADABLE,
    decode_members,
    decode_text,
    encode,
    has_huge_number,
    is_compact,
    is_too_deep,
)
from headwater.contracts.model import Contract
from headwater.contracts.record import RowCheck, Verdict
from headwater.contracts.rows import FieldError, ReadLimits, RowFault

_DECODED_BELOW_BYTES: Final = 64 << 10


class Reading:
    """The rows of one body after the first step (a ``RowBatch``).

    Attributes:
        built: the typed rows of each full block of ``CHUNK_ROWS`` rows, already columns.
        pending: those of the rest, to be built together with those of other bodies.
        extras: JSON text of unknown members, by typed row.
    """

    def __init__(self, rows: Rows, limits: ReadLimits) -> None:
        """Start with nothing decoded."""
        self.rows = rows
        self.limits = limits
        self.built: list[Built] = []
        self.pending: list[Any] = []
        self.faults: list[RowFault] = []
        self.extras: dict[int, bytes] = {}

    @property
    def received(self) -> int:
        """Return how many rows the body had."""
        return len(self.rows.texts)

    @property
    def accepted(self) -> int:
        """Return how many rows passed so far."""
        return sum(built.size for built in self.built) + len(self.pending)

    @property
    def extra_captured(self) -> int:
        """Return how many rows had unknown fields that were kept."""
        return len(self.extras)

    @cached_property
    def positions(self) -> npt.NDArray[np.int64]:
        """Return the row numbers of the typed rows."""
        return np.delete(np.arange(self.received), [fault.row for fault in self.faults])

    def text(self, row: int) -> bytes:
        """Return the JSON text of a row."""
        return bytes(self.rows.texts[row])


class RowReader:
    """Decodes the rows of a contract."""

    def __init__(self, contract: Contract, check: RowCheck, columns: RowColumns) -> None:
        """Compile the decoders."""
        self._check = check
        self._columns = columns
        self._decode: Callable[[bytes | Raw], Any] = msgspec.json.Decoder(check.struct.type).decode
        self._decode_list: Callable[[memoryview], list[Any]] = msgspec.json.Decoder(
            GenericAlias(list, (check.struct.type,))
        ).decode
        self._prefixes = {name: encode(member.name) + b":" for name, member in check.struct.named.items()}
        self._aliases = self._prefixes.keys() - {member.name for member in check.struct.members}
        self._captures = contract.on_unknown != "quarantine"
        self._keeps = contract.on_unknown == "capture"
        self._sorts = self._captures or any(field.aliases for field in contract.fields)
        self._key = _key_fields(contract)

    def read(self, rows: Rows, limits: ReadLimits, *, is_utf8: bool) -> Reading:
        """Decide every row of a body; ``is_utf8`` says that all of it is known to be."""
        odd = self._odd_rows(rows, limits, is_utf8=is_utf8)
        reading = Reading(rows, limits)
        for begin in range(0, len(rows.texts), CHUNK_ROWS):
            block = rows.texts[begin : begin + CHUNK_ROWS]
            typed, unread = self._decode_all(block)
            if odd:
                unread = sorted({*unread, *(row - begin for row in odd if begin <= row < begin + len(block))})
            if unread and not self._settle(reading, begin, typed, unread, odd):
                return self.read(rows, limits, is_utf8=is_utf8)
            if len(block) == CHUNK_ROWS:
                reading.built.append(self._columns.build(typed))
            else:
                reading.pending = typed
        return reading

    def read_list(self, body: bytes, start: int, limits: ReadLimits) -> Reading | None:
        """Return the rows of a JSON list, in half the time, if each of them is as msgspec wants it; else None.

        Args:
            body: valid UTF-8, no longer than one row may be.
            start: the byte behind a byte order mark.
            limits: with the usual depth, which msgspec does not check.
        """
        text = memoryview(body)[start:]
        try:
            typed = self._decode_list(text)
        except UNREADABLE:
            return None
        reading = Reading(ItemRows(body, UnsplitItems(text, len(typed))), limits)
        full = len(typed) - len(typed) % CHUNK_ROWS
        for begin in range(0, full, CHUNK_ROWS):
            reading.built.append(self._columns.build(typed[begin : begin + CHUNK_ROWS]))
        reading.pending = typed[full:]
        return reading

    def _decode_all(self, texts: Sequence[bytes | Raw]) -> tuple[list[Any], list[int]]:
        """Return the rows of a block, None for those that msgspec refuses, and the places of these."""
        typed: list[Any] = []
        unread: list[int] = []
        decoded = map(self._decode, texts)
        while True:
            try:
                typed.extend(decoded)
            except UNREADABLE:
                unread.append(len(typed))
                typed.append(None)
            else:
                return typed, unread

    def _settle(self, reading: Reading, begin: int, typed: list[Any], unread: list[int], odd: set[int]) -> bool:
        """Decide the rows of a block that were not read; False when there was a blank line, now left out."""
        first, refused = reading.accepted, 0
        for at in unread:
            row, text = begin + at, reading.text(begin + at)
            if isinstance(reading.rows, LineRows) and not text.strip(SPACE):
                reading.rows.drop_blank()
                return False
            verdict = self._judge_odd(reading, row) if row in odd else self._look_again(text, reading.limits)
            typed[at] = verdict.row
            if verdict.errors:
                reading.faults.append(self.fault(reading, row, verdict.errors))
                refused += 1
            elif verdict.extra is not None and self._keeps:
                reading.extras[first + at - refused] = verdict.extra
        if refused:
            typed[:] = [row for row in typed if row is not None]
        return True

    @staticmethod
    def _odd_rows(rows: Rows, limits: ReadLimits, *, is_utf8: bool) -> set[int]:
        odd = set(rows.failed)
        if max(map(len, rows.texts), default=0) > limits.max_row_bytes:
            odd.update(i for i, text in enumerate(rows.texts) if len(text) > limits.max_row_bytes)
        if not is_utf8:
            odd.update(i for i, text in enumerate(rows.texts) if not _is_utf8(bytes(text)))
        if limits.max_depth < ReadLimits().max_depth:
            odd.update(i for i, text in enumerate(rows.texts) if is_too_deep(bytes(text), limits.max_depth))
        return odd

    def _judge_odd(self, reading: Reading, row: int) -> Verdict:
        text, limits = reading.text(row), reading.limits
        if len(text) > limits.max_row_bytes:
            findings = Findings()
            expected = {"max_row_bytes": limits.max_row_bytes}
            findings.add("row_too_large", "", f"must have at most {limits.max_row_bytes} bytes", expected=expected)
            return Verdict(None, tuple(findings.errors))
        verdict = self._check(text, limits.max_depth)
        if own := reading.rows.failed.get(row):
            paths = {error.path for error in own}
            return Verdict(
                None, (*own, *(error for error in verdict.errors if error.path not in paths and "" not in paths))
            )
        return verdict

    def _look_again(self, text: bytes, limits: ReadLimits) -> Verdict:
        if self._sorts and (verdict := self._sort_members(text, limits)) is not None:
            return verdict
        return self._check(text, limits.max_depth)

    def _sort_members(self, text: bytes, limits: ReadLimits) -> Verdict | None:
        """Decode a row whose only oddity are unknown or renamed members; None when there is more to it."""
        try:
            members = decode_members(text)
        except UNREADABLE:
            return None
        if not is_compact(text.strip(), members) or is_too_deep(text, limits.max_depth):
            return None
        names = members.keys()
        extra = {name: encode(name) + b":" + bytes(members[name]) for name in names if name not in self._prefixes}
        if extra and not self._captures:
            return None
        if names.isdisjoint(self._aliases):
            return self._decode_sorted(_cut(text, extra.values()), list(extra.values()))
        known: dict[bytes, bytes] = {}
        for name, value in members.items():
            if (prefix := self._prefixes.get(name)) is None:
                continue
            if prefix in known:
                return None
            known[prefix] = prefix + bytes(value)
        return self._decode_sorted(b"{" + b",".join(known.values()) + b"}", list(extra.values()))

    def _decode_sorted(self, text: bytes, unknown: Sequence[bytes]) -> Verdict | None:
        extra = b"{" + b",".join(unknown) + b"}" if unknown else None
        if extra is not None and has_huge_number(extra):
            return None
        try:
            return Verdict(self._decode(text), (), extra)
        except UNREADABLE:
            return None

    def fault(self, reading: Reading, row: int, errors: Sequence[FieldError]) -> RowFault:
        """Return the fault of a row, with its place and its exact bytes."""
        line, offset = reading.rows.place(row)
        return RowFault(row, line, offset, reading.rows.raw(row), tuple(errors), self._key_text(reading.text(row)))

    def _key_text(self, text: bytes) -> str | None:
        if not self._key:
            return None
        try:
            members = decode_members(text)
            parts = [bytes(members[name]) for name in self._key]
            return ",".join(decode_text(part) if part.startswith(b'"') else part.decode() for part in parts)
        except (*UNREADABLE, KeyError):
            return None


def _cut(text: bytes, members: Iterable[bytes]) -> bytes:
    """Return a compact object without some of its members.

    Should the same text stand within another value, the wrong one may go: then the row still has the unknown member,
    decoding refuses it, and the exact check decides.
    """
    for member in members:
        cut = text.replace(b"," + member, b"", 1)
        text = cut if len(cut) < len(text) else text.replace(member + b",", b"", 1)
    return text


def _key_fields(contract: Contract) -> tuple[str, ...]:
    if contract.dedup is None:
        return ()
    public = {field.name for field in contract.fields if field.classification == "public"}
    return contract.dedup.key if public.issuperset(contract.dedup.key) else ()


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_utf8(body: bytes) -> bool:
    """Return whether a whole body is valid UTF-8; Arrow looks at a large one without making text of it."""
    if len(body) < _DECODED_BELOW_BYTES:
        return _is_utf8(body)
    offsets = pa.py_buffer(np.array([0, len(body)], dtype=np.int64))
    try:
        pa.LargeBinaryArray.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(body)]).cast(
            pa.large_string()
        )
    except pa.ArrowInvalid:
        return False
    return True
