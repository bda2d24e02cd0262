"""The commands that send and fetch data, against a scripted server."""

from __future__ import annotations

import gzip
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.fakes.peer import Peer

from headwater.cli import main as entry
from headwater.cli.resumable import BatchKeys
from headwater.cli.tables import draw_table, open_console
from headwater.client.framing import split


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        entry.main(list(arguments))
    code = caught.value.code
    assert isinstance(code, int)
    return code


def rows(count: int) -> bytes:
    return b"".join(b'{"n":%d}\n' % n for n in range(count))


def test_a_file_is_sent_in_batches_and_counted_exactly(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.verdicts()
    path = tmp_path / "rows.ndjson"
    path.write_bytes(rows(25))

    assert run("ingest", "events", str(path), "--batch-rows", "10", "--json") == 0

    answer = json.loads(capsys.readouterr().out)
    assert answer["counts"]["accepted"] == 25
    assert answer["complete"] is True
    assert [len(request.body.splitlines()) for request in peer.requests] == [10, 10, 5]
    assert peer.requests[0].headers["authorization"] == "Bearer hw_test"


def test_bad_rows_are_shown_and_make_the_exit_code_1(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.verdicts(bad_rows=1)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"n\nx\n1\n")

    assert run("ingest", "events", str(path), "--null", "NA") == 1

    text = capsys.readouterr().out
    assert "type_mismatch at /n" in text
    assert "1 row: type_mismatch" in text
    assert "row 0: /n another type" in text
    assert peer.requests[0].path.endswith("?null=NA")


def test_sending_again_repeats_the_keys_and_a_longer_file_keeps_its_old_ones(peer: Peer, tmp_path: Path) -> None:
    peer.verdicts()
    path = tmp_path / "rows.ndjson"

    def keys(content: bytes) -> list[str]:
        peer.requests.clear()
        path.write_bytes(content)
        assert run("ingest", "events", str(path), "--batch-rows", "10") == 0
        return [request.headers["idempotency-key"] for request in peer.requests]

    first = keys(rows(20))

    assert keys(rows(20)) == first
    assert keys(rows(30))[:2] == first
    assert not set(keys(rows(10) * 2)) & set(first[1:])


def test_other_parameters_give_other_keys() -> None:
    (piece,) = split(io.BytesIO(b"n\n1\n"), "csv")

    assert BatchKeys("csv", {"null": "NA"}).next(piece) != BatchKeys("csv", {"null": None}).next(piece)


def test_standard_input_and_gzip_are_read(peer: Peer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peer.verdicts()
    packed = tmp_path / "rows.json.gz"
    packed.write_bytes(gzip.compress(b'[{"n":1},{"n":2}]'))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(rows(3))))

    assert run("ingest", "events", str(packed), "-") == 0

    assert [request.body for request in peer.requests] == [b'[{"n":1},{"n":2}]', rows(3)]


