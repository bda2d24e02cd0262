from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders.snapshots import KEY, make_snapshot
from tests.fakes.control import TOKEN, FakeControl
from tests.fakes.process import Process, running, until
from tests.fakes.service import FakeService

from headwater.core.home import Home
from headwater.services.kit.hot_routes import HotRoutes

HEADERS = {"authorization": f"Bearer {KEY}"}


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Process]:
    control = FakeControl()
    control.establish_trust(Home(tmp_path))
    control.publish(make_snapshot())
    async with running(tmp_path, control, FakeService) as process:
        await until(lambda: bool(process.runtime.environments))
        yield process


async def test_every_reply_carries_its_id_and_safe_headers(process: Process) -> None:
    for reply in (
        await process.http.post("/v1/hot/x", headers=HEADERS),
        await process.http.post("/v1/hot/x"),
        await process.http.get("/v1/things/1"),
        await process.http.get("/nowhere"),
        await process.http.get("/livez"),
    ):
        assert reply.headers["hw-request-id"].startswith("req_")
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in reply.headers["content-security-policy"]


async def test_what_control_asks_all_the_time_is_no_line_of_the_log(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG", "headwater.services.kit.asgi"):
        await process.http.get("/internal/v1/fake", headers={"authorization": f"Bearer {TOKEN}"})
        await process.http.get("/internal/v1/none", headers={"authorization": f"Bearer {TOKEN}"})
        await process.http.get("/internal/v1/fake")
        await process.http.get("/v1/none", headers=HEADERS)
    lines = [(record.levelname, record.getMessage()) for record in caplog.records if "request" in record.getMessage()]
    assert [(level, text.count("/internal/v1/")) for level, text in lines] == [
        ("DEBUG", 1),
        ("DEBUG", 1),  # not there yet, such as a model nobody has pushed
        ("INFO", 1),  # without the node token
        ("INFO", 0),
    ]


async def test_a_sane_trace_id_becomes_the_request_id(process: Process) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    good = await process.http.get("/livez", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert good.headers["hw-request-id"] == trace
    for bad in (f"00-{'0' * 32}-b7ad6b7169203331-01", "x", f"ff-{trace}-b7ad6b7169203331-01", "00-" + "a" * 500):
        reply = await process.http.get("/livez", headers={"traceparent": bad})
        assert reply.headers["hw-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/v1/things/1", 405, "method_not_allowed"),
        ("GET", "/v1/things/one", 400, "invalid_parameter"),
        ("GET", "/v1/things/1?much=x", 400, "invalid_parameter"),
        ("GET", "/v1/things/13", 500, "internal"),
        ("POST", "/v1/hot/bug", 500, "internal"),
        ("POST", "/v1/hot/bad", 422, "input_invalid"),
        ("POST", "/v1/hot/a/b", 404, "not_found"),
        ("GET", "/internal/v1/status", 401, "unauthenticated"),
        ("GET", "/internal/v1/fake", 401, "unauthenticated"),
    ],
)
async def test_every_error_is_a_problem_document_without_secrets(
    process: Process, method: str, path: str, status: int, code: str
) -> None:
    reply = await process.http.request(method, path, headers=HEADERS)
    problem = reply.json()
    assert (reply.status_code, problem["code"], problem["status"]) == (status, code, status)
    assert reply.headers["content-type"] == "application/problem+json"
    assert problem["instance"] == path.split("?", maxsplit=1)[0]
    assert problem["request_id"] == reply.headers["hw-request-id"]
    assert "hunter2" not in reply.text


@pytest.mark.parametrize("coding", ["gzip, chunked", "gzip", "identity", "chunked, chunked"])
async def test_a_body_in_a_transfer_coding_nobody_undoes_is_refused(process: Process, coding: str) -> None:
    headers = [(b"authorization", HEADERS["authorization"].encode()), (b"transfer-encoding", coding.encode())]
    reply = await process.http.post("/v1/hot/x", headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (501, "transfer_coding_unsupported")
    headers[1] = (b"transfer-encoding", b"Chunked")
    assert (await process.http.post("/v1/hot/x", headers=headers)).status_code == 200


async def test_a_body_in_pieces_needs_http_1_1(process: Process) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"transfer-encoding", b"chunked")]
    scope: Any = {"type": "http", "http_version": "1.0", "method": "POST", "path": "/v1/hot/x", "headers": headers}
    await process.door(scope, None, send)  # type: ignore[arg-type] # no body is read
    assert sent[0]["status"] == 501


async def test_a_refused_key_is_told_how_to_authenticate(process: Process) -> None:
    reply = await process.http.post("/v1/hot/x", headers={"authorization": "Bearer no"})
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"].startswith("Bearer")


async def test_a_reply_that_broke_off_is_not_mended_with_a_second_one(process: Process) -> None:
    with pytest.raises(RuntimeError, match="too late"):
        await process.http.post("/v1/hot/late", headers=HEADERS)


