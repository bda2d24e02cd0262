"""``headwater features``, against a scripted server and over a real home."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.builders.features import table_of, view_of
from tests.builders.snapshots import make_snapshot
from tests.fakes.peer import Peer
from tests.fakes.query_process import dataset
from tests.unit.cli.test_data_commands import run

from headwater.contracts.model import Contract, Field, LogicalType
from headwater.core.home import Home
from headwater.core.sealed_snapshot import SignedSnapshot, public_key_text
from headwater.core.settings import Settings
from headwater.core.snapshot import FeatureSpec
from headwater.engines.features.progress import read_progress
from headwater.engines.lake import open_lake
from headwater.engines.lake.protocol import AppTransaction
from headwater.engines.online import open_online

VIEW: dict[str, Any] = {
    "name": "recent",
    "entities": ["origin", "number"],
    "entity_types": ["string", "integer"],
    "dataset": "flights",
    "inputs": [{"name": "given", "type": "number"}],
    "features": [{"name": "delay", "type": "number", "computed": "newest delay"}],
}
RESULT: dict[str, Any] = {
    "entity": {},
    "values": {"delay": 5.5},
    "event_time": "2013-01-01T00:00:00Z",
    "status": {"delay": "present"},
}


def script(peer: Peer, *documents: Any) -> None:
    """Have the server answer with these documents in turn."""
    left = iter(documents)
    peer.answer = lambda _request: (200, {"content-type": "application/json"}, json.dumps(next(left)).encode())


def test_views_are_listed_with_their_features(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    script(peer, [VIEW])
    assert run("features", "list") == 0
    text = capsys.readouterr().out
    assert "recent" in text
    assert "newest delay" in text


def test_an_entity_is_read_with_its_keys_in_their_types(peer: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    script(peer, VIEW, {"results": [RESULT]})
    assert run("features", "read", "recent", "origin=JFK", "number=15", "given=2.5") == 0
    assert json.loads(peer.requests[-1].body) == {"entities": [{"origin": "JFK", "number": 15, "given": 2.5}]}
    text = capsys.readouterr().out
    assert "5.5" in text
    assert "2013-01-01" in text


@pytest.mark.parametrize(("pair", "words"), [("number=x", "must be of type integer"), ("number", "key=value")])
def test_a_key_that_is_no_key_is_refused(peer: Peer, capsys: pytest.CaptureFixture[str], pair: str, words: str) -> None:
    script(peer, VIEW)
    assert run("features", "read", "recent", pair) == 2
    assert words in capsys.readouterr().err


def test_a_training_frame_is_written_to_a_file(peer: Peer, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_bytes(b"origin,when\nJFK,2013-01-01T00:00:00Z\n")
    script(peer, {"frame": 1})
    out = tmp_path / "frame.json"
    assert (
        run("features", "history", "recent", str(labels), "--time", "when", "--format", "json", "--out", str(out)) == 0
    )
    assert json.loads(out.read_bytes()) == {"frame": 1}
    assert peer.requests[-1].path == "/v1/features/recent/history?format=json&time=when"
    assert peer.requests[-1].body == labels.read_bytes()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose services kept a configuration with one view, and whose lake has three rows."""
    root = tmp_path / "home"
    Home(root).prepare()
    contract = Contract(
        "rows",
        "1.0",
        (Field("entity", LogicalType.STRING), Field("at", LogicalType.TIMESTAMP), Field("x", LogicalType.NUMBER)),
    )
    view = view_of("recent", FeatureSpec(name="x", type="number", kind="column", column="x"))
    snapshot = make_snapshot(1, datasets={"rows": dataset(contract)}, features={"recent": view})
    key = Ed25519PrivateKey.generate()
    (root / "run" / "snapshot.pub").write_text(public_key_text(key))
    directory = root / "run" / "snapshots" / "env_1"
    directory.mkdir(parents=True)
    (directory / "1.json").write_bytes(SignedSnapshot.sign(snapshot, key).to_bytes())
    table: pa.Table = table_of([{"entity": "a", "at": 1_000_000 * day * 86_400, "x": float(day)} for day in (1, 2, 3)])
    open_lake(Settings(home=root)).append("env_1/rows", table, AppTransaction("t", 1))
    for name, value in {"ORGANIZATION": "acme", "PROJECT": "shop", "ENVIRONMENT": "development"}.items():
        monkeypatch.setenv(f"HEADWATER_TARGET__{name}", value)
    monkeypatch.setattr("headwater.jobs.online.feeder._FORGET_SECONDS", 0.0)
    return root


def test_a_view_is_built_from_the_lake(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("features", "materialize", "recent", "--home", str(home), "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert first["generation"] == 1
    assert run("features", "materialize", "recent", "--to", "1970-01-03", "--home", str(home)) == 0
    assert "generation 2" in capsys.readouterr().out
    store = open_online(Settings(home=home))
    (note,) = [value for value in map(store.note, _notes(home)) if value]
    progress = read_progress(note)
    assert progress is not None
    assert progress.generation == 2
    store.close()


def _notes(home: Path) -> list[str]:
    import apsw

    connection = apsw.Connection(str(home / "online" / "online.sqlite3"))
    names = [row[0] for row in connection.execute("SELECT name FROM notes WHERE name NOT LIKE '%/build'")]
    connection.close()
    return names


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "there are: recent"),
        (["recent", "--from", "soon"], "is no instant"),
    ],
)
def test_what_cannot_be_built_is_named(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert run("features", "materialize", *arguments, "--home", str(home)) in (1, 2)
    assert words in capsys.readouterr().err


def test_a_home_without_configuration_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Home(tmp_path / "empty").prepare()
    assert run("features", "materialize", "recent", "--home", str(tmp_path / "empty")) == 1
    assert "headwater up" in capsys.readouterr().err
