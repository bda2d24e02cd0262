"""What is done to one chunk of a dataset: rows are chosen, held against the signature, run, and made into rows again.

It needs the job and the rows alone, so it is the same in the process that works a job off and on another machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

import pyarrow as pa

from headwater.contracts.rows import FieldError
from headwater.contracts.spec import contract_from_spec
from headwater.core.errors import HeadwaterError
from headwater.core.jobs import BatchScore
from headwater.core.setting_sections import InferenceSettings
from headwater.jobs.batch.features import column_of
from headwater.jobs.batch.inputs import InputReader, Inputs
from headwater.jobs.batch.output import Answer, Encoder
from headwater.jobs.batch.overriding import BatchOverrides, Provenance
from headwater.jobs.batch.scorer import Scored, Scorer, describe
from headwater.jobs.batch.source import SEQ, RowFilter

_SHOWN_ERRORS: Final = 5


class ChunkScorer:
    """A job's model, loaded, with what goes before and after it. Used from one event loop."""

    def __init__(self, job_id: str, task: BatchScore, artifact: Path | None, settings: InferenceSettings) -> None:
        """Load the model from ``artifact``. Blocks; call it in a thread.

        Raises:
            HeadwaterError: ``model_unavailable``.
        """
        contract = contract_from_spec(task.version.inputs)
        columns = {**task.columns, **{need.field: column_of(need) for need in task.features}}
        self._task = task
        self._reader = InputReader(contract, columns, task.redact, [need.field for need in task.features])
        self._encoder = Encoder(job_id, task, contract.fields)
        self._scorer = Scorer(task.version, artifact, contract.fields, settings=settings, max_rows=task.max_batch_rows)
        self._overrides = BatchOverrides(task, contract.fields) if task.overrides else None
        self._filter = RowFilter(task.rows)

    async def score(self, rows: pa.Table, beat: Callable[[], None]) -> Answer:
        """Return the predictions of a chunk; ``beat`` is called between runs of the model.

        Raises:
            HeadwaterError: ``input_invalid`` naming the first bad row, ``model_failed`` and the like.
        """
        rows = self._filter.choose(rows)
        inputs = self._reader.read(rows, self._scorer.limits)
        is_lenient = self._task.on_error == "null"
        if inputs.faults and not is_lenient:
            raise self._bad_row(rows, inputs.faults)
        scored = await self._score(rows, inputs, beat, is_lenient=is_lenient)
        errors: dict[int, Sequence[FieldError]] = dict(inputs.faults)
        errors |= {int(inputs.rows[at]): describe(error) for at, error in scored.failures.items()}
        now_us = time.time_ns() // 1_000
        overridden: Sequence[Provenance | None] | None = None
        if self._overrides is not None:
            scored, overridden = self._overrides.apply(rows, inputs, scored, now_us / 1e6)
        return self._encoder.encode(rows, inputs, scored, errors, now_us=now_us, overridden=overridden)

    def close(self) -> None:
        """Let go of the model. Blocks."""
        self._filter.close()
        self._scorer.close()

    async def _score(self, rows: pa.Table, inputs: Inputs, beat: Callable[[], None], *, is_lenient: bool) -> Scored:
        try:
            return await self._scorer.score(inputs, by_row=is_lenient, beat=beat)
        except HeadwaterError as error:
            if error.code != "model_failed":
                raise
            seqs = rows[SEQ].to_pylist()
            raise HeadwaterError(
                error.code,
                f"rows {seqs[0]} to {seqs[-1]} (_hw_seq) of {self._task.dataset}: {error.detail}",
                hint=error.hint or "with on_error null, rows that the model fails for are written without outputs",
            ) from error

    def _bad_row(self, rows: pa.Table, faults: Mapping[int, Sequence[FieldError]]) -> HeadwaterError:
        """Return the error for the first bad row, naming row, input and column."""
        row = min(faults)
        seq, first = rows[SEQ][row].as_py(), faults[row][0]
        name = first.path.split("/")[1] if first.path else ""
        column = self._task.columns.get(name)
        place = f", input {name!r}" + (f" from column {column!r}" if column and column != name else "") if name else ""
        return HeadwaterError(
            "input_invalid",
            f"row {seq} (_hw_seq) of {self._task.dataset}{place}: {first.message}",
            hint="leave such rows out with where, or have them written without outputs with on_error null",
            extra={
                "source_seq": seq,
                "column": column,
                "errors": [asdict(error) for error in faults[row][:_SHOWN_ERRORS]],
            },
        )
