"""One dataset's rows on their way into one journal transaction: encoded outside it, decided and written inside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
from msgspec import Struct

from headwater.contracts.rows import Columns, FieldError, RowKeys
from headwater.core.errors import ROW_CODES
from headwater.engines.journal.protocol import Block, Counts, IdempotencyRecord, JournalTransaction, Receipt, Span
from headwater.services.ingest.dedup import REPLAYED, Choice, Part, choose, require_keys
from headwater.services.ingest.encoding import encode_batch
from headwater.services.ingest.quarantine import Share, quarantine_block
from headwater.services.ingest.reply import full_body, receipt_errors, stored_body
from headwater.services.ingest.verdict import Refusal, Submission, Verdict, refuse


class _Outcome(Struct):
    """A part with what the transaction made of it."""

    part: Part
    choice: Choice
    refusals: Sequence[Refusal]
    batch_rejected: bool
    first_seq: int | None = None

    @property
    def accepted(self) -> int:
        return 0 if self.batch_rejected else len(self.choice.accepted)


class Segment:
    """The rows of some submissions to one dataset under one contract version. A ``Commit``.

    ``apply`` may run more than once, since a group commit is tried again without a member that failed: it decides
    everything anew each time and leaves its verdicts in ``verdicts``, in the order of the submissions.
    """

    def __init__(self, submissions: Sequence[Submission], columns: Columns) -> None:
        """Encode what most likely will be written: every row that the contract accepted."""
        self.verdicts: list[Verdict] = []
        self.parts, self.batch = _divide(submissions, require_keys(submissions, columns))
        version = submissions[0].version
        self._contract = version.contract
        self._stream = submissions[0].dataset.stream
        self._keys: RowKeys | None = version.validator.row_keys(self.batch) if self.batch.num_rows else None
        self._payload = encode_batch(self.batch) if self.batch.num_rows else b""
        self._quarantine = _quarantined((part.submission, part.refusals) for part in self.parts)
        dedup = self._contract.dedup
        key = dedup.key if dedup is not None else ()
        path = f"/{key[0]}" if len(key) == 1 else ""
        self._conflict = FieldError("duplicate_conflict", path, ROW_CODES["duplicate_conflict"])
        self._conflicts_count = dedup is not None and dedup.on_conflict == "quarantine"
        self._is_plain = self._keys is None and not any(submission.earlier for submission in submissions)

    def apply(self, transaction: JournalTransaction) -> None:
        """Decide about every row and write everything that follows from it."""
        outcomes = self.decide(transaction)
        self._append(transaction, outcomes)
        self._remember(transaction, outcomes)
        verdicts = [_verdict(outcome) for outcome in outcomes]
        transaction.put_receipts([_receipt(verdict) for verdict in verdicts])
        records = [_record(verdict) for verdict in verdicts if verdict.submission.keyed is not None]
        if records:
            transaction.put_idempotency(records)
        self.verdicts = verdicts

    def decide(self, transaction: JournalTransaction) -> list[_Outcome]:
        """Return what becomes of each part, writing nothing."""
        if self._is_plain:
            return [
                _Outcome(part, Choice(range(part.start, part.stop)), part.refusals, part.batch_rejected)
                for part in self.parts
            ]
        choices = choose(transaction, self.parts, self._keys, conflicts_count=self._conflicts_count)
        return [self._outcome(part, choice) for part, choice in zip(self.parts, choices, strict=True)]

    def _outcome(self, part: Part, choice: Choice) -> _Outcome:
        refusals = [refusal for refusal in part.refusals if refusal.fault.row not in choice.settled]
        on_error = part.submission.on_error
        for index in choice.conflicts:
            fault = part.submission.fault(int(part.rows[index - part.start]), self._conflict)
            refusals.append(refuse(fault, self._contract, on_error))
        refusals.sort(key=lambda refusal: refusal.fault.row)
        rejected = part.batch_rejected or (bool(choice.conflicts) and on_error == "reject_batch")
        return _Outcome(part, choice, refusals, rejected)

    def _append(self, transaction: JournalTransaction, outcomes: Sequence[_Outcome]) -> None:
        """Append the accepted rows as one block and the refused ones as another."""
        rows = sum(outcome.accepted for outcome in outcomes)
        if rows:
            seq = transaction.append(Block(self._stream, self._payload_of(outcomes, rows), rows, _spans(outcomes)))
            for outcome in outcomes:
                if outcome.accepted:
                    outcome.first_seq = seq
                    seq += outcome.accepted
        quarantine = self._quarantine
        if any(outcome.choice.conflicts or outcome.choice.settled for outcome in outcomes):
            quarantine = _quarantined((outcome.part.submission, outcome.refusals) for outcome in outcomes)
        if quarantine is not None:
            transaction.append(quarantine)

    def _payload_of(self, outcomes: Sequence[_Outcome], rows: int) -> bytes:
        if rows == self.batch.num_rows:
            return self._payload
        kept = [index for outcome in outcomes if outcome.accepted for index in outcome.choice.accepted]
        return encode_batch(self.batch.take(pa.array(kept, pa.int64())))

    def _remember(self, transaction: JournalTransaction, outcomes: Sequence[_Outcome]) -> None:
        """Remember the keys of new rows, and which quarantined rows are dealt with now."""
        fresh: dict[bytes, bytes] = {}
        for outcome in outcomes:
            if not outcome.batch_rejected:
                fresh |= outcome.choice.fresh
        submission = self.parts[0].submission
        at = submission.origin.received_at_us
        if fresh:
            transaction.put_keys(self._stream, fresh, at)
        replayed = {earlier.key_bytes: REPLAYED for outcome in outcomes for earlier in outcome.part.submission.earlier}
        if replayed:
            transaction.put_keys(submission.dataset.quarantine_stream, replayed, at)


class Survey:
    """A ``Commit`` that decides about a segment and writes nothing: what ``validate`` runs."""

    def __init__(self, segment: Segment) -> None:
        """Survey this segment."""
        self._segment = segment
        self.verdicts: list[Verdict] = []

    def apply(self, transaction: JournalTransaction) -> None:
        """Find the verdicts."""
        self.verdicts = [_verdict(outcome) for outcome in self._segment.decide(transaction)]


def _divide(submissions: Sequence[Submission], columns: Columns) -> tuple[list[Part], pa.RecordBatch]:
    """Return each submission's part, and the batch without the rows of requests that are rejected as a whole."""
    parts: list[Part] = []
    kept: list[range] = []
    read = written = 0
    for submission, rows, faults in zip(submissions, columns.positions, columns.faults, strict=True):
        contract = submission.version.contract
        refusals = [refuse(fault, contract, submission.on_error) for fault in faults] if faults else ()
        whole = bool(refusals) and submission.on_error == "reject_batch"
        count = 0 if whole else len(rows)
        if count:
            kept.append(range(read, read + count))
        parts.append(Part(submission, written, written + count, () if whole else rows, refusals, whole))
        read += len(rows)
        written += count
    if written == read:
        return parts, columns.batch
    indexes = [index for span in kept for index in span]
    return parts, columns.batch.take(pa.array(indexes, pa.int64()))


