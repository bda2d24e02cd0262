"""``headwater models`` against a scripted control."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.peer import Answer, Peer, Request

from headwater.cli import main as entry
from headwater.cli.project import artifacts
from headwater.cli.registry import Reference, parse_share
from headwater.core.errors import HeadwaterError

ROOT = "/api/v1/organizations/default/projects/default/models"
ROUTES = [
    {"version": 2, "role": "primary", "weight_bps": 9_000},
    {"version": 3, "role": "canary", "weight_bps": 1_000},
    {"version": 1, "role": "pinned", "weight_bps": 0},
]
MODEL: dict[str, Any] = {
    "name": "delay",
    "description": "late or not",
    "aliases": {"champion": 2, "challenger": 3},
    "routes": {"development": ROUTES},
    "newest": 3,
}
VERSION: dict[str, Any] = {
    "number": 3,
    "state": "validated",
    "framework": "onnx",
    "aliases": ["challenger"],
    "artifact_sha256": "ab" * 32,
    "license": "MIT",
    "metrics": {"auc": 0.71},
    "training": {"dataset": "flights", "version": 12, "rows": 336_776, "code": "9f2c"},
    "lineage": [{"kind": "reads_view", "name": "weather", "members": ["temp", "wind"]}],
    "approvals": [],
    "pushed_by": "ada@example.com",
    "report_url": "http://localhost:8000/admin/report/",
    "created_at": "2026-11-24T09:00:12Z",
    "checks": [
        {"name": "signature", "status": "passed", "detail": "the same as of version 2"},
        {"name": "latency", "status": "failed", "detail": "1 row 40 ms; one row may take 5 ms"},
    ],
    "failed_checks": ["latency"],
    "card": "Trained on 2013.",
}
ROLLOUT: dict[str, Any] = {
    "environment": "development",
    "number": 4,
    "cause": "rolled_back",
    "routes": [{"version": 1, "role": "primary", "weight_bps": 10_000}],
    "by": "Headwater, watching deployments",
    "reason": "tripped: errors 12 %",
    "at": "2026-11-24T09:10:12Z",
}


@pytest.fixture
def control(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> Peer:
    """Return a stand-in for control with one model."""
    deployment = {"environment": "development", "routes": ROUTES, "fallback": 1}
    pushed = VERSION | {"model": "delay", "version": 3, "created": True, "routes": ROUTES}
    documents: dict[tuple[str, str], Any] = {
        ("GET", f"{ROOT}?limit=200"): {"items": [MODEL], "next": None},
        ("POST", ROOT): pushed,
        ("GET", f"{ROOT}/delay"): MODEL,
        ("GET", f"{ROOT}/delay/versions?limit=20"): {"items": [VERSION]},
        ("GET", f"{ROOT}/delay/deployments?limit=200"): {"items": [deployment], "next": None},
        ("GET", f"{ROOT}/delay/rollouts?environment=development&limit=10"): {"items": [ROLLOUT]},
        ("GET", f"{ROOT}/delay/versions/3"): VERSION,
        ("POST", f"{ROOT}/delay/versions/2/promote"): VERSION,
        ("POST", f"{ROOT}/delay/versions/3/promote"): VERSION,
        ("POST", f"{ROOT}/delay/versions/3/approve"): VERSION | {"state": "approved"},
        ("POST", f"{ROOT}/delay/rollback"): ROLLOUT | {"changes": ["version 2: primary 100 %, now shadow 20 %"]},
    }

    def answer(request: Request) -> Answer:
        if request.path.startswith("/api/v1/artifacts/"):
            found: Any = {} if request.method == "PUT" else None
        else:
            found = documents.get((request.method, request.path))
        body = {"code": "not_found", "detail": request.path} if found is None else found
        return 200 if found is not None else 404, {"content-type": "application/json"}, json.dumps(body).encode()

    monkeypatch.setenv("HEADWATER_CONTROL__URL", peer.url)
    peer.answer = answer
    return peer


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return a model's directory."""
    (tmp_path / "model.yaml").write_text("name: delay\nartifact: model.onnx\n")
    (tmp_path / "model.onnx").write_bytes(b"onnx")
    return tmp_path


def run(*arguments: str) -> int:
    """Run the command line in this process and return its exit code."""
    with pytest.raises(SystemExit) as caught:
        entry.main(["models", *arguments])
    code = caught.value.code
    assert isinstance(code, int)
    return code


def sent(control: Peer, method: str = "POST") -> tuple[str, Any]:
    """Return address below the models and body of the last request of a kind."""
    request = next(request for request in reversed(control.requests) if request.method == method)
    return request.path.removeprefix(ROOT), json.loads(request.body)


