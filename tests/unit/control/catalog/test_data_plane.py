"""What control makes of the services' answers, and of their silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from headwater.control.catalog.data_plane import DataPlane
from headwater.core.errors import HeadwaterError

NOW = "2026-11-24T10:00:00Z"


def plane(answer: Callable[[httpx.Request], httpx.Response]) -> DataPlane:
    return DataPlane("http://services", "token", transport=httpx.MockTransport(answer))


def replying(body: Any, status: int = 200) -> DataPlane:
    return plane(lambda _: httpx.Response(status, json=body))


def test_the_node_token_travels_and_names_are_quoted() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"receipts": []})

    with plane(answer) as services:
        services.receipts("env_1", "a/b", limit=5)
    assert seen[0].headers["Authorization"] == "Bearer token"
    assert seen[0].url.raw_path == b"/internal/v1/datasets/env_1/a%2Fb/receipts?limit=5"


def test_groups_are_read_with_their_samples_and_unknown_members_are_ignored() -> None:
    sample = {"quarantine_id": "q_1", "received_at": NOW, "raw": "<b>", "errors": [{"code": "out_of_range"}], "new": 1}
    group = {
        "fingerprint": "f", "dataset": "d", "contract_version": "1.0", "code": "out_of_range", "path": "/x",
        "count": 3, "open": 2, "first_at": NOW, "last_at": NOW, "samples": [sample],
    }  # fmt: skip
    with replying({"groups": [group]}) as services:
        (found,) = services.quarantine_groups("env_1", "d")
    assert (found.open, found.samples[0].raw, found.samples[0].errors[0].code) == (2, "<b>", "out_of_range")


def test_counts_of_a_replay_come_back_wherever_they_stand() -> None:
    for body in ({"received": 2, "accepted": 2}, {"counts": {"received": 2, "accepted": 2}, "state": "done"}):
        with replying(body) as services:
            assert services.resolve("e", "d", "replay", fingerprint="f", requested_by="u") == {
                "received": 2,
                "accepted": 2,
            }


def test_silence_is_reported_as_such() -> None:
    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with plane(refuse) as services, pytest.raises(HeadwaterError) as caught:
        services.status()
    assert caught.value.code == "services_unavailable"
    assert "connection refused" in caught.value.detail


@pytest.mark.parametrize("body", [{}, {"datasets": [{"nom": 1}]}, []])
def test_an_answer_in_another_shape_is_not_trusted(body: Any) -> None:
    with replying(body) as services, pytest.raises(HeadwaterError) as caught:
        services.datasets("env_1")
    assert caught.value.code == "services_unavailable"


def test_the_services_own_problem_is_passed_on() -> None:
    problem = {"code": "dataset_not_found", "detail": "no dataset 'd'"}
    with replying(problem, 404) as services, pytest.raises(HeadwaterError) as caught:
        services.resolve("e", "d", "discard", fingerprint="f", requested_by="u")
    assert (caught.value.code, caught.value.detail) == ("dataset_not_found", "no dataset 'd'")


def test_a_refused_token_names_the_cure() -> None:
    with replying({"code": "unauthenticated"}, 401) as services, pytest.raises(HeadwaterError, match=r"node\.token"):
        services.status()


def test_a_page_that_is_no_json_is_an_absence() -> None:
    services = plane(lambda _: httpx.Response(200, text="<html>"))
    with services, pytest.raises(HeadwaterError) as caught:
        services.status()
    assert caught.value.code == "services_unavailable"
    assert json.dumps(caught.value.to_problem(instance="/", request_id="r"))
