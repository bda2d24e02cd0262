"""Validate and normalise to Arrow: a compiled contract beside strict pydantic per line and msgspec as usually written.

Rounds alternate, so that a slow minute slows everybody. Run: ``python bench/validate.py [--rounds N]``.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pyarrow as pa
from pydantic import ValidationError

from events import CONTRACT, Generator, MsgspecEvent, PydanticEvent
from harness import print_table, write_results
from headwater.contracts.odcs import parse_contract
from headwater.contracts.rows import Format, Validator
from headwater.contracts.types import arrow_schema
from headwater.contracts.validate import compile_contract

CONTRACT_MODEL = parse_contract(CONTRACT.read_text(), source=str(CONTRACT))
SCHEMA = arrow_schema(CONTRACT_MODEL)
STRICT = compile_contract(CONTRACT_MODEL)
CAPTURING = compile_contract(dataclasses.replace(CONTRACT_MODEL, on_unknown="capture"))
RECEIVED_AT = 1_790_000_000_000_000
decode = msgspec.json.Decoder(MsgspecEvent).decode
encode_json = msgspec.json.Encoder().encode

Contender = Callable[[Sequence[bytes]], tuple[int, int]]


def table_of(events: Sequence[Any], as_plain: Callable[[Any], dict[str, Any]]) -> pa.RecordBatch:
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for event in events:
        for name, column in columns.items():
            value = getattr(event, name)
            column.append(as_plain(value) if name == "user" else encode_json(value) if name == "metadata" else value)
    return pa.RecordBatch.from_arrays([pa.array(v, SCHEMA.field(n).type) for n, v in columns.items()], schema=SCHEMA)


def pydantic_lines(lines: Sequence[bytes]) -> tuple[int, int]:
    good: list[PydanticEvent] = []
    faults: list[Any] = []
    for number, line in enumerate(lines):
        try:
            good.append(PydanticEvent.model_validate_json(line))
        except ValidationError as error:
            faults.append((number, error.errors()))
    return table_of(good, lambda user: {"id": user.id, "country": user.country, "age": user.age}).num_rows, len(faults)


def msgspec_lines(lines: Sequence[bytes]) -> tuple[int, int]:
    good: list[MsgspecEvent] = []
    faults: list[Any] = []
    for number, line in enumerate(lines):
        try:
            good.append(decode(line))
        except msgspec.MsgspecError as error:
            faults.append((number, str(error)))
    return table_of(good, lambda user: {"id": user.id, "country": user.country, "age": user.age}).num_rows, len(faults)


def headwater(validator: Validator) -> Contender:
    def run(lines: Sequence[bytes]) -> tuple[int, int]:
        columns = validator.columnise([validator.read(b"\n".join(lines), Format.NDJSON)], [RECEIVED_AT])
        return columns.batch.num_rows, len(columns.faults[0])

    return run


def timed(run: Contender, batches: Sequence[Sequence[bytes]]) -> tuple[float, tuple[int, int]]:
    started = time.perf_counter()
    counts = [run(batch) for batch in batches]
    elapsed = time.perf_counter() - started
    return elapsed / sum(map(len, batches)), (sum(good for good, _ in counts), sum(bad for _, bad in counts))


def measure(contenders: dict[str, Contender], lines: Sequence[bytes], size: int, rounds: int) -> dict[str, float]:
    batches = [lines[start : start + size] for start in range(0, len(lines), size)]
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        seen = set()
        for name, run in contenders.items():
            per_row, counts = timed(run, batches)
            seconds[name].append(per_row)
            seen.add(counts)
        if len({sum(counts) for counts in seen}) != 1:
            raise RuntimeError(f"contenders disagree on the number of rows: {seen}")
    return {name: 1 / statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=20_000)
    arguments = parser.parse_args()
    peers: dict[str, Contender] = {"pydantic": pydantic_lines, "msgspec": msgspec_lines, "headwater": headwater(STRICT)}
    cases: list[tuple[str, int, float, float, dict[str, Contender]]] = [
        ("100 rows, clean", 100, 0, 0, peers),
        ("1,000 rows, clean", 1_000, 0, 0, peers),
        ("1,000 rows, 1% bad", 1_000, 0.01, 0, peers),
        ("1,000 rows, 10% bad", 1_000, 0.1, 0, peers),
        ("1,000 rows, all bad", 1_000, 1, 0, peers),
        ("10,000 rows, clean", 10_000, 0, 0, peers),
        ("10,000 rows, 1% bad", 10_000, 0.01, 0, peers),
        ("1,000 rows, all with an unknown field, kept", 1_000, 0, 1, {"headwater": headwater(CAPTURING)}),
    ]
    results: dict[str, Any] = {}
    table: list[list[object]] = []
    for title, size, bad, extra, contenders in cases:
        lines = Generator().lines(arguments.rows, bad_share=bad, extra_share=extra)
        rates = measure(contenders, lines, size, arguments.rounds)
        ratio = rates["headwater"] / rates["pydantic"] if "pydantic" in rates else None
        results[title] = {"rows_per_second": rates, "ratio_to_pydantic": ratio}
        cells = [f"{rates[name]:,.0f}" if name in rates else "-" for name in ("pydantic", "msgspec", "headwater")]
        table.append([title, *cells, f"{ratio:.2f}" if ratio else "-"])
    print_table("validate and normalise to Arrow, rows/s", ["case", "pydantic", "msgspec", "headwater", "ratio"], table)
    print(write_results("validate", {"rounds": arguments.rounds, "cases": results}))


if __name__ == "__main__":
    main()
