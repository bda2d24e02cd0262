"""The registry's client: what it sends, and how pages and errors come back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from headwater.client import ApiError, ClientError, Registry, Unreachable

ROOT = "/api/v1/organizations/acme/projects/air"


class Control(httpx.BaseTransport):
    """Answers what it is told to and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []
        self.answers: dict[str, object] = {}
        self.is_away = False

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if self.is_away:
            raise httpx.ConnectError("refused", request=request)
        path = request.url.raw_path.decode()
        self.asked.append((request.method, path, request.read()))
        found = self.answers.get(path, {})
        if isinstance(found, int):
            return httpx.Response(found, json={"code": "conflict", "detail": "in use"})
        return httpx.Response(200, json=found)


@pytest.fixture
def control() -> Control:
    return Control()


@pytest.fixture
def registry(control: Control) -> Iterator[Registry]:
    opened = Registry(
        "http://control", "hw_x", organization="acme", project="air", environment="dev", transport=control
    )
    with opened:
        yield opened


def test_every_page_is_fetched(registry: Registry, control: Control) -> None:
    control.answers[f"{ROOT}/models?limit=200"] = {"items": [{"name": "a"}], "next": "c+1"}
    control.answers[f"{ROOT}/models?limit=200&cursor=c%2B1"] = {"items": [{"name": "b"}], "next": None}
    assert [model["name"] for model in registry.models()] == ["a", "b"]


def test_an_artifact_is_put_under_its_digest(registry: Registry, control: Control, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"x" * (3 << 20))
    heard: list[int] = []
    digest = registry.put_artifact(path, advance=heard.append)
    assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert control.asked == [("PUT", f"/api/v1/artifacts/{digest}", path.read_bytes())]
    assert heard == [1 << 20] * 3


def test_what_is_moved_says_where_and_why(registry: Registry, control: Control) -> None:
    registry.promote("delay", 2, role="canary", weight_bps=500, reason="try")
    registry.roll_back("delay", reason="errors")
    registry.approve("delay", 2, reason="good")
    registry.archive("delay", 1, reason="old")
    registry.move_alias("delay", "stable", 2)
    sent = [
        (method, path.removeprefix(f"{ROOT}/models/delay"), json.loads(body)) for method, path, body in control.asked
    ]
    assert sent == [
        (
            "POST",
            "/versions/2/promote",
            {"environment": "dev", "role": "canary", "weight_bps": 500, "reason": "try"},
        ),
        ("POST", "/rollback", {"environment": "dev", "version": None, "reason": "errors"}),
        ("POST", "/versions/2/approve", {"reason": "good", "override": False}),
        ("POST", "/versions/1/archive", {"reason": "old"}),
        ("PUT", "/aliases/stable", {"version": 2, "reason": ""}),
    ]


def test_lineage_is_asked_by_dataset_or_view(registry: Registry, control: Control) -> None:
    control.answers[f"{ROOT}/lineage?limit=200&dataset=flights"] = {"items": [{"model": "delay"}], "next": None}
    assert registry.lineage(dataset="flights") == [{"model": "delay"}]


def test_refusals_and_silence_are_told_apart(registry: Registry, control: Control) -> None:
    control.answers[f"{ROOT}/models/delay/rollback"] = 409
    with pytest.raises(ApiError, match="in use") as caught:
        registry.roll_back("delay")
    assert (caught.value.status, caught.value.code) == (409, "conflict")
    control.is_away = True
    with pytest.raises(Unreachable, match="refused"):
        registry.model("delay")


def test_without_a_key_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADWATER_API_KEY", raising=False)
    with pytest.raises(ClientError, match="HEADWATER_API_KEY"):
        Registry("http://control")


def test_reports_and_alerts_are_those_of_the_environment(control: Control, registry: Registry) -> None:
    place = f"{ROOT}/models/delay/versions/3/report"
    control.answers[f"{place}?environment=dev&window=1h"] = {"model": "delay"}
    control.answers[f"{place}.png?environment=dev&window=24h"] = ["an image"]
    control.answers["/api/v1/alerts?limit=200&environment=dev&model=delay"] = {"items": [{"id": "alr_1"}], "next": None}
    assert registry.report("delay", 3, window="1h") == {"model": "delay"}
    assert json.loads(registry.report_file("delay", 3, form="png")) == ["an image"]
    assert registry.alerts("delay") == [{"id": "alr_1"}]