def _quarantined(parts: Iterable[tuple[Submission, Sequence[Refusal]]]) -> Block | None:
    shares = [
        Share(submission, kept)
        for submission, refusals in parts
        if (kept := [refusal for refusal in refusals if refusal.quarantine_id is not None])
    ]
    return quarantine_block(shares) if shares else None


def _spans(outcomes: Sequence[_Outcome]) -> tuple[Span, ...]:
    return tuple(
        Span(
            outcome.part.submission.origin.receipt_id,
            outcome.accepted,
            outcome.part.submission.origin.received_at_us,
            outcome.part.submission.version.number,
        )
        for outcome in outcomes
        if outcome.accepted
    )


def _verdict(outcome: _Outcome) -> Verdict:
    submission = outcome.part.submission
    received = submission.received
    if outcome.batch_rejected:
        refusals = [Refusal(refusal.fault) for refusal in outcome.refusals]
        return Verdict(submission, Counts(received, rejected=received), refusals, batch_rejected=True)
    accepted = outcome.accepted
    quarantined = sum(refusal.quarantine_id is not None for refusal in outcome.refusals)
    counts = Counts(
        received,
        accepted=accepted,
        duplicate=outcome.choice.duplicates,
        quarantined=quarantined,
        rejected=len(outcome.refusals) - quarantined,
    )
    first = outcome.first_seq
    last = None if first is None else first + accepted - 1
    return Verdict(submission, counts, outcome.refusals, first, last)


def _receipt(verdict: Verdict) -> Receipt:
    submission = verdict.submission
    origin = submission.origin
    return Receipt(
        id=origin.receipt_id,
        stream=submission.dataset.stream,
        principal_id=origin.principal_id,
        received_at_us=origin.received_at_us,
        config_version=origin.config_version,
        counts=verdict.counts,
        first_seq=verdict.first_seq,
        last_seq=verdict.last_seq,
        errors=receipt_errors(verdict) if verdict.refusals else b"",
    )


def _record(verdict: Verdict) -> IdempotencyRecord:
    submission = verdict.submission
    keyed = submission.keyed
    assert keyed is not None
    verdict.body = full_body(verdict)
    return IdempotencyRecord(
        scope=keyed.scope,
        fingerprint=keyed.fingerprint,
        status=verdict.status,
        body=stored_body(verdict, verdict.body),
        receipt_id=submission.origin.receipt_id,
        created_at_us=submission.origin.received_at_us,
    )