def test_a_push_puts_the_artifact_first_and_tells_what_was_checked(
    control: Peer, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("push", str(directory)) == 0

    digest = hashlib.sha256(b"onnx").hexdigest()
    assert (control.requests[0].method, control.requests[0].path) == ("PUT", f"/api/v1/artifacts/{digest}")
    address, body = sent(control)
    assert address == ""
    assert body == {
        "environment": "development",
        "text": "name: delay\nartifact: model.onnx\n",
        "artifact_sha256": digest,
        "profile_sha256": "",
        "hold": False,
    }
    text = capsys.readouterr().out
    assert "delay version 3 registered (validated)" in text
    assert "failed  latency  1 row 40 ms" in text
    assert "served: 2 primary 90%, 3 canary 10%, 1 pinned" in text


def test_a_push_can_hold_back_or_promote(control: Peer, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("push", str(directory), "--hold", "--json") == 0
    assert json.loads(capsys.readouterr().out)["version"] == 3
    assert sent(control)[1]["hold"] is True

    assert run("push", str(directory), "--promote") == 0
    address, body = sent(control)
    assert (address, body["role"], body["weight_bps"]) == ("/delay/versions/3/promote", "primary", 10_000)


def test_a_large_artifact_is_sent_only_where_it_is_missing(
    control: Peer, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "LARGE_BYTES", 4)
    assert run("push", str(directory)) == 0
    assert [request.method for request in control.requests] == ["GET", "PUT", "POST"]

    before, digest = control.answer, hashlib.sha256(b"onnx").hexdigest()
    found = (200, {"content-type": "application/json"}, json.dumps({"sha256": digest}).encode())
    control.answer = lambda request: found if request.path.endswith(digest) else before(request)
    control.requests.clear()
    assert run("push", str(directory)) == 0
    assert [request.method for request in control.requests] == ["GET", "POST"]


def test_models_are_listed_with_their_routes(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert control.url
    assert run("list") == 0

    text = capsys.readouterr().out
    assert "champion = 2, challenger = 3" in text
    assert "2 primary 90%, 3 canary 10%, 1 pinned" in text


def test_a_model_shows_its_versions_and_how_its_traffic_moved(
    control: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.url
    assert run("show", "delay") == 0

    text = capsys.readouterr().out
    assert "development: 2 primary 90%, 3 canary 10%, 1 pinned; falls back to 1" in text
    assert "rolled back" in text
    assert "tripped: errors 12 %" in text


@pytest.mark.parametrize("reference", ["delay:3", "delay@challenger"])
def test_a_version_shows_its_checks_lineage_and_card(
    control: Peer, capsys: pytest.CaptureFixture[str], reference: str
) -> None:
    assert control.url
    assert run("show", reference) == 0

    text = capsys.readouterr().out
    assert "report: http://localhost:8000/admin/report/" in text
    assert "trained on: flights version 12, 336,776 rows, code 9f2c" in text
    assert "reads: weather (temp, wind)" in text
    assert "Trained on 2013." in text
    assert "failed  latency" in text


@pytest.mark.parametrize(
    ("arguments", "number", "share"),
    [
        (["delay"], 3, ("primary", 10_000)),
        (["delay:2"], 2, ("primary", 10_000)),
        (["delay@challenger", "--weight", "10%"], 3, ("canary", 1_000)),
        (["delay:3", "--weight", "2.5"], 3, ("canary", 250)),
        (["delay:3", "--weight", "100%"], 3, ("primary", 10_000)),
        (["delay:3", "--shadow"], 3, ("shadow", 10_000)),
        (["delay:3", "--shadow", "--weight", "5%"], 3, ("shadow", 500)),
    ],
)
def test_a_promotion_says_how_much(
    control: Peer, capsys: pytest.CaptureFixture[str], arguments: list[str], number: int, share: tuple[str, int]
) -> None:
    assert run("promote", *arguments, "--reason", "better") == 0

    address, body = sent(control)
    assert address == f"/delay/versions/{number}/promote"
    assert body == {"environment": "development", "role": share[0], "weight_bps": share[1], "reason": "better"}
    assert "delay in development: 2 primary 90%" in capsys.readouterr().out


@pytest.mark.parametrize(("reference", "version"), [("delay", None), ("delay@challenger", 3), ("delay:7", 7)])
def test_a_rollback_is_one_command(
    control: Peer, capsys: pytest.CaptureFixture[str], reference: str, version: int | None
) -> None:
    assert run("rollback", reference, "--reason", "too slow") == 0

    assert sent(control) == (
        "/delay/rollback",
        {"environment": "development", "version": version, "reason": "too slow"},
    )
    text = capsys.readouterr().out
    assert "delay in development: 1 primary 100%" in text
    assert "version 2: primary 100 %, now shadow 20 %" in text


def test_an_approval_takes_its_reason_along(control: Peer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("approve", "delay:3", "--reason", "compared on May", "--override") == 0

    assert sent(control) == ("/delay/versions/3/approve", {"reason": "compared on May", "override": True})
    text = capsys.readouterr().out
    assert "delay version 3 is approved" in text
    assert "failed  latency" in text


def test_an_alias_that_is_not_there_is_told_with_those_that_are(
    control: Peer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert control.url
    assert run("promote", "delay@stable") == 1

    text = capsys.readouterr().err
    assert "'delay' has no alias 'stable'" in text
    assert "@champion, @challenger" in text


@pytest.mark.parametrize("text", ["Delay", "delay@", "delay:x", "delay:1@champion", "../etc", ""])
def test_what_names_no_model_is_refused(text: str) -> None:
    with pytest.raises(HeadwaterError, match="names no model"):
        Reference.parse(text)


@pytest.mark.parametrize("text", ["0", "-1%", "101%", "half", "nan", ""])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(HeadwaterError, match="no share"):
        parse_share(text)