async def test_hot_routes_leave_other_methods_to_the_documented_ones(process: Process) -> None:
    assert (await process.http.post("/v1/hot/x", headers=HEADERS)).text == "x"
    assert (await process.http.get("/v1/hot/x")).json()["door"] == "documented"


async def test_an_address_with_another_slash_is_nowhere_rather_than_a_redirect(process: Process) -> None:
    for path in ("/docs/", "/readyz/", "/v1/datasets/x/rows/"):
        reply = await process.http.get(path, headers={"host": "elsewhere.example"})
        assert (reply.status_code, reply.json()["code"]) == (404, "not_found"), path


async def test_control_sees_status_with_the_node_token(process: Process) -> None:
    headers = {"authorization": f"Bearer {TOKEN}"}
    status = (await process.http.get("/internal/v1/status", headers=headers)).json()
    assert [(item["id"], item["number"], item["error"]) for item in status["environments"]] == [("env_1", 1, None)]
    assert status["problems"] == []
    assert (await process.http.get("/internal/v1/fake", headers=headers)).json() == {"fake": True}


async def test_readiness_names_what_fails_and_what_is_merely_degraded(process: Process) -> None:
    service = process.services[0]
    assert isinstance(service, FakeService)
    service.degraded.append("model delay is not loaded")
    reply = await process.http.get("/readyz")
    assert (reply.status_code, reply.json()["degraded"]) == (200, ["fake: model delay is not loaded"])
    service.reasons.append("the disk is gone")
    reply = await process.http.get("/readyz")
    assert (reply.status_code, reply.json()["problems"]) == (503, ["fake: the disk is gone"])
    assert (await process.http.get("/livez")).status_code == 200


async def test_metrics_count_requests_by_template_and_never_by_path(process: Process) -> None:
    for thing in ("a", "b", "bad"):
        await process.http.post(f"/v1/hot/{thing}", headers=HEADERS)
    await process.http.get("/v1/things/7")
    await process.http.get("/nowhere/secret-path")
    text = (await process.http.get("/metrics")).text
    assert 'request_seconds_count{method="POST",route="/v1/hot/{thing}",status="200"} 2.0' in text
    assert 'request_seconds_count{method="POST",route="/v1/hot/{thing}",status="422"} 1.0' in text
    assert 'request_seconds_count{method="GET",route="/v1/things/{thing}",status="200"} 1.0' in text
    assert 'route="unmatched",status="404"' in text
    assert "secret-path" not in text
    assert 'headwater_services_config_number{environment="env_1"} 1.0' in text


async def test_the_document_shows_an_environments_own_paths_to_its_keys_alone(process: Process) -> None:
    public = (await process.http.get("/openapi.json")).json()
    own = (await process.http.get("/openapi.json", headers=HEADERS)).json()
    assert set(own["paths"]) - set(public["paths"]) == {"/v1/of/env_1"}
    assert public["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    answers = public["paths"]["/v1/things/{thing}"]["get"]["responses"]
    assert set(answers) == {"200", "default"}
    assert not any(path.startswith("/internal") for path in own["paths"])
    assert (await process.http.get("/openapi.json", headers={"authorization": "Bearer no"})).status_code == 401


async def test_the_docs_need_no_other_host_and_no_inline_script(process: Process) -> None:
    page = await process.http.get("/docs")
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "http://" not in page.text
    assert "https://" not in page.text
    for source in ("/docs/init.js", "/docs/assets/swagger-ui-bundle.js", "/docs/assets/swagger-ui.css"):
        assert source in page.text
        assert (await process.http.get(source)).status_code == 200
    assert (await process.http.get("/docs/assets/..%2f__init__.py")).status_code == 404
    assert (await process.http.get("/docs/assets/redoc.standalone.js")).status_code == 404


async def test_the_root_says_where_to_go(process: Process) -> None:
    assert (await process.http.get("/")).json()["documentation"] == "/docs"


async def test_stopping_stops_the_services(tmp_path: Path) -> None:
    control = FakeControl()
    async with running(tmp_path, control, FakeService) as process:
        service = process.services[0]
        assert isinstance(service, FakeService)
        assert service.is_started
    assert not service.is_started


async def nothing(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/models/delay/predict", ("/v1/models/{m}/predict", {"m": "delay"})),
        ("/v1/models/delay/versions/3/predict", ("/v1/models/{m}/versions/{n}/predict", {"m": "delay", "n": "3"})),
        ("/v1/models/all/predict", ("/v1/models/all/predict", {})),
        ("/v1/models//predict", None),
        ("/v1/models/delay/predict/", None),
        ("/v1/models/delay", None),
        ("/", None),
    ],
)
def test_paths_match_by_their_segments(path: str, expected: tuple[str, dict[str, str]] | None) -> None:
    templates = ("/v1/models/{m}/predict", "/v1/models/{m}/versions/{n}/predict", "/v1/models/all/predict")
    routes = HotRoutes({("POST", template): nothing for template in templates})
    found = routes.match("POST", path)
    assert (found and (found[0].template, found[1])) == expected
    assert routes.match("GET", path) is None