def test_a_refusal_in_the_middle_tells_what_was_done_before(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.verdicts()
    good = peer.answer

    def answer(request: object) -> tuple[int, dict[str, str], bytes]:
        if len(peer.requests) == 2:
            problem = {"code": "payload_too_large", "detail": "too large", "hint": "send fewer rows"}
            return 413, {"content-type": "application/problem+json"}, json.dumps(problem).encode()
        return good(request)  # type: ignore[arg-type]

    peer.answer = answer
    path = tmp_path / "rows.ndjson"
    path.write_bytes(rows(20))

    assert run("ingest", "events", str(path), "--batch-rows", "10") == 1

    captured = capsys.readouterr()
    assert "not finished: mend what the error says" in captured.out
    assert "10" in captured.out
    assert "send fewer rows" in captured.err


def test_errors_name_the_file_they_are_in(peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    peer.verdicts(bad_rows=1)
    (tmp_path / "a.ndjson").write_bytes(rows(2))
    (tmp_path / "b.csv").write_bytes(b'n\n1\n"open\n')
    (tmp_path / "c.csv.gz").write_bytes(gzip.compress(b"n\n1\n" * 9_000)[:40])

    assert run("ingest", "events", str(tmp_path / "a.ndjson"), str(tmp_path / "b.csv")) == 1
    captured = capsys.readouterr()
    assert "  a.ndjson, row 0: /n another type" in captured.out
    assert "error: b.csv: the input ends inside a quoted field" in captured.err

    assert run("ingest", "events", str(tmp_path / "c.csv.gz")) == 1
    assert "error: c.csv.gz: it is no whole gzip file" in capsys.readouterr().err

    problem = {"code": "malformed_body", "detail": "the first line has 2 columns"}
    peer.answer = lambda _: (400, {"content-type": "application/problem+json"}, json.dumps(problem).encode())
    assert run("ingest", "events", str(tmp_path / "a.ndjson")) == 1
    assert "error: a.ndjson: the first line has 2 columns (malformed_body)" in capsys.readouterr().err


@pytest.mark.parametrize("case", [("empty_body", 400, 0), ("dataset_not_found", 404, 1)])
def test_a_file_without_rows_is_fine_unless_its_dataset_is_not_there(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: tuple[str, int, int]
) -> None:
    code, status, ends = case
    problem = json.dumps({"code": code, "detail": "no such dataset"}).encode()
    peer.answer = lambda _: (status, {"content-type": "application/problem+json"}, problem)
    path = tmp_path / "rows.csv"
    path.write_bytes(b"")

    assert run("ingest", "evnts", str(path)) == ends

    assert ("rows.csv: no such dataset" in capsys.readouterr().err) is bool(ends)


@pytest.mark.parametrize("name", ["photo.png", "photo.csv"])
def test_a_file_that_is_no_text_is_told_so_and_not_asked_for_its_format(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")

    assert run("ingest", "events", str(path)) == 2

    text = capsys.readouterr().err
    assert f"{name} is no UTF-8 text" in text
    assert "--format" not in text
    assert peer.requests == []


def test_a_file_that_is_sent_again_is_said_to_store_nothing(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer.verdicts()
    first = peer.answer
    path = tmp_path / "rows.ndjson"
    path.write_bytes(rows(3))
    peer.answer = lambda request: (200, {**first(request)[1], "idempotency-replayed": "true"}, first(request)[2])

    assert run("ingest", "events", str(path)) == 0

    text = capsys.readouterr().out
    assert "nothing new was stored" in text
    assert "done" not in text


def test_a_row_that_is_bad_as_a_whole_is_not_named_twice(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reply = {
        "receipt": "rcp_1",
        "counts": {"received": 2, "accepted": 0, "quarantined": 2},
        "error_summary": [{"code": "bad_encoding", "path": "", "count": 2}],
        "errors": [{"row": 1, "errors": [{"path": "", "message": "the record is not valid UTF-8"}]}],
    }
    peer.answer = lambda _: (422, {"content-type": "application/json"}, json.dumps(reply).encode())
    path = tmp_path / "rows.csv"
    path.write_bytes(b"n\n\xe9\n\xe9\n")

    assert run("ingest", "events", str(path)) == 1

    text = capsys.readouterr().out
    assert "2 rows: bad_encoding at the row" in text
    assert "  rows.csv, row 1: the record is not valid UTF-8" in text


def test_a_file_that_does_not_exist_or_says_no_format_is_refused_before_anything_is_sent(
    peer: Peer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.bin").write_bytes(b"x")

    assert run("ingest", "events", str(tmp_path / "none.csv")) == 1
    assert run("ingest", "events", str(tmp_path / "rows.bin")) == 2

    text = capsys.readouterr().err
    assert "none.csv: No such file" in text
    assert "--format" in text
    assert peer.requests == []


def test_a_pipe_gets_csv_and_parameters_are_passed_on(peer: Peer, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    peer.answer = lambda _: (200, {"content-type": "text/csv"}, b"n\n1\n")

    assert run("query", "by_day", "carrier=UA", "note=a=b") == 0

    assert capfdbinary.readouterr().out == b"n\n1\n"
    assert peer.requests[0].path == "/v1/endpoints/by_day?carrier=UA&note=a%3Db"
    assert peer.requests[0].headers["accept"] == "text/csv"


def test_parquet_is_made_from_arrow(peer: Peer, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    table = pa.table({"n": [1, 2]})
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    peer.answer = lambda _: (200, {}, sink.getvalue())

    assert run("query", "by_day", "--format", "parquet") == 0

    assert pq.read_table(io.BytesIO(capfdbinary.readouterr().out)).equals(table)


def test_a_table_shows_the_rows(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"meta": {}, "data": [{"carrier": "UA", "delay": 3.5}, {"carrier": "[b]", "delay": None}]}
    peer.answer = lambda _: (200, {}, json.dumps(document).encode())

    assert run("query", "by_day", "--format", "table") == 0

    text = capsys.readouterr().out
    assert "carrier" in text
    assert "[b]" in text
    assert "2 rows" in text


def test_data_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07\x1b[31m\u202egnp.exe"
    draw_table(open_console(), [evil], [[evil], ["日本 é\nsecond line"], [None]])

    text = capsys.readouterr().out
    assert not set("\x1b\x07\u202e") & set(text)
    assert "\\x1b]0;owned\\x07\\x1b[31m\\u202egnp.exe" in text
    assert "日本 é" in text
    assert "second line" in text


def test_datasets_are_listed_with_their_counts(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    counts = {"received": 336776, "stale": 17}
    document = {"datasets": [{"name": "flights", "counts": counts, "rows": 336759, "table_version": 4}]}
    peer.answer = lambda _: (200, {}, json.dumps(document).encode())

    assert run("datasets") == 0

    text = capsys.readouterr().out
    assert "336,776" in text
    assert "stale" in text
    assert " 17 " in text
